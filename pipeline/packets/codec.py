"""Packets to bytes and back: Avro single-object encoding, checked on both sides.

A value is C3 01, the schema's fingerprint, the Avro body. Writing checks the model's constraints
too, so that no stage can put a NaN into a log.

There are two ways. The quick one is compiled for the current schemas (`pipeline.packets.wire`)
and takes every value that our own stages exchange. What it does not take, old schemas among it,
goes the careful way, through fastavro and `msgspec.convert`, which takes it or says what is wrong.
What is cached, once per process: parsed schemas, fingerprints, compiled functions.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from fastavro import schemaless_reader, schemaless_writer

from pipeline.errors import InvalidPacket, MalformedPacket, spelled
from pipeline.packets import events, models, schemas, strict
from pipeline.packets.compiled import REFUSALS, compiled

__all__ = [
    "JournalHead",
    "decode",
    "decode_as",
    "decode_body",
    "decode_with_parts",
    "encode",
    "is_marker",
    "is_sandbox",
    "journal_head",
    "marker_prefix",
    "read_also",
]

_MAGIC = b"\xc3\x01"
_HEADER = 10
_FOREIGN_HEADER = 5
_CONTINUED = 0x80
_NO_PARTS: dict[str, bytes] = {}
_find_foreign: Callable[[bytes], Any | None] | None = None
_Packet = TypeVar("_Packet", bound=msgspec.Struct)


@cache
def _writer(model: type[msgspec.Struct]) -> tuple[bytes, Any]:
    schema = schemas.current(model.__name__)
    return _MAGIC + schemas.fingerprint_of(schema), schema


@cache
def _readers() -> dict[bytes, tuple[Any, Any, type[msgspec.Struct]]]:
    """Map each known fingerprint to (writer's schema, reader's schema or None, model)."""
    known: dict[bytes, tuple[Any, Any, type[msgspec.Struct]]] = {}
    for fingerprint, (name, schema) in schemas.history().items():
        if model := _model(name):
            known[_MAGIC + fingerprint] = (schema, schemas.current(name), model)
    for name in schemas.names():
        if model := _model(name):
            schema = schemas.current(name)
            known[_MAGIC + schemas.fingerprint_of(schema)] = (schema, None, model)
    return known


@cache
def _quick_writer(model: type[msgspec.Struct]) -> tuple[bytes, Any]:
    """Return (prefix, compiled codec) of a model."""
    return _writer(model)[0], compiled(model)


@lru_cache(maxsize=256)  # prefixes come from outside, too
def _quick_reader(prefix: bytes) -> Any:
    """Return the compiled codec of a schema; None for old and unknown ones."""
    _, reader_schema, model = _readers().get(prefix, (None, None, None))
    if model is None or reader_schema is not None:
        return None
    return compiled(model)


def _model(name: str) -> type[msgspec.Struct] | None:
    """Return the model of a schema; None for an enumeration, or where there is none any more."""
    found = getattr(models, name, None) or getattr(events, name, None)
    return found if isinstance(found, type) and issubclass(found, msgspec.Struct) else None


@cache
def _branches(model: type[msgspec.Struct]) -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """List the optional records of a model as (path to the parent, field, branch name).

    Named branches spare the writer from trying each branch of the union: half of its time.
    """
    return tuple(_optional_records(schemas.current(model.__name__), ()))


def _optional_records(
    schema: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for field in schema["fields"]:
        kind = field["type"]
        if isinstance(kind, dict) and kind.get("type") == "record":
            yield from _optional_records(kind, (*path, field["name"]))
        if isinstance(kind, list):
            branch = kind[1]
            yield path, field["name"], branch if isinstance(branch, str) else branch["name"]


def _name_branches(datum: dict[str, Any], model: type[msgspec.Struct]) -> None:
    for path, field, branch in _branches(model):
        parent = datum
        for step in path:
            parent = parent[step]
        if parent[field] is not None:
            parent[field] = (branch, parent[field])


def encode(packet: msgspec.Struct, parts: Mapping[str, bytes] | None = None) -> bytes:
    """Return the wire form of a packet.

    Args:
        packet: What to write.
        parts: Bytes of fields that are the same as in the packet that `decode_with_parts` read
            them from. They are copied, unless the field is None now; the caller vouches for them.

    Raises:
        InvalidPacket: If a field breaks its constraint or does not fit the schema.
    """
    prefix, quick = _quick_writer(type(packet))
    if quick is not None:
        try:
            value: bytes = quick.encode(prefix, packet, parts or _NO_PARTS)
        except REFUSALS:
            pass  # the careful way says why, or takes it
        else:
            return value
    return _encode_carefully(packet)


def _encode_carefully(packet: msgspec.Struct) -> bytes:
    prefix, schema = _writer(type(packet))
    out = io.BytesIO()
    out.write(prefix)
    try:
        datum = msgspec.to_builtins(packet, builtin_types=(bytes,))
        msgspec.convert(datum, type(packet))
        _name_branches(datum, type(packet))
        schemaless_writer(out, schema, datum)
    except (msgspec.ValidationError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise InvalidPacket(f"Expected a valid {type(packet).__name__}, was: {error}") from error
    return out.getvalue()


def decode(value: bytes | None) -> msgspec.Struct:
    """Return the packet that `value` is the wire form of.

    Raises:
        MalformedPacket: Unknown framing or schema, truncated, trailing or corrupt bytes.
        InvalidPacket: Readable, but a field breaks its constraint.
    """
    if value is not None and (quick := _quick_reader(value[:_HEADER])) is not None:
        try:
            packet: msgspec.Struct = quick.decode(value, _HEADER)
        except REFUSALS:
            pass  # the careful way says why, or takes it
        else:
            return packet
    return _decode_carefully(value)


def decode_with_parts(value: bytes | None) -> tuple[msgspec.Struct, Mapping[str, bytes]]:
    """Return the packet, and the bytes of the parts that the next stage may carry over.

    Parts are the records beside journal and envelope, each with the byte that says whether there
    is one; hand those that are unchanged to `encode`. There are none in a value of an older schema
    or of an unusual encoding.

    Raises:
        MalformedPacket, InvalidPacket: As `decode`.
    """
    if value is not None and (quick := _quick_reader(value[:_HEADER])) is not None:
        parts: dict[str, bytes] = {}
        try:
            packet: msgspec.Struct = quick.decode(value, _HEADER, parts)
        except REFUSALS:
            pass
        else:
            return packet, parts
    return decode(value), _NO_PARTS


def read_also(find: Callable[[bytes], Any | None] | None) -> None:
    """Have `decode` take values in another framing than ours too, for the whole process.

    Only what does not have our framing is shown to `find`, so that ours stays as quick as it is.

    Args:
        find: Returns the parsed schema that a value was written with, whose body begins at its byte
            5, or None where the framing is another one; None: read ours alone.
    """
    global _find_foreign  # noqa: PLW0603  # one process, one registry
    _find_foreign = find


def _decode_carefully(value: bytes | None) -> msgspec.Struct:
    foreign = None
    if value is not None and _find_foreign is not None and value[:2] != _MAGIC:
        foreign = _find_foreign(value)
    if value is not None and foreign is not None:
        return decode_body(value, _FOREIGN_HEADER, foreign)
    if value is None or value[:2] != _MAGIC or len(value) < _HEADER:
        was = "null" if value is None else f"{len(value)} bytes starting {value[:10].hex(' ')}"
        raise MalformedPacket(f"Expected Avro single-object encoding (C3 01 ...), was {was}")
    found = _readers().get(value[:_HEADER])
    if found is None:
        raise MalformedPacket(f"Expected a known schema, was fingerprint {value[2:10].hex()}")
    return _decode_as_written(value, _HEADER, *found)


def decode_body(value: bytes, start: int, writer_schema: Any) -> msgspec.Struct:
    """Return the packet whose Avro body begins at `start`, written with a schema of anybody's.

    Raises:
        MalformedPacket: If the schema is of no packet of ours or cannot be read as one, or the
            bytes do not fit it.
        InvalidPacket: Readable, but a field breaks its constraint.
    """
    name = writer_schema.get("name", "") if isinstance(writer_schema, dict) else str(writer_schema)
    namespace, _, short = str(name).rpartition(".")
    model = _model(short) if namespace == schemas.NAMESPACE else None
    if model is None:
        raise MalformedPacket(f"Expected a packet of {schemas.NAMESPACE}, was a {name}")
    return _decode_as_written(value, start, writer_schema, schemas.current(short), model)


def _decode_as_written(
    value: bytes, start: int, writer_schema: Any, reader_schema: Any, model: type[msgspec.Struct]
) -> msgspec.Struct:
    source = io.BytesIO(value)
    source.seek(start)
    datum = _read(source, writer_schema, reader_schema, model.__name__)
    if source.tell() != len(value):
        left = len(value) - source.tell()
        raise MalformedPacket(f"Expected the {model.__name__} to fill its bytes, was {left} over")
    if fault := strict.faults(value, start, writer_schema):
        raise MalformedPacket(f"Expected an Avro {model.__name__}, was none: {fault}")
    try:
        return msgspec.convert(datum, model)
    except msgspec.ValidationError as error:
        raise InvalidPacket(f"Expected a valid {model.__name__}, was: {error}") from error


def _read(source: io.BytesIO, writer_schema: Any, reader_schema: Any, name: str) -> Any:
    try:
        return schemaless_reader(source, writer_schema, reader_schema)
    except Exception as error:  # the decoder raises many kinds on corrupt bytes
        raise MalformedPacket(f"Expected an Avro {name}, was: {spelled(error)}") from error


def decode_as(value: bytes | None, model: type[_Packet]) -> _Packet:
    """Return the packet, which must be of `model`.

    Raises:
        MalformedPacket, InvalidPacket: As `decode`, or if it is another packet.
    """
    packet = decode(value)
    if not isinstance(packet, model):
        raise InvalidPacket(f"Expected a {model.__name__}, was a {type(packet).__name__}")
    return packet


class JournalHead(NamedTuple):
    """The two numbers that the reading rule looks at."""

    sequence: int
    epoch: int


def journal_head(value: bytes | None) -> JournalHead | None:
    """Return a log record's sequence and epoch without decoding the rest.

    Every log record opens with its journal, and a journal with these two; Avro writes them as
    zigzag variable-length integers.

    Returns:
        None where the value is no record of a log.
    """
    if value is None or value[:_HEADER] not in _log_prefixes():
        return None
    try:
        sequence, at = _zigzag(value, _HEADER)
        epoch, _ = _zigzag(value, at)
    except IndexError:
        return None
    return JournalHead(sequence, epoch)


def _zigzag(value: bytes, at: int) -> tuple[int, int]:
    shift = number = 0
    while True:
        byte = value[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < _CONTINUED:
            return (number >> 1) ^ -(number & 1), at
        shift += 7


@cache
def _log_prefixes() -> frozenset[bytes]:
    return frozenset(
        prefix
        for prefix, (_, _, model) in _readers().items()
        if next(iter(model.__struct_fields__)) == "journal"
    )


@cache
def marker_prefix() -> bytes:
    """Return the ten bytes that open every marker, for a test without decoding."""
    return _writer(models.Marker)[0]


def is_marker(value: bytes | None) -> bool:
    """Say whether a log value is a marker, without decoding it."""
    return value is not None and value.startswith(marker_prefix())


@cache
def _sandbox_prefixes() -> frozenset[bytes]:
    return frozenset(
        prefix for prefix, (_, _, model) in _readers().items() if model is models.SandboxRecord
    )


def is_sandbox(value: bytes | None) -> bool:
    """Say whether a value is what a replay made, of whatever schema version; decodes nothing."""
    return value is not None and value[:_HEADER] in _sandbox_prefixes()
