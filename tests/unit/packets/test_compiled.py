"""The compiled codecs against the way they replace: builtins, msgspec's checks, fastavro."""

import io
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, inspect

from pipeline.errors import InvalidPacket, MalformedPacket, PipelineError, spelled
from pipeline.packets import codec, models, schemas, strict, wire
from pipeline.packets.compiled import REFUSALS, compiled
from pipeline.packets.vocabulary import Action, Priority, Side
from tests.unit.packets.generation import MODELS, Path, full, leaves, packets, with_value

_EACH_MODEL = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
_STAGES = (
    models.MarketData,
    models.StrategicSignal,
    models.TacticalSignal,
    models.RiskAssessment,
    models.ExecutionPlan,
)
_HEADER = 10
_TIME = 1_760_000_000_000_000

# Every kind of mistake, and what is right for another kind of field.
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 63, 64, 8191, 8192, -64, -65, 2**31, 2**48, 2**55, _TIME,
    2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 0.0, -0.0, 1.0, 1.5, -1e-10, 1e300, 1e301,
    float("nan"), float("inf"), -float("inf"), np.float64(1.0), np.int64(1), Priority.HIGH,
    "", "x", "x" * 63, "x" * 64, "é" * 64, "x" * 128, "x" * 129, "x" * 4097, "\ud800", "BUY",
    "executed", Action.BUY, Side.BUY, b"x", bytearray(b"x"), (), (1,), ("x",), ("",), ["x"],
    ("x",) * 2, ("x",) * 64, ("x",) * 65, ("x", 1), "xyz", {"x"}, {}, {"a": 0.5},
    {"a": 1}, {"a": 2.0}, {"a": True}, {"a": float("nan")}, {"": 0.5}, {"k" * 70: 0.5}, {1: 0.5},
    {Action.BUY: 0.5, Action.SELL: 0.5}, {"\ud800": 0.5}, dict.fromkeys("abcdefghij" * 9, 0.1),
    {f"{number}": 0.0 for number in range(70)}, models.Bar(1.0, 1.0, 1.0, 1.0, 1.0, 1),
)  # fmt: skip

# Longs and lengths that are not what they seem.
_ODD_BYTES = (
    b"\x00", b"\x01", b"\x02", b"\x03", b"\x7f", b"\x80\x00", b"\x80\x80\x00", b"\x83\x00",
    b"\x80" * 7 + b"\x01", b"\xff" * 7 + b"\x7f", b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x01",
    b"\xff" * 9 + b"\x7f", b"\xfe" * 8 + b"\x01", b"\xff" * 20, b"\x01\x02", b"\x03\x10",
    b"\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\xc3\x28", b"\xed\xa0\x80",
)  # fmt: skip


def _quick(model: type[Struct]) -> wire.Record:
    """Return the compiled codec, which must be there: tests need a C compiler."""
    codec_of = compiled(model)
    assert codec_of is not None, "pipeline.packets.wire is not compiled: run scripts/install"
    return codec_of


def _reference_encode(packet: Struct) -> bytes:
    try:
        datum = msgspec.to_builtins(packet, builtin_types=(bytes,))
        msgspec.convert(datum, type(packet))
        return _prefix(type(packet)) + _body(packet)
    except (msgspec.ValidationError, ValueError, TypeError, OverflowError) as error:
        raise InvalidPacket(f"Expected a valid {type(packet).__name__}, was: {error}") from error


def _reference_decode(value: bytes) -> Struct:
    model = next(each for each in MODELS if value.startswith(_prefix(each)))
    source = io.BytesIO(value[_HEADER:])
    try:
        datum = schemaless_reader(source, schemas.current(model.__name__), None)
    except Exception as error:
        text = f"Expected an Avro {model.__name__}, was: {spelled(error)}"
        raise MalformedPacket(text) from error
    if left := len(value) - _HEADER - source.tell():
        raise MalformedPacket(f"Expected the {model.__name__} to fill its bytes, was {left} over")
    if fault := strict.faults(value, _HEADER, schemas.current(model.__name__)):
        raise MalformedPacket(f"Expected an Avro {model.__name__}, was none: {fault}")
    try:
        return msgspec.convert(datum, model)
    except msgspec.ValidationError as error:
        raise InvalidPacket(f"Expected a valid {model.__name__}, was: {error}") from error


@cache
def _prefix(model: type[Struct]) -> bytes:
    return b"\xc3\x01" + schemas.fingerprint_of(schemas.current(model.__name__))


def _body(packet: Struct) -> bytes:
    """Return what fastavro makes of a packet, its constraints unchecked."""
    out = io.BytesIO()
    datum = msgspec.to_builtins(packet, builtin_types=(bytes,))
    schemaless_writer(out, schemas.current(type(packet).__name__), datum)
    return out.getvalue()


def _fate(function: Callable[[Any], object], given: object) -> tuple[str, object]:
    """Return what comes of a call: its result, or its error of ours and what that says."""
    try:
        result = function(given)
    except PipelineError as error:
        return type(error).__name__, str(error)
    return type(result).__name__, result


def _plan(number: int = 0) -> models.ExecutionPlan:
    """Return a packet as the last stage writes it: long times, several of everything."""
    now = _TIME + number * 1_000_003
    plan: models.ExecutionPlan = full(models.ExecutionPlan)
    assert plan.execution is not None
    replace = msgspec.structs.replace
    trace = models.Trace("strategic", now, now + 300, now + 9_000_000_000)
    views = tuple(
        models.Superposition(each, {"BUY": 0.5, "HOLD": 0.3, "SELL": 0.2}, 0.5, 0.1)
        for each in ("timing", "liquidity", "cost")
    )
    return replace(
        plan,
        journal=replace(
            plan.journal, now=now, input_epoch=-1, epoch=70_000, input_offset=9_999_999
        ),
        envelope=replace(
            plan.envelope,
            trace=(trace,) * 4,
            sequence=1_234_567,
            event_time=now - 5,
            accepted_at=now,
            deadline=now + 2_000_000,
        ),
        execution=replace(plan.execution, orders=plan.execution.orders * 3),
        views=views,
    )


@_EACH_MODEL
@settings(max_examples=40)
@given(data=st.data())
def test_compiled_codecs_agree_with_fastavro(model: type[Struct], data: st.DataObject) -> None:
    """Every valid packet is taken both ways, to and from the very bytes that fastavro writes."""
    packet = data.draw(packets(model))
    body = _body(packet)
    assert b"abc" + body == _quick(model).encode(b"abc", packet, {})
    assert packet == _quick(model).decode(b"abc" + body, 3)


@pytest.mark.parametrize("number", [0, 1, 133, 134, 135, 1_000_000])
def test_clock_readings_are_taken_at_once(number: int) -> None:
    """Packets with times of today go the quick way, whatever the bits above and below 28."""
    plan = _plan(number)
    assert _body(plan) == _quick(models.ExecutionPlan).encode(b"", plan, {})
    assert plan == _quick(models.ExecutionPlan).decode(_body(plan), 0)


@given(st.integers(-(2**64), 2**64))
def test_longs_are_written_and_read_in_64_bits(number: int) -> None:
    """A long comes back whatever its size; one past 64 bits is refused."""
    cursor = models.Cursor("x", 0, number, 0, 0)
    if not -(2**63) <= number < 2**63:
        with pytest.raises(REFUSALS):
            _quick(models.Cursor).encode(b"", cursor, {})
        return
    assert _body(cursor) == _quick(models.Cursor).encode(b"", cursor, {})
    assert cursor == _quick(models.Cursor).decode(_body(cursor), 0)


@_EACH_MODEL
def test_odd_values_meet_the_same_fate_when_written(model: type[Struct]) -> None:
    """Whatever stands in a field, it gives the bytes or the error that the careful way gives."""
    for path in _places(model):
        for odd in _ODD_VALUES:
            packet = with_value(full(model), path, odd)
            assert _fate(_reference_encode, packet) == _fate(codec.encode, packet), (path, odd)


@_EACH_MODEL
def test_odd_values_meet_the_same_fate_when_read(model: type[Struct]) -> None:
    """Whatever fastavro can write is read, or refused, as the careful way does."""
    for path in _places(model):
        for odd in _ODD_VALUES:
            try:
                value = _prefix(model) + _body(with_value(full(model), path, odd))
            except (ValueError, TypeError, OverflowError, AttributeError, KeyError):
                continue  # not Avro of this schema at all
            assert _fate(_reference_decode, value) == _fate(codec.decode, value), (path, odd)


def _places(model: type[Struct]) -> list[Path]:
    """Return the path of every field of a model and of what its tuples and mappings hold."""
    info = inspect.type_info(model)
    assert isinstance(info, inspect.StructType)
    paths: list[Path] = [path for path, _ in leaves(model, nested=False)]
    return list(dict.fromkeys([*paths, *((field.name,) for field in info.fields)]))


@pytest.mark.parametrize("field", ["received", "started", "finished"])
def test_odd_times_among_times_meet_the_same_fate(field: str) -> None:
    """Neighbouring times, read at once, hide no negative, short, or long one among them."""
    times = models.Trace("strategic", _TIME, _TIME + 1, _TIME + 2)
    for odd in (-_TIME, -1, 0, 1, 2**47, 2**48, 2**55 - 1, 2**55, 2**63 - 1, -(2**55), -(2**63)):
        changed = with_value(times, (field,), odd)
        value = _prefix(models.Trace) + _body(changed)
        assert _fate(_reference_decode, value) == _fate(codec.decode, value), odd
        assert _fate(_reference_encode, changed) == _fate(codec.encode, changed), odd


@_EACH_MODEL
def test_odd_bytes_meet_the_same_fate(model: type[Struct]) -> None:
    """Odd bytes put in place of any byte are read, or refused, as the careful way does."""
    value = codec.encode(full(model))
    for at in range(_HEADER, len(value)):
        for odd in _ODD_BYTES:
            changed = value[:at] + odd + value[at + 1 :]
            assert _fate(_reference_decode, changed) == _fate(codec.decode, changed), (at, odd)


@_EACH_MODEL
@settings(max_examples=60)
@given(data=st.data())
def test_random_damage_meets_the_same_fate(model: type[Struct], data: st.DataObject) -> None:
    """Bytes changed, cut out or put in anywhere are read, or refused, as the careful way does."""
    value = codec.encode(data.draw(packets(model)))
    for _ in range(data.draw(st.integers(1, 3))):
        start, length = data.draw(st.integers(_HEADER, len(value))), data.draw(st.integers(0, 9))
        value = value[:start] + data.draw(st.binary(max_size=9)) + value[start + length :]
    assert _fate(_reference_decode, value) == _fate(codec.decode, value)


@_EACH_MODEL
@settings(max_examples=60)
@given(value=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(model: type[Struct], value: bytes) -> None:
    """A compiled reader raises nothing but its refusals."""
    try:
        packet = _quick(model).decode(value, 0)
    except REFUSALS:
        return
    assert isinstance(packet, model)


@_EACH_MODEL
def test_what_is_cut_short_is_not_taken(model: type[Struct]) -> None:
    """Cut off at any byte, a value is refused."""
    body = _body(full(model)) if model is not models.ExecutionPlan else _body(_plan())
    for length in range(len(body)):
        with pytest.raises(REFUSALS):
            _quick(model).decode(body[:length], 0)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x02x\x00\x00\x00\x00\x00" + size + b"\x02" * 99, id=size.hex())
        for size in (b"\xfe" * 8 + b"\x01", b"\xfe\xff\xff\x0f", b"\xff" * 8 + b"\x7f")
    ],
)
def test_hostile_counts_cost_nothing(body: bytes) -> None:
    """A count of items far beyond the bytes that follow is refused without room made for it."""
    value = _prefix(models.Cursor) + body
    codec.encode(full(models.Cursor))  # what is allocated once is no matter here
    with pytest.raises(MalformedPacket):
        codec.decode(value)
    tracemalloc.start()
    with pytest.raises(MalformedPacket):
        codec.decode(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_arrays_in_several_blocks_are_read() -> None:
    """Blocks with and without their size, as other writers of Avro make them, are one array."""
    cursor = models.Cursor("x", 0, 0, 0, 0, (1, 2, 3))
    start = _body(msgspec.structs.replace(cursor, done=()))[:-1]
    blocks = b"\x03\x04\x02\x04" + b"\x02\x06" + b"\x00"
    assert cursor == codec.decode(_prefix(models.Cursor) + start + blocks)


@pytest.mark.parametrize("model", _STAGES, ids=lambda model: model.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_parts_spliced_in_give_the_same_bytes(model: type[Struct], data: st.DataObject) -> None:
    """Carrying over all parts of a packet gives the bytes of writing them anew."""
    packet = data.draw(packets(model))
    value = codec.encode(packet)
    read, parts = codec.decode_with_parts(value)
    assert packet == read
    assert value == codec.encode(read, parts)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (models.MarketData, {"bar"}),
        (models.StrategicSignal, {"bar", "strategic"}),
        (models.ExecutionPlan, {"bar", "strategic", "tactical", "risk", "execution"}),
        (models.OrderEvent, set()),
    ],
)
def test_parts_are_the_records_beside_journal_and_envelope(
    model: type[Struct], expected: set[str]
) -> None:
    """Each optional record of a stage packet, and the bar of an ingest packet, is a part."""
    _, parts = codec.decode_with_parts(codec.encode(full(model)))
    assert expected == set(parts)


@pytest.mark.parametrize(("before", "after"), list(pairwise(_STAGES)))
@settings(max_examples=25)
@given(data=st.data())
def test_the_next_stage_carries_parts_over(
    before: type[Struct], after: type[Struct], data: st.DataObject
) -> None:
    """What one stage read, it may put into its own record: the bytes are those of a full write."""
    packet, parts = codec.decode_with_parts(codec.encode(data.draw(packets(before))))
    carried = {name: getattr(packet, name) for name in parts}
    record = msgspec.structs.replace(data.draw(packets(after)), **carried)
    assert codec.encode(record) == codec.encode(record, parts)


def test_parts_are_copied_and_not_written_anew() -> None:
    """The bytes given for a part are those that are written."""
    signal = full(models.StrategicSignal)
    other = msgspec.structs.replace(signal, bar=models.Bar(9.0, 9.0, 9.0, 9.0, 9.0, 9))
    _, parts = codec.decode_with_parts(codec.encode(other))
    assert codec.encode(other) == codec.encode(signal, {"bar": parts["bar"]})


def test_parts_give_way_to_what_was_set_or_dropped() -> None:
    """A part that was missing does not hide a new one, nor does an old one bring back a dropped."""
    there = full(models.StrategicSignal)
    missing = msgspec.structs.replace(there, bar=None)
    for packet, other in ((there, missing), (missing, there)):
        _, parts = codec.decode_with_parts(codec.encode(other))
        assert codec.encode(packet) == codec.encode(packet, {"bar": parts["bar"]})


def test_an_unusual_encoding_has_no_parts() -> None:
    """What only the careful way reads gives the packet, and no bytes to carry over."""
    packet = full(models.StrategicSignal)
    value = codec.encode(packet)
    start = value[: -len(_body(packet.views[0])) - 2]
    unusual = start + b"\x01" + b"\x00" + _body(packet.views[0]) + b"\x00"
    assert (packet, {}) == codec.decode_with_parts(unusual)


def test_parts_do_not_let_an_invalid_packet_through() -> None:
    """The rest of a packet is checked as always."""
    packet = full(models.StrategicSignal)
    _, parts = codec.decode_with_parts(codec.encode(packet))
    with pytest.raises(InvalidPacket):
        codec.encode(with_value(packet, ("journal", "input_topic"), ""), parts)


def _models_without_codec() -> list[type[Struct]]:
    """Return models by the name of a schema whose fields have types that nothing checks."""
    kinds: list[Any] = [
        float,
        int,
        str,
        tuple[float, ...],
        dict[str, float],
        float | None,
        Annotated[float, msgspec.Meta(ge=0.0, le=1.0, multiple_of=0.5)],
        Annotated[str, msgspec.Meta(max_length=64, pattern="x")],
    ]
    names = [field["name"] for field in schemas.current("Bar")["fields"]]
    return [msgspec.defstruct("Bar", [(name, kind) for name in names]) for kind in kinds]


@pytest.mark.parametrize("model", _models_without_codec())
def test_constraints_that_nothing_checks_are_not_compiled(model: type[Struct]) -> None:
    """A model is compiled only if all that it says of its fields is checked."""
    with pytest.raises(NotImplementedError, match="Expected"):
        compiled(model)


_WITHOUT_COMPILER = """
import sys
sys.modules["pipeline.packets.wire"] = None
from pipeline.packets import codec
value = bytes.fromhex(sys.argv[1])
packet, parts = codec.decode_with_parts(value)
assert parts == {} and codec.decode(value) == packet
print(codec.encode(packet).hex())
"""


def test_packets_are_the_same_where_nothing_was_compiled() -> None:
    """Without the compiled module the careful way does all, and it says that it is slow."""
    value = codec.encode(full(models.ExecutionPlan)).hex()
    command = [sys.executable, "-c", _WITHOUT_COMPILER, value]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert value == done.stdout.strip()
    assert "not compiled" in done.stderr
