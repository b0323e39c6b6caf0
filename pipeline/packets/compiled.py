"""Codecs for the hot path: the tree of `pipeline.packets.wire` nodes of each model.

`wire` is compiled when the package is installed. Where no C compiler was found it is missing, and
every packet goes the careful way (`pipeline.packets.codec`): the same bytes, at a tenth of the
speed. The two agree on every value if they agree on those that the compiled one takes, and that is
what `tests/unit/packets/test_compiled.py` checks, with random packets and random damage.
"""

import logging
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

import msgspec
from msgspec import inspect

from pipeline.packets import schemas

if TYPE_CHECKING:
    from pipeline.packets import wire

__all__ = ["REFUSALS", "compiled", "is_compiled", "parts_of"]

REFUSALS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What a compiled codec may raise; none of them says more than "not by me"."""

_logger = logging.getLogger(__name__)
_NEVER_CARRIED = ("journal", "envelope")


@cache
def is_compiled() -> bool:
    """Say whether the compiled codec is there, with a warning where it is not."""
    try:
        import_module("pipeline.packets.wire")
    except ImportError:
        _logger.warning(
            "The packet codec is not compiled, so packets cost several times as much. Install a C"
            " compiler and run scripts/install again."
        )
        return False
    return True


@cache
def compiled(model: type[msgspec.Struct]) -> "wire.Record | None":
    """Return the codec of a model; None where `wire` was not compiled.

    Raises:
        NotImplementedError: If the model has a field of a type or constraint that none has yet.
    """
    return _record(model) if is_compiled() else None


@cache
def parts_of(model: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the fields of a packet that a stage may carry over as bytes: records, but its own."""
    fields = {field.name: field.type for field in _fields(model)}
    if "envelope" not in fields:
        return ()
    records = (inspect.StructType, inspect.UnionType)
    return tuple(
        name
        for name, kind in fields.items()
        if isinstance(kind, records) and name not in _NEVER_CARRIED
    )


def _fields(model: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    return cast(inspect.StructType, inspect.type_info(model)).fields


@cache
def _record(model: type[msgspec.Struct]) -> "wire.Record":
    from pipeline.packets import wire  # it may be missing

    fields = _fields(model)
    by_wire_name = {field.encode_name: index for index, field in enumerate(fields)}
    places = [by_wire_name[each["name"]] for each in schemas.current(model.__name__)["fields"]]
    names = [fields[place].name for place in places]
    nodes = [_node(fields[place].type) for place in places]
    return wire.Record(model, names, nodes, places, parts_of(model))


def _node(kind: inspect.Type) -> "wire.Node":  # noqa: C901, PLR0911  # one kind each
    from pipeline.packets import wire

    match kind:
        case inspect.StructType(cls=cls):
            return _record(cls)
        case inspect.UnionType(types=(inspect.StructType(cls=cls), inspect.NoneType())):
            return wire.Optional(_record(cls))
        case inspect.IntType(ge=int(least), le=int(most), gt=None, lt=None, multiple_of=None):
            return wire.Long(least, most)
        case inspect.FloatType():
            return _double(kind)
        case inspect.StrType(min_length=least, max_length=int(most), pattern=None):
            return wire.Text(least or 0, most)
        case inspect.BytesType(min_length=None, max_length=None):
            return wire.Bytes()
        case inspect.BoolType():
            return wire.Choice((False, True), bool, zigzag=False)
        case inspect.EnumType(cls=cls):
            symbols = schemas.current(cls.__name__)["symbols"]
            return wire.Choice(map(cls, symbols), cls, zigzag=True)
        case inspect.VarTupleType(item_type=item, min_length=None | 0, max_length=most):
            return wire.Array(_node(item), 2**62 if most is None else most)
        case inspect.DictType(
            key_type=inspect.StrType(min_length=None, max_length=None, pattern=None),
            value_type=inspect.FloatType() as number,
            min_length=None,
            max_length=None,
        ):
            return wire.Mapping(_double(number))
    raise NotImplementedError(f"Expected a type with a codec, was {kind}")


def _double(kind: inspect.FloatType) -> "wire.Double":
    from pipeline.packets import wire

    least = kind.gt if kind.ge is None else kind.ge
    if least is None or kind.le is None or kind.lt is not None or kind.multiple_of is not None:
        raise NotImplementedError(f"Expected limits on both sides, was {kind}")
    return wire.Double(least, kind.le, kind.ge is None)
