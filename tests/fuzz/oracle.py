"""What a valid packet is, said once more and apart from the product's codecs.

The bytes are read by a small decoder of its own, strictly by the Avro specification, and the fields
held against the constraints in the models' annotations. Neither fastavro, nor msgspec's conversion,
nor the compiled codec takes part.
"""

import math
import operator
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from pipeline.packets import events, models, schemas

__all__ = ["Invalid", "decoded", "named_types", "read", "type_of"]

_MAGIC = b"\xc3\x01"
_HEADER = 10
_LONGEST_VARINT = 10
_LEAST, _MOST = -(2**63), 2**63 - 1
_INT_LEAST, _INT_MOST = -(2**31), 2**31 - 1


class Invalid(Exception):
    """These bytes are no valid packet."""


def read(value: bytes | None) -> tuple[str, Any, bool]:
    """Return (name of the record, its fields as plain values, whether its schema is the current).

    Raises:
        Invalid: If it is no valid packet.
    """
    name, datum, current = decoded(value)
    check(datum, type_of(_model(name)), name)
    return name, datum, current


def decoded(value: bytes | None) -> tuple[str, Any, bool]:
    """Return what `read` does, constraints unchecked.

    Raises:
        Invalid: If it is no Avro of a known schema.
    """
    if value is None or value[:2] != _MAGIC or len(value) < _HEADER:
        raise Invalid("framing")
    found = _schemas().get(value[2:_HEADER])
    if found is None:
        raise Invalid("unknown schema")
    name, schema, named, current = found
    cursor = _Cursor(value, _HEADER, named)
    datum = cursor.value(schema)
    if cursor.at != len(value):
        raise Invalid("bytes left over")
    return name, datum, current


def _model(name: str) -> Any:
    return getattr(models, name, None) or getattr(events, name, None)


@cache
def _schemas() -> dict[bytes, tuple[str, Any, dict[str, Any], bool]]:
    """Map fingerprints to (name, schema, types defined in it, whether it is the current one)."""
    found: dict[bytes, tuple[str, Any, dict[str, Any], bool]] = {}
    for print_, (name, schema) in schemas.history().items():
        if _is_record(name):
            found[print_] = (name, schema, named_types(schema), False)
    for name in schemas.names():
        if _is_record(name):
            schema = schemas.current(name)
            found[schemas.fingerprint_of(schema)] = (name, schema, named_types(schema), True)
    return found


@cache
def type_of(model: type[msgspec.Struct]) -> inspect.Type:
    """Return what msgspec knows of a model."""
    return inspect.type_info(model)


def named_types(schema: Any) -> dict[str, Any]:
    """Map the names of all types that a schema defines to them."""
    found: dict[str, Any] = {}
    _collect(schema, found)
    return found


def _collect(schema: Any, found: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for each in schema:
            _collect(each, found)
    elif isinstance(schema, dict):
        if schema["type"] in ("record", "enum"):
            found[schema["name"]] = schema
        for each in schema.get("fields", ()):
            _collect(each["type"], found)
        for part in ("items", "values", "type"):
            _collect(schema.get(part), found)


def _is_record(name: str) -> bool:
    model = _model(name)
    return isinstance(model, type) and issubclass(model, msgspec.Struct)


class _Cursor:
    """Reads Avro from bytes."""

    def __init__(self, data: bytes, at: int, named: dict[str, Any]) -> None:
        self._data = data
        self._named = named
        self.at = at

    def value(self, schema: Any) -> Any:  # noqa: PLR0911  # one kind each
        """Read one value."""
        if isinstance(schema, list):
            return self.value(schema[self._below(len(schema))])
        if isinstance(schema, str):
            named = self._named.get(schema)
            return self._plain(schema) if named is None else self.value(named)
        kind = schema["type"]
        match kind:
            case "record":
                return {each["name"]: self.value(each["type"]) for each in schema["fields"]}
            case "enum":
                return schema["symbols"][self._below(len(schema["symbols"]))]
            case "array":
                return [each for count in self._blocks() for each in self._items(schema, count)]
            case "map":
                return {
                    self._plain("string"): self.value(schema["values"])
                    for count in self._blocks()
                    for _ in range(count)
                }
        return self.value(kind)

    def _items(self, schema: Any, count: int) -> list[Any]:
        return [self.value(schema["items"]) for _ in range(count)]

    def _blocks(self) -> Any:
        while (count := self._long()) != 0:
            if count < 0:
                count = -count
                self._long()  # how many bytes the block takes
            if count > len(self._data):  # every item of ours takes a byte at least
                raise Invalid("more items than bytes")
            yield count

    def _plain(self, kind: str) -> Any:  # noqa: C901, PLR0911  # one kind each
        match kind:
            case "null":
                return None
            case "boolean":
                (byte,) = self._take(1)
                if byte > 1:
                    raise Invalid(f"a boolean of {byte}")
                return byte == 1
            case "int":
                number = self._long()
                if not _INT_LEAST <= number <= _INT_MOST:
                    raise Invalid("an int out of range")
                return number
            case "long":
                return self._long()
            case "double":
                return struct.unpack("<d", self._take(8))[0]
            case "float":
                return struct.unpack("<f", self._take(4))[0]
            case "bytes":
                return self._take(self._long())
            case "string":
                try:
                    return self._take(self._long()).decode("utf-8")
                except UnicodeDecodeError as error:
                    raise Invalid("no UTF-8") from error
        raise AssertionError(f"Expected a type of Avro, was {kind}")

    def _long(self) -> int:
        number = 0
        for position in range(_LONGEST_VARINT):
            (byte,) = self._take(1)
            number |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                number = (number >> 1) ^ -(number & 1)
                if not _LEAST <= number <= _MOST:
                    break
                return number
        raise Invalid("a number of more than 64 bits")

    def _below(self, count: int) -> int:
        index = self._long()
        if not 0 <= index < count:
            raise Invalid("an index out of range")
        return index

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data) - self.at:
            raise Invalid("bytes missing")
        self.at += count
        return self._data[self.at - count : self.at]


def check(value: Any, kind: Any, where: str) -> None:  # noqa: C901, PLR0912  # one kind each
    """Hold a plain value against a model's annotation.

    Raises:
        Invalid: If it breaks a constraint.
    """
    if isinstance(kind, inspect.UnionType):
        if value is None:
            return
        (kind,) = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    match kind:
        case inspect.StructType():
            for each in kind.fields:
                if each.encode_name not in value:  # an old schema did not have it yet
                    continue
                check(value[each.encode_name], each.type, f"{where}.{each.name}")
        case inspect.StrType() | inspect.BytesType():
            _within(len(value), kind.min_length, kind.max_length, where)
        case inspect.FloatType() | inspect.IntType():
            _number(value, kind, where)
        case inspect.VarTupleType() | inspect.ListType():
            _within(len(value), kind.min_length, kind.max_length, where)
            for each in value:
                check(each, kind.item_type, where)
        case inspect.DictType():
            _within(len(value), kind.min_length, kind.max_length, where)
            for key, each in value.items():
                check(key, kind.key_type, where)
                check(each, kind.value_type, where)
        case inspect.EnumType():
            if value not in [each.value for each in kind.cls]:
                raise Invalid(f"{where}: {value} is none of them")
        case inspect.BoolType():
            if not isinstance(value, bool):
                raise Invalid(f"{where}: no boolean")
        case _:
            raise AssertionError(f"Expected a kind that the oracle knows, was {kind} at {where}")


def _within(length: int, least: int | None, most: int | None, where: str) -> None:
    if (least is not None and length < least) or (most is not None and length > most):
        raise Invalid(f"{where}: a length of {length}")


def _number(value: float, kind: Any, where: str) -> None:
    if math.isnan(value):
        raise Invalid(f"{where}: no number")
    checks: tuple[tuple[float | None, Callable[[float, float], bool]], ...] = (
        (kind.ge, operator.ge),
        (kind.gt, operator.gt),
        (kind.le, operator.le),
        (kind.lt, operator.lt),
    )
    if any(limit is not None and not holds(value, limit) for limit, holds in checks):
        raise Invalid(f"{where}: {value} out of range")
