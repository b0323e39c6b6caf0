"""Packets of any model: drawn at random, and with single fields set to chosen values."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from pipeline.packets import events, models

Path = tuple[str | int, ...]

MODELS: tuple[type[msgspec.Struct], ...] = tuple(
    found
    for module in (models, events)
    for name in module.__all__
    if isinstance(found := getattr(module, name), type) and issubclass(found, msgspec.Struct)
)

# What one value of each bounded kind may be at most, where a model says nothing.
_LONGEST = 6


@cache
def packets(model: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return a strategy for packets of a model, valid by its constraints."""
    fields = inspect.type_info(model)
    assert isinstance(fields, inspect.StructType)
    return st.builds(model, **{field.name: _values(field.type) for field in fields.fields})


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: PLR0911  # one kind each
    match kind:
        case inspect.NoneType():
            return st.none()
        case inspect.UnionType(types=types):
            return st.one_of(*(_values(each) for each in types))
        case inspect.StructType(cls=cls):
            return packets(cls)
        case inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case inspect.VarTupleType(item_type=item):
            return st.lists(_values(item), max_size=2).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_values(key), _values(value), max_size=3)
    return _plain(kind)


def _plain(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.FloatType(ge=least, gt=above, le=most):
            lowest = above if least is None else least
            return st.floats(lowest, most, exclude_min=above is not None, width=64)
        case inspect.IntType(ge=lowest, le=most):
            return st.integers(lowest, most)
        case inspect.StrType(min_length=shortest):
            text = st.characters(exclude_categories=["Cs"])
            return st.text(text, min_size=shortest or 0, max_size=_LONGEST)
        case inspect.BytesType():
            return st.binary(max_size=20)
        case inspect.BoolType():
            return st.booleans()
    raise NotImplementedError(kind)


def leaves(
    model: type[msgspec.Struct], above: Path = (), *, nested: bool = True
) -> Iterator[tuple[Path, inspect.Type]]:
    """Yield (path, type) of every plain field of a model, nested and repeated ones included.

    What a nested model holds is left out where `nested` is False.


    A path leads through field names; 0 stands for the item of a tuple, and "*" for the value of a
    mapping.
    """
    info = inspect.type_info(model)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        yield from _leaves_of(field.type, (*above, field.name), nested)


def _leaves_of(
    kind: inspect.Type,
    path: Path,
    nested: bool,
) -> Iterator[tuple[Path, inspect.Type]]:
    match kind:
        case inspect.UnionType(types=types):
            for each in types:
                if not isinstance(each, inspect.NoneType):
                    yield from _leaves_of(each, path, nested)
        case inspect.StructType(cls=cls):
            if nested:
                yield from leaves(cls, path)
        case inspect.VarTupleType(item_type=item):
            yield from _leaves_of(item, (*path, 0), nested)
        case inspect.DictType(value_type=value):
            yield from _leaves_of(value, (*path, "*"), nested)
        case _:
            yield path, kind


@cache
def full(model: type[msgspec.Struct]) -> Any:
    """Return a packet of a model in which nothing is missing or empty: each leaf has a value."""
    info = inspect.type_info(model)
    assert isinstance(info, inspect.StructType)
    return model(**{field.name: _one(field.type) for field in info.fields})


def _one(kind: inspect.Type) -> Any:  # noqa: C901, PLR0911  # one kind of type each
    match kind:
        case inspect.UnionType(types=types):
            return _one(next(each for each in types if not isinstance(each, inspect.NoneType)))
        case inspect.StructType(cls=cls):
            return full(cls)
        case inspect.EnumType(cls=cls):
            return next(iter(cls))
        case inspect.VarTupleType(item_type=item):
            return (_one(item),)
        case inspect.DictType(value_type=value):
            return {"BUY": _one(value)}
        case inspect.FloatType():
            return 0.5
        case inspect.IntType():
            return 1
        case inspect.StrType():
            return "x"
        case inspect.BytesType():
            return b"\x00\xff"
        case inspect.BoolType():
            return True
    raise NotImplementedError(kind)


def with_value(packet: msgspec.Struct, path: Path, value: object) -> Any:
    """Return `packet` with the leaf at `path` set to `value`, its constraints unchecked."""
    return _set(packet, path, value)


def _set(held: Any, path: Path, value: object) -> Any:
    if not path:
        return value
    step, *rest = path
    if isinstance(held, tuple):
        return (_set(held[0], tuple(rest), value),)
    if isinstance(held, dict):
        return {key: _set(item, tuple(rest), value) for key, item in held.items()}
    assert isinstance(step, str)
    return msgspec.structs.replace(held, **{step: _set(getattr(held, step), tuple(rest), value)})
