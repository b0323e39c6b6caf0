"""The oracle over the logs: silent on sound logs, and each check finds the violation planted."""

from typing import Any

from msgspec.structs import replace

from pipeline.packets.codec import encode
from pipeline.packets.identity import client_order_id, flow_id
from pipeline.packets.models import (
    Bar,
    ChildOrder,
    Envelope,
    Execution,
    ExecutionPlan,
    Journal,
    Marker,
    OrderEvent,
    Outcome,
    PacketRun,
    PortfolioUpdate,
    Risk,
    RiskAssessment,
    RiskEnvelope,
    RunPacket,
    StrategicSignal,
)
from pipeline.packets.vocabulary import (
    FlowState,
    OrderEventKind,
    OrderType,
    OutcomeKind,
    Side,
    SuperpositionType,
    Verdict,
)
from pipeline.rules import oracle
from pipeline.rules.oracle import Accepted, Partition

NOW = 1_700_000_000_000_000
BAR = Bar(10.0, 11.0, 9.0, 10.5, 100.0, 60)
EXECUTED = Outcome(OutcomeKind.EXECUTED, "execution", ())
HELD = Outcome(OutcomeKind.HELD, "strategic", ("WARMUP",))


def _journal(sequence: int, epoch: int = 0, offset: int | None = None, **more: Any) -> Journal:
    made = Journal(
        sequence, epoch, "input", 0, sequence if offset is None else offset, 0, 0, 0, 0, 0, NOW,
        0, "owner", "build",
    )  # fmt: skip
    return replace(made, **more)


def _envelope(sequence: int = 0, outcome: Outcome | None = None) -> Envelope:
    flow = flow_id("market", "AAPL", sequence)
    return Envelope(
        flow, f"{flow}-x", "", SuperpositionType.CONTEXT_UPDATE, "a", "b", "AAPL", "main",
        sequence, 1, NOW, NOW, NOW, 0, 0, (), None, outcome,
    )  # fmt: skip


def _signal(sequence: int, epoch: int = 0) -> bytes:
    return encode(StrategicSignal(_journal(sequence, epoch), _envelope(sequence), BAR))


def _marker() -> bytes:
    return encode(Marker("token", "strategic", 0, "owner", "build", NOW))


def _partition(*values: bytes | None) -> Partition:
    return list(enumerate(values))


def _accepted(*records: Any) -> list[Accepted]:
    return [Accepted(0, n, record, record.journal) for n, record in enumerate(records)]


def _offsets(*values: bytes | None) -> list[int]:
    return [each.offset for each in oracle.accepted_records({0: _partition(*values)})]


# -- the reading rule ------------------------------------------------------------------------------


def test_records_in_sequence_count() -> None:
    """Behind a marker the records of its epoch count, from sequence 0 on."""
    assert [1, 2] == _offsets(_marker(), _signal(0), _signal(1))


def test_records_of_an_ended_epoch_do_not_count() -> None:
    """What comes after the next marker under the old epoch is void."""
    assert [1, 4] == _offsets(_marker(), _signal(0), _marker(), _signal(1, 0), _signal(1, 2))


def test_records_behind_a_hole_do_not_count() -> None:
    """A lost batch leaves a hole that nobody jumps; the next owner fills it."""
    assert [1, 4] == _offsets(_marker(), _signal(0), _signal(2), _marker(), _signal(1, 3))


def test_repeated_records_do_not_count() -> None:
    """The same sequence twice counts once."""
    assert [1, 3] == _offsets(_marker(), _signal(0), _signal(0), _signal(1))


def test_records_before_any_marker_do_not_count() -> None:
    """Nobody owned the log yet."""
    assert [] == _offsets(_signal(0))


def test_partitions_are_read_each_by_itself() -> None:
    """Epoch and sequence of one partition say nothing about another."""
    part = _partition(_marker(), _signal(0))
    found = oracle.accepted_records({1: part, 0: part})
    assert [(0, 1), (1, 1)] == [(each.partition, each.offset) for each in found]


def test_foreign_records_are_named() -> None:
    """An epoch that no marker opened, and what is no log record, are found with their place."""
    assert [] == oracle.foreign_records({0: _partition(_marker(), _signal(0))})
    found = oracle.foreign_records({0: _partition(_marker(), _signal(0, 7), b"noise")})
    assert ["[0]@1", "[0]@2"] == [text.split(":")[0] for text in found]


# -- one record per input --------------------------------------------------------------------------


def _records(*offsets: int) -> list[Accepted]:
    return _accepted(
        *(
            StrategicSignal(_journal(n, offset=offset), _envelope(n), BAR)
            for n, offset in enumerate(offsets)
        )
    )


def test_each_input_with_its_record_is_sound() -> None:
    """One record for each input, in any order."""
    assert [] == oracle.one_record_per_input({("input", 0): [3, 4]}, _records(4, 3))


def test_an_input_without_a_record_is_found() -> None:
    """A lost input."""
    assert ["input[0]@4: no record"] == oracle.one_record_per_input(
        {("input", 0): [3, 4]}, _records(3)
    )


def test_an_input_with_two_records_is_found() -> None:
    """A doubled input."""
    assert ["input[0]@3: 2 records"] == oracle.one_record_per_input(
        {("input", 0): [3]}, _records(3, 3)
    )


def test_a_record_of_no_input_is_found() -> None:
    """A record that was made from what was not to be used."""
    found = oracle.one_record_per_input({("input", 0): [3]}, _records(3, 9))
    assert ["input[0]@9: a record of an input that is none"] == found


# -- order -----------------------------------------------------------------------------------------


def _bars(*sequences: int, bar: Bar | None = BAR) -> list[Accepted]:
    return _accepted(*(StrategicSignal(_journal(n), _envelope(n), bar) for n in sequences))


def test_rising_sequences_are_sound() -> None:
    """Gaps are fine; bars that do not count may come in any order."""
    assert [] == oracle.symbols_in_order(_bars(0, 1, 5))
    assert [] == oracle.symbols_in_order([*_bars(5), *_bars(3, 5, bar=None)])


def test_bars_out_of_order_are_found() -> None:
    """A bar after a newer one, and a bar twice."""
    assert ["[0]@1: sequence 1 of AAPL after 2"] == oracle.symbols_in_order(_bars(2, 1))
    assert 1 == len(oracle.symbols_in_order(_bars(2, 2)))


def test_inputs_that_count_are_sound() -> None:
    """A record that names an upstream record that counts, as it is."""
    upstream = _bars(0, 1)
    below = [Accepted(0, 0, None, _journal(0, offset=1, input_epoch=0, input_sequence=1))]
    assert [] == oracle.inputs_used_by_the_rule("input", upstream, below)
    assert [] == oracle.inputs_used_by_the_rule("another", [], below)


def test_a_void_input_that_was_used_is_found() -> None:
    """A record of an old epoch that a reader took."""
    below = [Accepted(0, 0, None, _journal(0, offset=7))]
    found = oracle.inputs_used_by_the_rule("input", _bars(0), below)
    assert ["[0]@0: made from input[0]@7, which does not count"] == found


def test_an_input_taken_for_another_is_found() -> None:
    """Epoch and sequence that differ from the upstream record's."""
    below = [Accepted(0, 0, None, _journal(0, offset=1, input_epoch=0, input_sequence=5))]
    assert 1 == len(oracle.inputs_used_by_the_rule("input", _bars(0, 1), below))


# -- outcomes --------------------------------------------------------------------------------------


def _plan(sequence: int, outcome: Outcome | None = EXECUTED, **more: Any) -> ExecutionPlan:
    return ExecutionPlan(_journal(sequence), _envelope(sequence, outcome), **more)


def test_as_many_ends_as_packets_are_sound() -> None:
    """Every packet ended, in one way each."""
    records = _accepted(_plan(0), _plan(1, HELD))
    assert [] == oracle.outcomes_add_up(2, records)
    assert {"executed": 1, "held": 1} == oracle.count_outcomes(records)


def test_flows_that_did_not_end_are_found() -> None:
    """Too few ends, and a record without an outcome."""
    assert ["2 packets went in, 1 ended: {'executed': 1}"] == oracle.outcomes_add_up(
        2, _accepted(_plan(0))
    )
    assert 2 == len(oracle.outcomes_add_up(1, _accepted(_plan(0, None))))


# -- orders ----------------------------------------------------------------------------------------


def _risk(verdict: Verdict = Verdict.APPROVE, reserved: float = 1000.0) -> Risk:
    bounds = RiskEnvelope(Side.BUY, 10.0, 10.0, 9.0, 12.0)
    return Risk(verdict, 0.1, (), bounds, (), 1e6, 0.0, 0.0, 0.0, reserved)


def _assessment(sequence: int, **risk: Any) -> RiskAssessment:
    return RiskAssessment(_journal(sequence), _envelope(sequence), risk=_risk(**risk))


def _order(sequence: int, index: int = 0) -> ChildOrder:
    name = client_order_id(flow_id("market", "AAPL", sequence), index)
    return ChildOrder(name, Side.BUY, 1.0, OrderType.LIMIT, 10.0, 0)


def _ordered(sequence: int, *orders: ChildOrder, **more: Any) -> ExecutionPlan:
    execution = Execution(orders or (_order(sequence),), 0.5, 0.1, 0.0, ())
    return _plan(sequence, execution=execution, **{"risk": _risk(), **more})


def _event(sequence: int, **changes: Any) -> OrderEvent:
    flow = flow_id("market", "AAPL", sequence)
    made = OrderEvent(
        _journal(sequence), flow, "plan", "main", "AAPL", _order(sequence).client_order_id,
        OrderEventKind.SUBMITTING, FlowState.OPEN, Side.BUY, 1.0, 0.0, 0.0, 0.0, "", NOW, NOW, NOW,
        (),
    )  # fmt: skip
    return replace(made, **changes)


def _filled(sequence: int) -> OrderEvent:
    return _event(sequence, kind=OrderEventKind.FILLED, flow_state=FlowState.FILLED)


RISK = _accepted(_assessment(0), _assessment(1))


def test_approved_orders_are_sound() -> None:
    """Each plan has its approval and ids of its own, each announcement its plan."""
    execution = _accepted(_ordered(0, _order(0), _order(0, 1)), _ordered(1))
    fills = _accepted(_event(0), _event(1))
    assert [] == oracle.orders_are_approved(RISK, execution, fills)


def test_an_order_without_an_approval_is_found() -> None:
    """Risk rejected the flow, or never saw it."""
    rejected = _accepted(_assessment(0, verdict=Verdict.REJECT))
    assert 1 == len(oracle.orders_are_approved(rejected, _accepted(_ordered(0))))
    assert 1 == len(oracle.orders_are_approved([], _accepted(_ordered(0))))


def test_a_flow_approved_twice_is_found() -> None:
    """Two approving decisions on one flow."""
    twice = _accepted(_assessment(0), replace(_assessment(0), journal=_journal(1)))
    found = oracle.orders_are_approved(twice, _accepted(_ordered(0)))
    assert [True] == [text.endswith("approved 2 times") for text in found]


def test_an_order_id_used_twice_is_found() -> None:
    """Two orders of one id are one order to the venue, and two in the books."""
    execution = _accepted(_ordered(0, _order(0), _order(0)))
    assert [True] == [
        text.endswith("planned twice") for text in oracle.orders_are_approved(RISK, execution)
    ]


def test_an_order_of_another_flow_is_found() -> None:
    """Ids are functions of the flow."""
    found = oracle.orders_are_approved(RISK, _accepted(_ordered(0, _order(1))))
    assert [True] == ["not of" in text for text in found]


def test_an_announcement_that_was_not_planned_is_found() -> None:
    """An order that no plan holds, and one announced from another plan's record."""
    execution = _accepted(_ordered(0))
    unplanned = oracle.orders_are_approved(RISK, execution, _accepted(_event(1)))
    assert [True] == [text.endswith("never planned") for text in unplanned]
    stray = _event(0, journal=_journal(0, offset=9))
    assert 1 == len(oracle.orders_are_approved(RISK, execution, _accepted(stray)))


def test_a_flow_that_ends_once_is_sound() -> None:
    """Announced, filled, done; a held flow has nothing to end."""
    execution = _accepted(_ordered(0), _plan(1, HELD))
    fills = _accepted(_event(0), _filled(0))
    assert [] == oracle.one_end_per_flow(execution, fills)


def test_ends_that_are_missing_doubled_or_strange_are_found() -> None:
    """No end, a record after the end, and a record of a flow that was never approved."""
    execution = _accepted(_ordered(0))
    assert 1 == len(oracle.one_end_per_flow(execution, _accepted(_event(0))))
    assert 1 == len(oracle.one_end_per_flow(execution, _accepted(_filled(0), _filled(0))))
    assert 1 == len(oracle.one_end_per_flow(execution, _accepted(_filled(0), _filled(1))))


def test_an_approved_flow_that_was_not_executed_must_end_too() -> None:
    """Its reservation has to come back."""
    expired = Outcome(OutcomeKind.EXPIRED, "execution", ("DEADLINE",))
    assert 1 == len(oracle.one_end_per_flow(_accepted(_plan(0, expired, risk=_risk())), []))


# -- reservations ----------------------------------------------------------------------------------


def _update(sequence: int, released: float, state: FlowState = FlowState.FILLED) -> PortfolioUpdate:
    return PortfolioUpdate(
        _journal(sequence), flow_id("market", "AAPL", sequence), "main", "AAPL", "o",
        OrderEventKind.FILLED, state, Side.BUY, 1.0, 10.0, 0.0, released, 1.0, 0.0, 0.0,
    )  # fmt: skip


def test_reserved_is_open_plus_released() -> None:
    """Released in parts, and all of it once the flow has ended; open flows may hold on."""
    whole = _accepted(_assessment(0), _update(0, 400.0, FlowState.OPEN), _update(0, 600.0))
    assert [] == oracle.reservations_balance(whole)
    assert [] == oracle.reservations_balance(whole[:2])


def test_reservations_that_do_not_balance_are_found() -> None:
    """Kept after the end, released too much, released or reserved out of place."""
    assert 1 == len(oracle.reservations_balance(_accepted(_assessment(0), _update(0, 900.0))))
    assert 1 == len(oracle.reservations_balance(_accepted(_assessment(0), _update(0, 1100.0))))
    assert 1 == len(oracle.reservations_balance(_accepted(_update(0, 1.0))))
    assert 1 == len(oracle.reservations_balance(_accepted(_assessment(0), _assessment(0))))


# -- runs ------------------------------------------------------------------------------------------


def _run(log_sequence: int, *offsets: int, sequences: tuple[int, ...] = ()) -> StrategicSignal:
    """Return the first stage's record of packets that it shed together."""
    packets = tuple(
        RunPacket(offset, flow_id("market", "AAPL", n), "AAPL", n, NOW, NOW, NOW, BAR)
        for offset, n in zip(offsets, sequences or offsets, strict=True)
    )
    run = PacketRun(offsets[0], offsets[-1], packets)
    outcome = Outcome(OutcomeKind.SHED, "strategic", ("OVERLOAD",), "", run)
    envelope = replace(_envelope(offsets[-1], outcome), source_system="strategic")
    return StrategicSignal(_journal(log_sequence, offset=offsets[-1]), envelope)


def _alone(log_sequence: int, offset: int) -> StrategicSignal:
    return StrategicSignal(_journal(log_sequence, offset=offset), _envelope(offset), BAR)


def test_a_run_is_the_record_of_all_its_packets() -> None:
    """Offsets between that have records of their own included."""
    records = _accepted(_run(0, 0, 1, 3), _alone(1, 2))
    assert [] == oracle.one_record_per_input({("input", 0): range(4)}, records)


def test_a_packet_missing_from_a_run_or_recorded_beside_it_is_found() -> None:
    """A run is looked into: what it does not name is lost, what it names has its record."""
    records = _accepted(_run(0, 0, 1, 3), _alone(1, 1))
    assert ["input[0]@2: no record", "input[0]@1: 2 records"] == oracle.one_record_per_input(
        {("input", 0): range(4)}, records
    )


def test_a_later_stage_has_one_record_for_a_run() -> None:
    """There the run is one input, whatever offsets of the ingest topic it names."""
    passed_on = _run(0, 5, 6, 7)
    passed_on = replace(
        passed_on,
        journal=replace(passed_on.journal, input_offset=1),
        envelope=replace(passed_on.envelope, source_system="tactical"),
    )
    inputs = {("input", 0): [1, 5]}
    assert ["input[0]@5: no record"] == oracle.one_record_per_input(inputs, _accepted(passed_on))


def test_all_packets_of_a_run_count_as_ended() -> None:
    """In = sum of outcomes counts packets, not records."""
    records = _accepted(_run(0, 0, 1, 2), _plan(3))
    assert [] == oracle.outcomes_add_up(4, records)
    assert {"shed": 3, "executed": 1} == dict(oracle.count_outcomes(records))
    assert 1 == len(oracle.outcomes_add_up(2, records))


def test_bars_of_a_run_are_in_order_too() -> None:
    """Among themselves, and with the records around it."""
    assert [] == oracle.symbols_in_order(_accepted(_alone(0, 0), _run(1, 1, 2), _alone(2, 3)))
    assert oracle.symbols_in_order(_accepted(_run(0, 0, 1, sequences=(1, 0))))
    assert oracle.symbols_in_order(_accepted(_run(0, 0, 1), _alone(1, 1)))
