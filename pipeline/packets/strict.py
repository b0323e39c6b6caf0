"""Whether bytes are Avro by the letter, where fastavro reads what is none.

It takes integers of more than 64 bits, of which it keeps some, any byte for a boolean, and a
negative index for one from the end.
"""

from functools import partial
from typing import Any

__all__ = ["faults"]

_LONGEST = 10
_LAST = 1  # the most that the tenth byte of 64 bits holds
_CONTINUED = 0x80
_FIXED = {"null": 0, "float": 4, "double": 8}
_NAMED = ("record", "enum")


# The types that each schema names, by its id: schemas are parsed once and live for ever.
_known: dict[int, dict[str, Any]] = {}


class _Fault(Exception):
    pass


def faults(value: bytes, at: int, schema: Any) -> str | None:
    """Return what makes a value no Avro of a schema; None where it is.

    Args:
        value: The bytes; fastavro has read them all.
        at: Where they begin.
        schema: The parsed schema that they were written by.
    """
    named = _known.get(id(schema))
    if named is None:
        _collect(schema, named := {})
        _known[id(schema)] = named
    try:
        end = _skip(value, at, schema, named)
    except _Fault as fault:
        return str(fault)
    except IndexError:
        end = -1
    return None if end == len(value) else "Expected other lengths, was these"


def _collect(schema: Any, named: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for each in schema:
            _collect(each, named)
    elif isinstance(schema, dict):
        if schema["type"] in _NAMED:
            named[schema["name"]] = schema
        for each in schema.get("fields", ()):
            _collect(each["type"], named)
        for part in ("items", "values"):
            _collect(schema.get(part), named)


def _skip(value: bytes, at: int, schema: Any, named: dict[str, Any]) -> int:  # noqa: C901, PLR0911  # one kind each
    """Return where a value of a schema ends."""
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if isinstance(schema, list):
        branch, at = _index(value, at, len(schema))
        return _skip(value, at, schema[branch], named)
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        for field in schema["fields"]:
            at = _skip(value, at, field["type"], named)
        return at
    if kind in ("array", "map"):
        parts = ("string", schema["values"]) if kind == "map" else (schema["items"],)
        return _blocks(value, at, parts, named)
    if kind in _FIXED:
        return at + _FIXED[kind]
    if kind == "boolean":
        if value[at] > 1:
            raise _Fault(f"Expected a boolean of 0 or 1, was {value[at]} at byte {at}")
        return at + 1
    if kind == "enum":
        return _index(value, at, len(schema["symbols"]))[1]
    number, end = _number(value, at)
    if kind not in ("string", "bytes"):
        return end
    if number < 0:
        raise _Fault(f"Expected a length, was {number} at byte {at}")
    return end + number


def _blocks(value: bytes, at: int, parts: tuple[Any, ...], named: dict[str, Any]) -> int:
    skip = partial(_skip, value, named=named)
    while True:
        count, at = _number(value, at)
        if count == 0:
            return at
        if count < 0:
            _, at = _number(value, at)  # how many bytes the block takes
        for _ in range(abs(count)):
            for part in parts:
                at = skip(at, part)


def _index(value: bytes, at: int, count: int) -> tuple[int, int]:
    number, end = _number(value, at)
    if not 0 <= number < count:
        raise _Fault(f"Expected an index below {count}, was {number} at byte {at}")
    return number, end


def _number(value: bytes, at: int) -> tuple[int, int]:
    number = 0
    for position in range(_LONGEST):
        byte = value[at + position]
        number |= (byte & ~_CONTINUED) << (7 * position)
        if byte < _CONTINUED:
            if position == _LONGEST - 1 and byte > _LAST:
                break
            return (number >> 1) ^ -(number & 1), at + position + 1
    raise _Fault(f"Expected an integer of 64 bits, was a longer one at byte {at}")
