"""From drafts to records: the envelope's derivation, what is carried over and what is left out."""

from typing import Any

import pytest
from msgspec import structs

from pipeline.control.state import ControlView, TradingState
from pipeline.packets.identity import unreadable_flow_id
from pipeline.packets.models import (
    Outcome,
    StrategicSignal,
    Superposition,
    TacticalSignal,
    Trace,
)
from pipeline.packets.vocabulary import OutcomeKind, SuperpositionType
from pipeline.stages.contract import Draft, Input, seal
from pipeline.stages.fates import NO_BAR, Fate
from pipeline.stages.records import RecordWriter
from pipeline.stages.routes import ROUTES
from pipeline.transport.log import Position
from tests.unit.stages.engine_factories import DECISION, MARKET, NOW, market_data

AGENT = Superposition("mlmi", {"BUY": 1.0}, 1.0, 1.0)
ACTIVE = ControlView(TradingState.ACTIVE, 3, current=True)


def _writer(stage: str = "strategic") -> RecordWriter:
    return RecordWriter(ROUTES[stage], "owner", "build", "main")


def _input(packet: Any, fate: Outcome | None = None) -> Input:
    return Input(
        MARKET, 2, 9, 4, 5, (4, 4), NOW // 1000, NOW + 1, NOW + 2, b"k", b"v", packet, None, fate
    )


def _journal(writer: RecordWriter, each: Input) -> Any:
    return writer.journal(each, 11, 7, Position(10, 4, 5), ACTIVE)


def _record(packet: Any, draft: Draft, stage: str = "strategic", retries: int = 0) -> Any:
    writer, each = _writer(stage), _input(packet)
    return writer.record(each, draft, _journal(writer, each), retries, NOW + 3, NOW + 4)


def _strategic_signal(**changes: Any) -> StrategicSignal:
    writer = _writer()
    each = _input(market_data())
    draft = Draft({"strategic": DECISION, "views": (AGENT,)})
    record: Any = writer.record(each, draft, _journal(writer, each), 0, NOW, NOW)
    assert isinstance(record, StrategicSignal)
    return structs.replace(record, **changes)


def test_what_identifies_a_flow_crosses_the_hop() -> None:
    """Flow, symbol, account, sequence, priority and all three times are those of the input."""
    above = market_data(sequence=5, priority=2).envelope
    below = _record(market_data(sequence=5, priority=2), Draft()).envelope
    for name in (
        "flow_id", "symbol", "account", "sequence", "priority", "event_time", "accepted_at",
        "deadline", "max_retries",
    ):  # fmt: skip
        assert getattr(above, name) == getattr(below, name)


def test_the_packet_is_the_stages_own() -> None:
    """Id, parent, type, source and target are those of the hop."""
    above, below = market_data().envelope, _record(market_data(), Draft()).envelope
    assert (f"{above.flow_id}-strategic", above.packet_id) == (below.packet_id, below.parent_id)
    assert SuperpositionType.STRATEGIC_SIGNAL == below.packet_type
    assert ("strategic", "tactical") == (below.source_system, below.target_system)


def test_the_trace_grows_by_the_stage() -> None:
    """Received, started and finished are added to what earlier stages did."""
    before = Trace("earlier", 1, 2, 3)
    record = _record(market_data(trace=(before,)), Draft())
    assert (before, Trace("strategic", NOW + 1, NOW + 3, NOW + 4)) == record.envelope.trace


def test_the_trace_is_bounded() -> None:
    """Of a full trace the oldest gives way."""
    full = tuple(Trace(f"stage-{n}", 0, 0, 0) for n in range(16))
    trace = _record(market_data(trace=full), Draft()).envelope.trace
    assert ["stage-1", "strategic"] == [trace[0].stage, trace[-1].stage]
    assert 16 == len(trace)


def test_retries_add_up() -> None:
    """Retries of this stage are added to those of earlier ones."""
    assert 5 == _record(market_data(retry_count=3), Draft(), retries=2).envelope.retry_count


def test_the_journal_says_where_from_and_where_on() -> None:
    """Input and resume positions, time, control epoch and writer stand in the journal."""
    journal = _record(market_data(), Draft()).journal
    assert (11, 7) == (journal.log_sequence, journal.epoch)
    assert (MARKET, 2, 9, 4, 5) == (
        journal.input_topic, journal.input_partition, journal.input_offset,
        journal.input_epoch, journal.input_sequence,
    )  # fmt: skip
    assert (10, 4, 5) == (journal.resume_offset, journal.resume_epoch, journal.resume_sequence)
    assert (NOW + 2, 3, "owner", "build") == (
        journal.now, journal.control_epoch, journal.owner, journal.build
    )  # fmt: skip


@pytest.mark.parametrize("state", TradingState)
def test_the_journal_says_whether_its_worker_held_trading_halted(state: TradingState) -> None:
    """A worker may be halted although the log is not: only the record can tell afterwards."""
    view = ControlView(state, 3, current=False)
    found = _writer().journal(_input(market_data()), 11, 7, Position(10, 4, 5), view)
    assert (state is TradingState.HALTED) == found.halted


def test_views_stay_in_their_own_stages_log() -> None:
    """A stage's record has its agents' views; the next stage carries the decision without them."""
    signal = _strategic_signal()
    assert (AGENT,) == signal.views
    carried = _record(signal, Draft(), "tactical")
    assert isinstance(carried, TacticalSignal)
    assert (DECISION, ()) == (carried.strategic, carried.views)


def test_the_bar_travels_on_with_a_sealed_flow() -> None:
    """Held and expired flows keep their bar, for the windows of later stages."""
    held = Draft(outcome=seal(OutcomeKind.HELD, "strategic", "WARMUP"))
    assert market_data().bar == _record(market_data(), held).bar


@pytest.mark.parametrize("reason", sorted(NO_BAR))
def test_a_bar_that_does_not_count_is_dropped(reason: Fate) -> None:
    """A bar that is wrong, known or overtaken never enters a later window."""
    fate = Draft(outcome=seal(OutcomeKind.DEAD_LETTERED, "strategic", reason))
    assert None is _record(market_data(), fate).bar


def test_an_unreadable_record_is_named_by_its_place() -> None:
    """Without a packet the flow is that of the coordinates, dated by the broker."""
    fate = seal(OutcomeKind.DEAD_LETTERED, "strategic", Fate.MALFORMED)
    envelope = _record(None, Draft(outcome=fate)).envelope
    assert unreadable_flow_id(MARKET, 2, 9) == envelope.flow_id
    assert ("unknown", "main", NOW) == (envelope.symbol, envelope.account, envelope.event_time)


def test_a_minimal_record_has_fate_and_bar_alone() -> None:
    """What always fits holds the outcome and the bar, and no decision."""
    writer, each = _writer("tactical"), _input(_strategic_signal())
    fate = seal(OutcomeKind.DEAD_LETTERED, "tactical", Fate.TOO_LARGE)
    record: Any = writer.minimal(each, fate, _journal(writer, each), NOW, NOW)
    assert (fate, market_data().bar) == (record.envelope.outcome, record.bar)
    assert (None, None) == (record.strategic, record.tactical)
