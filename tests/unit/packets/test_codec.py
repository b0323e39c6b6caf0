import io
import math
from typing import Any

import msgspec
import pytest
from fastavro import schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from pipeline.errors import InvalidPacket, MalformedPacket, PoisonError
from pipeline.packets import codec, schemas
from pipeline.packets.models import ExecutionPlan, Marker, StrategicSignal
from tests.unit.packets.generation import MODELS, Path, full, leaves, packets, with_value

# Each field once, in its own model; one packet that nests most of them, through and through.
_LEAVES = [
    *((model, path, kind) for model in MODELS for path, kind in leaves(model, nested=False)),
    *((ExecutionPlan, path, kind) for path, kind in leaves(ExecutionPlan)),
]
_FLOATS = [(m, path) for m, path, kind in _LEAVES if isinstance(kind, inspect.FloatType)]


def _unchecked(packet: msgspec.Struct) -> bytes:
    """Return the wire form of a packet as a writer would give it that checks nothing."""
    schema = schemas.current(type(packet).__name__)
    out = io.BytesIO()
    out.write(b"\xc3\x01" + schemas.fingerprint_of(schema))
    schemaless_writer(out, schema, msgspec.to_builtins(packet, builtin_types=(bytes,)))
    return out.getvalue()


def _bounds(kind: inspect.Type) -> list[tuple[Any, bool]]:
    """Return (value, whether it is allowed) at and just past each limit of a type."""
    match kind:
        case inspect.IntType(ge=least, le=most):
            assert least is not None
            assert most is not None
            return [(least, True), (most, True), (least - 1, False), (most + 1, False)]
        case inspect.FloatType(ge=least, gt=above, le=most):
            assert most is not None
            lowest = math.nextafter(above, math.inf) if above is not None else least
            assert lowest is not None
            past = [
                (math.nextafter(lowest, -math.inf), False),
                (math.nextafter(most, math.inf), False),
            ]
            return [(lowest, True), (most, True), *past]
        case inspect.StrType(min_length=shortest, max_length=longest):
            assert longest is not None
            below = [("", False)] if shortest else [("", True)]
            return [("é" * longest, True), ("é" * (longest + 1), False), *below]
    return []


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_a_packet_comes_back_as_it_was_written(
    model: type[msgspec.Struct], data: st.DataObject
) -> None:
    """Decoding undoes encoding, for every model."""
    packet = data.draw(packets(model))
    assert codec.decode(codec.encode(packet)) == packet


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_truncated_bytes_are_malformed(model: type[msgspec.Struct]) -> None:
    """A value cut off at any byte is refused as malformed."""
    value = codec.encode(full(model))
    for length in range(len(value)):
        with pytest.raises(MalformedPacket):
            codec.decode(value[:length])


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_the_same_damage_has_the_same_words(model: type[msgspec.Struct]) -> None:
    """What is wrong goes into a record, and a replay must come to the same record."""
    value = codec.encode(full(model))
    for length in range(len(value)):
        first, second = _complaint(value[:length]), _complaint(value[:length])
        assert (first, False) == (second, "0x" in first)


def _complaint(value: bytes) -> str:
    with pytest.raises(MalformedPacket) as caught:
        codec.decode(value)
    return str(caught.value)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_trailing_bytes_are_malformed(model: type[msgspec.Struct]) -> None:
    """A value with a byte too many is refused as malformed."""
    with pytest.raises(MalformedPacket, match="1 over"):
        codec.decode(codec.encode(full(model)) + b"\x00")


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
@settings(max_examples=50)
@given(data=st.data())
def test_corrupted_bytes_are_poison_or_another_packet(
    model: type[msgspec.Struct], data: st.DataObject
) -> None:
    """Whatever bytes are changed, decoding gives a valid packet or a PoisonError."""
    value = bytearray(codec.encode(full(model)))
    places = st.integers(0, len(value) - 1)
    for at, byte in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1)).items():
        value[at] = byte
    try:
        packet = codec.decode(bytes(value))
    except PoisonError:
        return
    assert codec.decode(codec.encode(packet)) == packet


@given(st.binary(max_size=300))
def test_foreign_bytes_are_poison(value: bytes) -> None:
    """Bytes that nobody here wrote are refused, with or without our framing before them."""
    framed = codec.marker_prefix() + value
    for candidate in (value, b"\xc3\x01" + value, framed):
        try:
            codec.decode(candidate)
        except PoisonError:
            continue
        assert candidate is framed


def test_a_null_value_is_malformed() -> None:
    """A record without a value, as compaction leaves them, is refused."""
    with pytest.raises(MalformedPacket, match="was null"):
        codec.decode(None)


def test_an_unknown_fingerprint_is_named() -> None:
    """The error of an unknown schema says its fingerprint, so that it can be looked for."""
    with pytest.raises(MalformedPacket, match="fingerprint 0102030405060708"):
        codec.decode(b"\xc3\x01" + bytes(range(1, 9)) + b"rest")


@pytest.mark.parametrize(
    ("model", "path", "kind"),
    [case for case in _LEAVES if _bounds(case[2])],
    ids=lambda part: part.__name__ if isinstance(part, type) else None,
)
def test_every_field_is_taken_up_to_its_limits_and_no_further(
    model: type[msgspec.Struct], path: Path, kind: inspect.Type
) -> None:
    """Values at a limit pass both ways; values just past it pass neither."""
    for value, allowed in _bounds(kind):
        packet = with_value(full(model), path, value)
        if allowed:
            assert codec.decode(codec.encode(packet)) == packet
            continue
        with pytest.raises(InvalidPacket):
            codec.encode(packet)
        if not isinstance(value, int) or -(2**63) <= value < 2**63:
            with pytest.raises(PoisonError):
                codec.decode(_unchecked_or_unwritable(packet))


def _unchecked_or_unwritable(packet: msgspec.Struct) -> bytes:
    try:
        return _unchecked(packet)
    except (ValueError, OverflowError) as error:  # past what Avro's type can hold at all
        raise MalformedPacket(str(error)) from error


@pytest.mark.parametrize(
    ("model", "path"),
    _FLOATS,
    ids=lambda part: part.__name__ if isinstance(part, type) else ".".join(map(str, part)),
)
def test_numbers_that_are_not_finite_are_refused(model: type[msgspec.Struct], path: Path) -> None:
    """NaN and infinities are neither written nor read, in whatever field."""
    for value in (math.nan, math.inf, -math.inf):
        packet = with_value(full(model), path, value)
        with pytest.raises(InvalidPacket):
            codec.encode(packet)
        with pytest.raises(InvalidPacket):
            codec.decode(_unchecked(packet))


def test_the_models_hold_floats_at_all() -> None:
    """The tests of NaN cover nested, repeated and mapped numbers."""
    paths = [path for model, path in _FLOATS if model is ExecutionPlan]
    assert ("views", 0, "distribution", "*") in paths
    assert ("bar", "close") in paths


def test_another_packet_than_asked_for_is_invalid() -> None:
    """A readable packet of the wrong kind is refused."""
    with pytest.raises(InvalidPacket, match="Expected a StrategicSignal, was a Marker"):
        codec.decode_as(codec.encode(full(Marker)), StrategicSignal)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_markers_are_known_without_decoding(model: type[msgspec.Struct]) -> None:
    """Only a marker's bytes are taken for a marker."""
    assert codec.is_marker(codec.encode(full(model))) == (model is Marker)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
@settings(max_examples=10)
@given(data=st.data())
def test_the_journal_head_is_read_without_decoding(
    model: type[msgspec.Struct], data: st.DataObject
) -> None:
    """The head of a log record is its journal's sequence and epoch; other packets have none."""
    packet = data.draw(packets(model))
    journal = getattr(packet, "journal", None)
    expected = None if journal is None else (journal.log_sequence, journal.epoch)
    assert codec.journal_head(codec.encode(packet)) == expected
