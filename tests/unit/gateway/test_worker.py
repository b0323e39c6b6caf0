"""The gateway worker over a log in memory: announce, read back, submit, record; take-overs."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
from confluent_kafka import Message
from msgspec.structs import replace

from pipeline.control.fences import NO_FENCES, Fences
from pipeline.control.state import ControlView, TradingState
from pipeline.errors import OwnershipLost
from pipeline.gateway.plan_check import PlanCheck
from pipeline.gateway.reasons import GatewayReason
from pipeline.gateway.state import GatewayFold
from pipeline.gateway.venue import (
    DuplicateOrder,
    VenueOrder,
    VenueReport,
    VenueState,
    VenueUnknown,
)
from pipeline.gateway.worker import GATEWAY_LOG, Gateway
from pipeline.packets.codec import decode_as, encode
from pipeline.packets.identity import flow_id
from pipeline.packets.models import ExecutionPlan, Marker, OrderEvent, Outcome, SandboxRecord
from pipeline.packets.vocabulary import FlowState, OrderEventKind, OutcomeKind, Verdict
from pipeline.settings import load_settings
from pipeline.testing import ManualClock
from pipeline.transport.journal import Ownership, fold_journal, input_readers
from pipeline.transport.log import START, InputPosition
from pipeline.transport.rounds import Round
from tests.unit.gateway.factories import PLANNED_AT, child, plan
from tests.unit.stages.engine_factories import FakeMessage

PLANS = ("cascade.execution", 0)
LIMIT_S = 20.0


class FakeVenue:
    """Fills every order at once and keeps its id; can be made slow or silent."""

    def __init__(self) -> None:
        self.orders: dict[str, VenueReport] = {}
        self.submitted: list[str] = []
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.silent = 0
        self.secretive = 0
        self.working: list[VenueReport] = []
        self.before: Callable[[str], None] = lambda _: None

    def submit(self, order: VenueOrder) -> VenueReport:
        name = order.client_order_id
        self.before(name)
        self.submitted.append(name)
        assert self.gate.wait(LIMIT_S)
        if name in self.orders:
            raise DuplicateOrder(f"Expected a new id, was {name}")
        self.orders[name] = VenueReport(name, "v", VenueState.FILLED, order.quantity, 100.0, 0.0)
        if self.silent > 0:
            self.silent -= 1
            raise VenueUnknown("Expected an answer, was none")
        return self.orders[name]

    def cancel(self, client_order_id: str) -> VenueReport:
        cancelled = VenueReport(client_order_id, "", VenueState.CANCELLED, 0.0, 0.0, 0.0)
        return self.orders.setdefault(client_order_id, cancelled)

    def query(self, client_order_id: str) -> VenueReport | None:
        self.asked.append(client_order_id)
        return self.orders.get(client_order_id)

    def open_orders(self) -> list[VenueReport]:
        if self.secretive > 0:
            self.secretive -= 1
            raise VenueUnknown("Expected an answer, was none")
        return self.working


class FakeHost:
    """Owns the fills log in memory; reads back at once unless told to hold on."""

    owner, build = "owner", "build"

    def __init__(self, log: list[OrderEvent], epoch: int) -> None:
        self.log = log
        self.fold = GatewayFold()
        self.clock = ManualClock(PLANNED_AT)
        self.generation = epoch
        self.reading = asyncio.Event()
        self.reading.set()
        self.losses: list[str] = []
        positions = {PLANS: InputPosition(START, set())}
        state = self.fold.initial()
        for event in log:  # as a take-over recovers it
            fold_journal(positions, event.journal, finished=GATEWAY_LOG.finishes(event))
            self.fold.apply(state, event)
        self.ownership = Ownership(
            0, epoch, len(log) - 1, state, positions, input_readers(GATEWAY_LOG, positions), (-1, 0)
        )
        self.owned = {0: self.ownership}

    def write(self, ownership: Ownership, records: Sequence[tuple[bytes | None, bytes]]) -> None:
        self.log.extend(decode_as(value, OrderEvent) for _, value in records)

    async def read_back(self, ownership: Ownership, sequence: int) -> None:
        await self.reading.wait()
        if self.owned.get(0) is not ownership:
            raise OwnershipLost("Expected to own the log, was lost")

    def lose(self, why: str) -> None:
        self.losses.append(why)
        self.owned = {}


class FakeControl:
    """Says whether trading is on."""

    state = TradingState.ACTIVE
    fences = NO_FENCES

    def view(self) -> ControlView:
        return ControlView(self.state, 2, current=True, fences=self.fences)


class Owner:
    """A gateway that owns the fills log."""

    def __init__(
        self,
        log: list[OrderEvent],
        venue: FakeVenue,
        epoch: int = 1,
        check: PlanCheck | None = None,
    ) -> None:
        self.host = FakeHost(log, epoch)
        self.control = FakeControl()
        self.gateway = Gateway(
            cast(Any, self.host), cast(Any, self.control), venue, load_settings(broker=None), check
        )

    @property
    def resume(self) -> int:
        """Offset that its input is resumed at."""
        return self.host.ownership.positions[PLANS].position.offset

    async def read(self, *values: bytes, start: int = 0) -> None:
        """Take a round of the execution log."""
        await self.take(*(FakeMessage(v, start + n, PLANS[0]) for n, v in enumerate(values)))

    async def take(self, *found: FakeMessage) -> None:
        """Take a round of records."""
        records = {PLANS: [cast(Message, each) for each in found]}
        await self.gateway.work_off(Round(records, PLANNED_AT, self.host.generation))

    async def settle(self) -> None:
        """Wait until no flow is under way."""
        await until(lambda: not self.gateway._tasks)

    async def end(self) -> None:
        """Drop what is under way, as a process that is gone."""
        self.host.owned = {}
        await self.gateway.abandon()


async def until(condition: Callable[[], object]) -> None:
    """Let others run until `condition` is true."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "no end in sight"
        await asyncio.sleep(0.005)


def _plan(sequence: int, symbol: str = "AAPL", children: int = 1, **changes: Any) -> ExecutionPlan:
    flow = flow_id("market", symbol, sequence)
    orders = [child(n, flow=flow) for n in range(children)]
    made = plan(*orders, flow=flow, **changes)
    return replace(made, envelope=replace(made.envelope, symbol=symbol))


def _log(*plans: ExecutionPlan) -> list[bytes]:
    """Return the execution log: a marker, then the plans in sequence."""
    marker = encode(Marker("token", "execution", 0, "owner", "build", PLANNED_AT))
    records = (
        replace(each, journal=replace(each.journal, epoch=0, log_sequence=n))
        for n, each in enumerate(plans)
    )
    return [marker, *map(encode, records)]


def _kinds(log: list[OrderEvent]) -> list[OrderEventKind]:
    return [event.kind for event in log]


@contextmanager
def closed(venue: FakeVenue) -> Iterator[None]:
    """Let the venue answer nothing meanwhile."""
    venue.gate.clear()
    try:
        yield
    finally:
        venue.gate.set()


async def test_an_order_is_announced_sent_and_recorded() -> None:
    """SUBMITTING, then the fill with the flow's end; the input moves with the last record."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    await owner.read(*_log(_plan(0)))
    await owner.settle()
    assert [OrderEventKind.SUBMITTING, OrderEventKind.FILLED] == _kinds(log)
    assert [FlowState.OPEN, FlowState.FILLED] == [event.flow_state for event in log]
    assert [1, 2] == [event.journal.resume_offset for event in log]
    assert [0, 1] == [event.journal.log_sequence for event in log]
    assert 2 == owner.resume


async def test_nothing_is_sent_before_the_announcement_was_read_back() -> None:
    """An acknowledged record is not enough: another owner may have come first."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    owner.host.reading.clear()
    await owner.read(*_log(_plan(0)))
    await until(lambda: log)
    await asyncio.sleep(0)
    assert ([OrderEventKind.SUBMITTING], []) == (_kinds(log), venue.submitted)
    owner.host.reading.set()
    await owner.settle()
    assert 1 == len(venue.submitted)


async def test_an_owner_that_lost_the_log_sends_nothing() -> None:
    """Where read-back ends in another's marker, the announced order stays unsent."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    owner.host.reading.clear()
    await owner.read(*_log(_plan(0)))
    await until(lambda: log)
    owner.host.owned = {}
    owner.host.reading.set()
    await owner.settle()
    assert ([], []) == (venue.submitted, owner.host.losses)


async def test_a_result_after_the_loss_is_not_written() -> None:
    """What the venue says to an owner that is none any more is left to the next one."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    with closed(venue):
        await owner.read(*_log(_plan(0)))
        await until(lambda: venue.submitted)
        owner.host.owned = {}
    await owner.settle()
    assert [OrderEventKind.SUBMITTING] == _kinds(log)


async def test_an_ended_plan_is_never_run_again() -> None:
    """A new owner goes on behind it, and skips it where it is read once more."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    first = Owner(log, venue)
    await first.read(*_log(_plan(0), _plan(1)))
    await first.settle()
    written = len(log)
    await first.end()
    second = Owner(log, venue, epoch=9)
    assert 3 == second.resume
    await second.read(*_log(_plan(0), _plan(1)))
    await second.settle()
    assert (written, 2) == (len(log), len(venue.submitted))


async def test_a_plan_that_ended_ahead_of_another_is_never_run_again() -> None:
    """Of two plans the later ended: the new owner resumes at the first and runs it alone."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    slow = _plan(0, "IBM")
    stop = threading.Event()
    venue.before = lambda name: None if not name.startswith(slow.envelope.flow_id) else _hang(stop)
    first = Owner(log, venue)
    await first.read(*_log(slow, _plan(1)))
    await until(lambda: OrderEventKind.FILLED in _kinds(log))
    assert 1 == first.resume
    await first.end()
    second = Owner(log, venue, epoch=9)
    assert (1, {2}) == (second.resume, second.host.ownership.positions[PLANS].done)
    stop.set()
    venue.before = lambda _: None
    await second.read(*_log(slow, _plan(1))[1:], start=1)
    await second.settle()
    ends = [event.flow_id for event in log if event.flow_state is not FlowState.OPEN]
    assert 2 == len(ends) == len(set(ends))
    assert 3 == second.resume


def _hang(stop: threading.Event) -> None:
    assert stop.wait(LIMIT_S)


async def test_an_order_that_arrived_unanswered_is_not_sent_again() -> None:
    """The new owner asks the venue and records the fill that the first never saw."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    first = Owner(log, venue)
    with closed(venue):
        await first.read(*_log(_plan(0)))
        await until(lambda: venue.submitted)
        await first.end()
    await until(lambda: venue.orders)
    second = Owner(log, venue, epoch=9)
    assert 1 == second.resume
    await second.read(*_log(_plan(0))[1:], start=1)
    await second.settle()
    assert [OrderEventKind.SUBMITTING, OrderEventKind.FILLED] == _kinds(log)
    assert (1, 1) == (len(venue.submitted), len(venue.asked))
    assert [1, 9] == [event.journal.epoch for event in log]


async def test_a_plan_is_resumed_after_its_first_child() -> None:
    """What was recorded stays; the second child is sent by the new owner, once."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    venue.silent = 1
    first = Owner(log, venue)
    order_plan = _plan(0, children=2)
    with closed(venue):
        await first.read(*_log(order_plan))
        await until(lambda: venue.submitted)
        await first.end()
    await until(lambda: venue.orders)
    second = Owner(log, venue, epoch=9)
    await second.read(*_log(order_plan)[1:], start=1)
    await second.settle()
    fills = [event.client_order_id for event in log if event.kind is OrderEventKind.FILLED]
    orders = order_plan.execution.orders if order_plan.execution else ()
    assert [order.client_order_id for order in orders] == sorted(fills)
    assert 2 == len(venue.orders)
    assert FlowState.FILLED is log[-1].flow_state


async def test_a_venue_that_does_not_answer_is_asked_again() -> None:
    """Silence ends no order: the same owner asks under the same id until it knows."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    venue.silent = 1
    owner = Owner(log, venue)
    await owner.read(*_log(_plan(0)))
    await owner.settle()
    assert [OrderEventKind.SUBMITTING, OrderEventKind.FILLED] == _kinds(log)
    assert 1 == len(venue.submitted)


async def test_flows_of_one_symbol_take_turns() -> None:
    """The second plan of a symbol is announced after the first has ended."""
    log: list[OrderEvent] = []
    owner = Owner(log, FakeVenue())
    plans = [_plan(n) for n in range(3)]
    await owner.read(*_log(*plans))
    await owner.settle()
    expected = [each.envelope.flow_id for each in plans for _ in range(2)]
    assert expected == [event.flow_id for event in log]


async def test_flows_of_different_symbols_do_not_wait_for_each_other() -> None:
    """A slow order holds up its own symbol alone."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    stop = threading.Event()
    slow = _plan(0, "IBM").envelope.flow_id
    venue.before = lambda name: _hang(stop) if name.startswith(slow) else None
    owner = Owner(log, venue)
    await owner.read(*_log(_plan(0, "IBM"), _plan(0, "AAPL")))
    await until(lambda: OrderEventKind.FILLED in _kinds(log))
    assert 1 == owner.resume
    stop.set()
    await owner.settle()
    assert 3 == owner.resume


async def test_plans_without_business_here_are_passed() -> None:
    """A held flow needs no record; reading goes on behind it."""
    held = Outcome(OutcomeKind.HELD, "tactical", ("NEUTRAL",))
    log: list[OrderEvent] = []
    owner = Owner(log, FakeVenue())
    await owner.read(
        *_log(_plan(0, children=0, outcome=held, verdict=Verdict.REJECT, reserved=0.0))
    )
    await owner.settle()
    assert ([], 2) == (log, owner.resume)


async def test_an_approved_flow_without_orders_ends_here() -> None:
    """It expired in execution: its reservation goes back by a record of the whole flow."""
    expired = Outcome(OutcomeKind.EXPIRED, "execution", ("DEADLINE",))
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    await owner.read(*_log(_plan(0, children=0, outcome=expired)))
    await owner.settle()
    assert [(OrderEventKind.EXPIRED, "", FlowState.EXPIRED)] == [
        (event.kind, event.client_order_id, event.flow_state) for event in log
    ]
    assert [] == venue.submitted


async def test_void_plans_are_passed() -> None:
    """A plan of an ended epoch is no plan."""
    good, void = _plan(0), _plan(1)
    values = [*_log(good), _log()[0], *_log(good, void)[2:]]  # after a second marker
    log: list[OrderEvent] = []
    owner = Owner(log, FakeVenue())
    await owner.read(*values)
    await owner.settle()
    assert {good.envelope.flow_id} == {event.flow_id for event in log}
    assert 4 == owner.resume


@pytest.mark.parametrize("state", [TradingState.HALTED, TradingState.REDUCING])
async def test_without_trading_nothing_is_sent(state: TradingState) -> None:
    """A plan ends as halted, unannounced."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    owner.control.state = state
    await owner.read(*_log(_plan(0)))
    await owner.settle()
    assert ([OrderEventKind.HALTED], []) == (_kinds(log), venue.submitted)


@pytest.mark.parametrize(("reducing", "sent"), [(True, 1), (False, 0)])
async def test_reducing_sends_what_reduces(reducing: bool, sent: int) -> None:
    """While REDUCING, an order that risk found to reduce a position goes out, no other."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    owner.control.state = TradingState.REDUCING
    found = _plan(0)
    assert found.risk is not None
    await owner.read(*_log(replace(found, risk=replace(found.risk, reducing=reducing))))
    await owner.settle()
    assert sent == len(venue.submitted)
    if not reducing:
        assert (GatewayReason.TRADING_REDUCING,) == log[-1].reasons


@pytest.mark.parametrize(
    "fences",
    [
        Fences(stages=frozenset({"gateway"})),
        Fences(symbols=frozenset({"AAPL"})),
        Fences(sources=frozenset({"market"})),
    ],
)
async def test_what_is_isolated_is_not_sent(fences: Fences) -> None:
    """Orders of an isolated symbol or source, or of an isolated gateway, end as halted."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    owner.control.fences = fences
    await owner.read(*_log(_plan(7)))
    await owner.settle()
    assert ([OrderEventKind.HALTED], []) == (_kinds(log), venue.submitted)
    assert (GatewayReason.ISOLATED,) == log[0].reasons


async def test_a_clock_that_jumped_stops_trading() -> None:
    """Who does not know the time does not know the deadline."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    owner.host.clock.skewed = True
    await owner.read(*_log(_plan(0)))
    await owner.settle()
    assert ([OrderEventKind.HALTED], []) == (_kinds(log), venue.submitted)


async def test_a_halt_between_announcement_and_submit_is_seen() -> None:
    """The state is looked at once more right before the order would go out."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    owner.host.reading.clear()
    await owner.read(*_log(_plan(0)))
    await until(lambda: log)
    owner.control.state = TradingState.HALTED
    owner.host.reading.set()
    await owner.settle()
    assert [OrderEventKind.SUBMITTING, OrderEventKind.HALTED] == _kinds(log)
    assert [] == venue.submitted


async def test_a_flow_that_fails_ends_the_ownership() -> None:
    """A fault of ours is no answer of the venue: log and venue settle it at the next take-over."""

    def broken(_: str) -> None:
        raise RuntimeError("no such thing")

    log: list[OrderEvent] = []
    venue = FakeVenue()
    venue.before = broken
    owner = Owner(log, venue)
    await owner.read(*_log(_plan(0)))
    await owner.settle()
    assert [OrderEventKind.SUBMITTING] == _kinds(log)
    assert 1 == len(owner.host.losses)


async def test_a_round_of_another_generation_is_dropped() -> None:
    """Plans that were fetched for an ownership that ended are not touched."""
    log: list[OrderEvent] = []
    owner = Owner(log, FakeVenue())
    found = [cast(Message, FakeMessage(v, n, PLANS[0])) for n, v in enumerate(_log(_plan(0)))]
    await owner.gateway.work_off(Round({PLANS: found}, PLANNED_AT, 77))
    await owner.settle()
    assert ([], 0) == (log, owner.resume)


async def test_nothing_is_sent_before_log_and_venue_were_compared() -> None:
    """A venue that does not name its open orders holds everything up; then it goes on."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    venue.secretive = 2
    owner = Owner(log, venue)
    await owner.read(*_log(_plan(0)))
    await until(lambda: venue.secretive < 2)
    assert not log
    await owner.settle()
    assert (venue.secretive, _kinds(log)[-1]) == (0, OrderEventKind.FILLED)
    await owner.end()


async def test_an_order_that_nobody_announced_stops_all() -> None:
    """What works at the venue and not by the log is a break: nothing is sent, until a reset."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    venue.working = [VenueReport("stray", "v", VenueState.WORKING, 0.0, 0.0, 0.0)]
    owner = Owner(log, venue)
    await owner.read(*_log(_plan(0)))
    await owner.settle()
    assert venue.submitted == []
    assert log[-1].reasons == (GatewayReason.RECONCILIATION_BREAK,)
    assert [each.scope for each in owner.gateway.broken()] == ["reconciliation:main"]
    await owner.end()


async def test_a_fill_of_more_than_was_ordered_is_a_break() -> None:
    """It is recorded as the venue says, and nothing is sent after it."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    real = venue.submit

    def submit(order: VenueOrder) -> VenueReport:
        return dataclasses.replace(real(order), filled=2 * order.quantity)

    venue.submit = submit  # type: ignore[method-assign]  # a venue that goes wrong
    owner = Owner(log, venue)
    await owner.read(*_log(_plan(0), _plan(1)))
    await owner.settle()
    assert len(venue.submitted) == 1
    assert log[-1].reasons == (GatewayReason.RECONCILIATION_BREAK,)
    await owner.end()


async def test_a_replayed_plan_is_refused_by_its_type(caplog: pytest.LogCaptureFixture) -> None:
    """A plan in a sandbox's wrapping reaches no venue, is said aloud, and holds nobody up."""
    log: list[OrderEvent] = []
    venue = FakeVenue()
    owner = Owner(log, venue)
    marker, replayed, live = _log(_plan(1), _plan(2))
    wrapped = SandboxRecord("r1", PLANS[0], 0, 1, "flow", "identical", PLANNED_AT, replayed)
    await owner.read(marker, encode(wrapped), _first(live))
    await owner.settle()

    assert [_plan(2).execution.orders[0].client_order_id] == venue.submitted  # type: ignore[union-attr]
    assert "sandbox_refused at=cascade.execution[0]@1" in caplog.text
    assert 3 == owner.resume


def _first(value: bytes) -> bytes:
    """Return a plan as the first record of its log."""
    made = decode_as(value, ExecutionPlan)
    return encode(replace(made, journal=replace(made.journal, log_sequence=0)))
