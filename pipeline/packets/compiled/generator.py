"""The source of a record's codec, from its Avro schema and the constraints of its model.

Neighbours of fixed size are taken together: a run of doubles, enumerations and booleans becomes one
`struct` call and one chain of comparisons. Everything else is a few lines per field, and a function
of `primitives` for what does not fit in a byte or two.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, cast

import msgspec
from msgspec import inspect

from pipeline.packets import schemas
from pipeline.packets.compiled import primitives

__all__ = ["Generator"]

_Field = tuple[str, inspect.Type]
_FIXED = (inspect.FloatType, inspect.EnumType, inspect.BoolType)
_AMONG_LONGS = (-64, 8191)
_TIMES = range(1 << 48, 1 << 55)  # of eight bytes: the years 1978 to 3111, in microseconds
_NEVER_CARRIED = ("journal", "envelope")
# What the templates below call their own.
_TAKEN = frozenset({
    "at", "bool", "byte", "count", "end", "float", "int", "item", "len", "packet", "parts",
    "range", "span", "tuple", "type", "value",
})  # fmt: skip

# One, two, or three bytes; or a call.
_LONG = """
byte = value[at]
if byte < 128:
    {name} = _ZIGZAGS[byte]
    at += 1
elif value[at + 1] < 128:
    {name} = _ZIGZAGS[byte & 127 | value[at + 1] << 7]
    at += 2
elif value[at + 2] < 128:
    byte = byte & 127 | (value[at + 1] & 127) << 7 | value[at + 2] << 14
    {name} = (byte >> 1) ^ -(byte & 1)
    at += 3
else:
    {name}, at = _read_long(value, at)
"""

_TEXT = """
end = at + _SPANS_{least}[value[at]]
if end > at:
    {name} = {short}
    at = end
else:
    {name}, at = {texts}.read(value, at)
"""

_OPTIONAL = """
if value[at] == 2:
    at += 1
{some}
elif value[at] == 0:
    at += 1
    {name} = None
else:
    raise _Unusual
"""

_ONE_TEXT = """
elif value[at] == 2 and (span := _SPANS_{least}[value[at + 1]]):
    {name} = _ONE_TEXT[value[at : at + span + 2]]
    at += span + 2
"""

_TUPLE = """
if not value[at]:
    {name} = ()
    at += 1
{one}
else:
    count, at = _read_size(value, at)
    {name} = []
    for _ in range(count):
{item}
        {name}.append(item)
    if value[at]:  # another block
        raise _Unusual
    at += 1
    {name} = tuple({name})
"""


class Generator:
    """Generates `write` and `read` of a model.

    Args:
        model: A Struct whose fields are those of the schema of its name.
        nested: Returns (write, read) of the model of a nested record.

    Attributes:
        source: What to execute.
        names: What it refers to.
        parts: Fields that a stage may carry over as bytes.

    Raises:
        NotImplementedError: If a field has a type or constraint that nothing here checks.
    """

    def __init__(
        self,
        model: type[msgspec.Struct],
        nested: Callable[[type[msgspec.Struct]], tuple[Any, Any]],
    ) -> None:
        self.names: dict[str, Any] = {
            f"_{name}": getattr(primitives, name) for name in primitives.__all__
        }
        self.names["_model"] = model
        self.names["_SPANS_0"], self.names["_SPANS_1"] = primitives.SPANS
        self.names["_NOT_TIMES"] = (primitives.Unusual, TypeError, struct.error)
        self._nested = nested
        by_wire_name = {field.encode_name: field for field in _fields(model)}
        in_order = [
            by_wire_name[each["name"]] for each in schemas.current(model.__name__)["fields"]
        ]
        self._all: list[_Field] = [(field.name, field.type) for field in in_order]
        self._runs = [
            (fixed, list(run))
            for fixed, run in groupby(self._all, lambda f: isinstance(f[1], _FIXED))
        ]
        carries = "envelope" in dict(self._all)
        self.parts = [name for name, kind in self._all if carries and _is_part(name, kind)]
        if taken := _TAKEN.intersection(dict(self._all)):
            raise NotImplementedError(f"Expected fields not named as locals, was {sorted(taken)}")
        functions = [self._writer(), self._reader("read")]
        if self.parts:
            functions.append(self._reader("read_parts"))
        self.source = "\n\n".join("\n".join([*lines, ""]) for lines in functions)

    def _writer(self) -> Iterator[str]:
        yield "def write(packet, parts={}):"
        pieces: list[str] = []
        for name, kind in self._all:
            yield f"    {name} = packet.{name}"
            if isinstance(kind, inspect.VarTupleType):
                fits = _refuse_unless(f"type({name}) is tuple", _fits(name, kind))
                yield from _indented(fits)
        for fixed, run in self._runs:
            if fixed:
                yield from _indented(_refuse_unless(_types(run), _limits_of(run)))
                values = [self._number(*field) for field in run]
                pieces.append(f"{self._form(run, 'pack')[0]}({', '.join(values)})")
            else:
                pieces += [self._piece(name, kind) for name, kind in run]
        yield "    return b''.join(("
        yield from (f"        {piece}," for piece in pieces)
        yield "    ))"

    def _piece(self, name: str, kind: inspect.Type) -> str:
        whole = self._write(name, kind)
        if name not in self.parts:
            return whole
        if isinstance(kind, inspect.UnionType):
            carried = f"{name} is not None and len(parts.get({name!r}, '')) > 1"
            return f"parts[{name!r}] if {carried} else {whole}"
        return f"parts[{name!r}][1:] if {name!r} in parts else {whole}"

    def _number(self, name: str, kind: inspect.Type) -> str:
        return name if isinstance(kind, inspect.FloatType) else f"{self._codes(kind)[0]}[{name}]"

    def _write(self, name: str, kind: inspect.Type) -> str:  # noqa: PLR0911  # one kind each
        """Return the expression of a field's bytes."""
        match kind:
            case inspect.StructType(cls=cls):
                return f"{self._bind(f'_write_{cls.__name__}', self._nested(cls)[0])}({name})"
            case inspect.UnionType():
                return f"(b'\\0' if {name} is None else b'\\2' + {self._write(name, _some(kind))})"
            case inspect.IntType():
                return self._write_long(name, *_bounds(kind))
            case inspect.StrType():
                texts = self._texts(kind)[0]
                return f"{texts}.encoded({name})" if _is_unique(name) else f"{texts}[{name}]"
            case inspect.BytesType(min_length=None, max_length=None):
                return f"_write_bytes({name})"
            case inspect.EnumType():
                return f"_LONGS[{self._codes(kind)[0]}[{name}] >> 1]"
            case inspect.DictType():
                return f"{self._maps(kind)}.write({name})"
            case inspect.VarTupleType(item_type=item):
                items = f"b''.join([{self._write('item', item)} for item in {name}])"
                return f"(_write_size(len({name})) + {items} + b'\\0' if {name} else b'\\0')"
        raise NotImplementedError(f"Expected a type with a codec, was {kind}")

    def _write_long(self, name: str, least: int, most: int) -> str:
        slow = self._bind("_long", primitives.long_writer(least, most), least, most)
        low, high = max(least, _AMONG_LONGS[0]), min(most, _AMONG_LONGS[1])
        other = f"{slow}({name})"
        if most >= _TIMES.stop:
            time = f"_MORE[{name} << 1 & 16383] + _MORE[{name} >> 13 & 16383]"
            time += f" + _HIGH_BYTES[{name} >> 27]"
            is_time = f"type({name}) is int and {_TIMES.start} <= {name} < {_TIMES.stop}"
            other = f"{time} if {is_time} else {other}"
        return f"(_LONGS[{name}] if type({name}) is int and {low} <= {name} <= {high} else {other})"

    def _reader(self, function: str) -> Iterator[str]:
        yield f"def {function}(value, at):"
        parts = self.parts if function == "read_parts" else []
        for fixed, run in self._runs:
            if fixed:
                yield from _indented(self._read_run(run))
                continue
            for counts, together in groupby(run, lambda field: _is_count(field[1])):
                neighbours = list(together)
                if counts and len(neighbours) > 1:
                    yield from _indented(self._read_times(neighbours))
                    continue
                for name, kind in neighbours:
                    if name in parts:
                        yield f"    from_{name} = at"
                    yield from _indented(self._read(name, kind))
                    if name in parts:
                        tag = "" if isinstance(kind, inspect.UnionType) else "b'\\2' + "
                        yield f"    part_{name} = {tag}value[from_{name}:at]"
        arguments = ", ".join(field.name for field in _fields(self.names["_model"]))
        carried = ", ".join(f"{name!r}: part_{name}" for name in parts)
        yield f"    return _model({arguments}), at{f', {{{carried}}}' if parts else ''}"

    def _read_run(self, run: list[_Field]) -> Iterator[str]:
        if len(run) == 1 and not isinstance(run[0][1], inspect.FloatType):
            yield from self._read(*run[0])
            return
        unpack, size = self._form(run, "unpack_from")
        yield f"{', '.join(name for name, _ in run)}, = {unpack}(value, at)"
        yield f"at += {size}"
        yield from _refuse_unless(_limits_of(run))
        for name, kind in run:
            if not isinstance(kind, inspect.FloatType):
                yield f"{name} = {self._codes(kind)[1]}[{name}]"

    def _read_times(self, run: list[_Field]) -> Iterator[str]:
        """Read neighbouring counts at once if they are times, of eight bytes each."""
        names = [name for name, _ in run]
        unpack = self._bind("_times", primitives.times_unpacker(len(run)), len(run))
        targets = ", ".join(f"{name}, {name}_b, {name}_c" for name in names)
        yield "try:"
        yield f"    {targets} = {unpack}(value, at)"
        for name in names:
            yield f"    {name} = _BITS[{name}] | _BITS[{name}_b] << 14 | _HIGH_BITS[{name}_c]"
        yield "except _NOT_TIMES:"
        for name, kind in run:
            yield from _indented(self._read(name, kind))
        yield "else:"
        yield f"    if ({' | '.join(names)}) & 1:  # negative"
        yield "        raise _Unusual"
        yield from (f"    {name} >>= 1" for name in names)
        yield f"    at += {8 * len(run)}"

    def _read(self, name: str, kind: inspect.Type) -> Iterator[str]:
        """Yield the statements that set a field and move on."""
        match kind:
            case inspect.StructType(cls=cls):
                read = self._bind(f"_read_{cls.__name__}", self._nested(cls)[1])
                yield f"{name}, at = {read}(value, at)"
            case inspect.UnionType():
                some = self._read(name, _some(kind))
                yield from _filled(_OPTIONAL, name=name, some="\n".join(_indented(some)))
            case inspect.IntType():
                yield from _filled(_LONG, name=name)
                yield from _refuse_unless(_in(name, kind))
            case inspect.StrType():
                texts, least = self._texts(kind)
                remembered = "_STRINGS[value[at:end]]"
                short = "value[at + 1 : end].decode()" if _is_unique(name) else remembered
                yield from _filled(_TEXT, name=name, texts=texts, least=least, short=short)
            case inspect.BytesType():
                yield f"{name}, at = _read_bytes(value, at)"
            case inspect.EnumType() | inspect.BoolType():
                yield f"{name} = {self._codes(kind)[1]}[value[at]]"
                yield "at += 1"
            case inspect.DictType():
                yield f"{name}, at = {self._maps(kind)}.read(value, at)"
            case inspect.VarTupleType(item_type=item):
                one = ""
                if isinstance(item, inspect.StrType) and not _is_unique(name):
                    one = _ONE_TEXT.format(name=name, least=self._texts(item)[1])
                read = "\n".join(_indented(_indented(self._read("item", item))))
                yield from _filled(_TUPLE, name=name, one=one, item=read)
                yield from _refuse_unless(_fits(name, kind))

    def _bind(self, stem: str, value: object, *limits: float) -> str:
        """Return the name that stands for `value` in the source."""
        name = "_".join([stem, *map(str, limits)])
        for sign, word in (("-", "minus"), (".", "point"), ("+", "")):
            name = name.replace(sign, word)
        self.names[name] = value
        return name

    def _form(self, run: list[_Field], method: str) -> tuple[str, int]:
        codes = "".join("d" if isinstance(kind, inspect.FloatType) else "B" for _, kind in run)
        form = struct.Struct("<" + codes)
        return self._bind(f"_{method}_{codes}", getattr(form, method)), form.size

    def _codes(self, kind: inspect.Type) -> tuple[str, str]:
        """Return the names of the tables from member to byte and from byte to member."""
        stem = "bool"
        bytes_of: dict[Any, int] = {False: 0, True: 1}
        if isinstance(kind, inspect.EnumType):
            stem = kind.cls.__name__
            symbols = schemas.current(stem)["symbols"]
            bytes_of = {member: 2 * symbols.index(member.value) for member in kind.cls}
        if max(bytes_of.values()) >= 2 * primitives.SHORT:
            raise NotImplementedError(f"Expected at most 64 symbols in {stem}, was {len(bytes_of)}")
        members = {byte: member for member, byte in bytes_of.items()}
        return self._bind(f"_byte_of_{stem}", bytes_of), self._bind(f"_{stem}_of", members)

    def _texts(self, kind: inspect.StrType) -> tuple[str, int]:
        least, most = kind.min_length or 0, kind.max_length
        if kind.pattern or least > 1 or most is None or most < primitives.SHORT:
            raise NotImplementedError(f"Expected text of 0 or 1 to 64 or more, was {kind}")
        return self._bind("_texts", primitives.texts(least, most), least, most), least

    def _maps(self, kind: inspect.DictType) -> str:
        match kind:
            case inspect.DictType(
                key_type=inspect.StrType(min_length=None, max_length=None, pattern=None),
                value_type=inspect.FloatType(ge=least, le=most, gt=None, lt=None),
                min_length=None,
                max_length=None,
            ) if least is not None and most is not None:
                return self._bind("_maps", primitives.maps(least, most), least, most)
        raise NotImplementedError(f"Expected a map of text to bounded numbers, was {kind}")


def _fields(model: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    return cast(inspect.StructType, inspect.type_info(model)).fields


def _some(kind: inspect.UnionType) -> inspect.Type:
    """Return the record of an optional record, which is the only union that packets have."""
    record, null = kind.types
    if not (isinstance(record, inspect.StructType) and isinstance(null, inspect.NoneType)):
        raise NotImplementedError(f"Expected a record or null, was {kind}")
    return record


def _is_part(name: str, kind: inspect.Type) -> bool:
    is_record = isinstance(kind, inspect.StructType | inspect.UnionType)
    return is_record and name not in _NEVER_CARRIED


def _bounds(kind: inspect.IntType) -> tuple[int, int]:
    if kind.ge is None or kind.le is None or (kind.gt, kind.lt, kind.multiple_of) != (None,) * 3:
        raise NotImplementedError(f"Expected an integer with ge and le, was {kind}")
    return kind.ge, kind.le


def _is_count(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.IntType) and _bounds(kind) == (0, 2**63 - 1)


def _is_unique(name: str) -> bool:
    """Say whether a text differs from packet to packet, so that remembering it is no use."""
    return name.endswith("_id")


def _in(name: str, kind: inspect.Type) -> str:
    """Return the test of a number's limits; what is read has 64 bits, so a long needs none."""
    match kind:
        case inspect.IntType(ge=least, le=most):
            low = f"{least} <= " if least != -(2**63) else ""
            high = f" <= {most}" if most != 2**63 - 1 else ""
            return f"{low}{name}{high}" if low or high else ""
        case inspect.FloatType(gt=None, ge=float(least), lt=None, le=float(most), multiple_of=None):
            return f"{least} <= {name} <= {most}"
        case inspect.FloatType(gt=float(least), ge=None, lt=None, le=float(most), multiple_of=None):
            return f"{least} < {name} <= {most}"
        case inspect.FloatType():
            raise NotImplementedError(f"Expected limits on both sides, was {kind}")
    return ""


def _limits_of(run: list[_Field]) -> str:
    return " and ".join(filter(None, (_in(*field) for field in run)))


def _types(run: list[_Field]) -> str:
    """Return the test that numbers are floats and truths are bools, and nothing like them."""
    floats = [f"type({name})" for name, kind in run if isinstance(kind, inspect.FloatType)]
    bools = [f"type({name})" for name, kind in run if isinstance(kind, inspect.BoolType)]
    chains = [" is ".join([*floats, "float"])] if floats else []
    return " and ".join([*chains, *(f"{each} is bool" for each in bools)])


def _fits(name: str, kind: inspect.VarTupleType) -> str:
    if kind.min_length:
        raise NotImplementedError(f"Expected no least number of items, was {kind}")
    return "" if kind.max_length is None else f"len({name}) <= {kind.max_length}"


def _refuse_unless(*conditions: str) -> Iterator[str]:
    if condition := " and ".join(filter(None, conditions)):
        yield f"if not ({condition}):"
        yield "    raise _Unusual"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _filled(template: str, **values: object) -> list[str]:
    return [line for line in template.format(**values).splitlines() if line]
