"""Orders, ends, reservations, and what went in and came out: the oracle's checks, flow by flow."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.audit.findings import Finding, FindingKind
from pipeline.audit.ordering import Counted
from pipeline.packets.lanes import is_urgent
from pipeline.packets.models import ExecutionPlan, OrderEvent, PortfolioUpdate, RiskAssessment
from pipeline.packets.runs import packets_of, unrolled
from pipeline.packets.vocabulary import FlowState, OrderEventKind
from pipeline.rules.oracle import (
    Accepted,
    fates_stay,
    needs_end,
    orders_are_announced_in_time,
    orders_are_approved,
    orders_keep_to_their_bounds,
)

__all__ = ["FlowAccounts", "Tallies", "approved"]

_TOLERANCE: Final = 1e-9
# From the last look at the clock to the record's own time, on a busy machine.
_GRACE_US: Final = 1_000_000
_REMEMBERED: Final = 20_000


@dataclass(slots=True)
class Tallies:
    """What was seen within a window.

    Attributes:
        packets_in: Records of the ingest topic.
        outcomes: Packets that ended, by outcome.
        records: Records that count, by topic.
        rules: Findings of rules that are warnings only, by rule.
    """

    packets_in: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {
            "packets_in": self.packets_in,
            "packets_out": self.outcomes.total(),
            "outcomes": dict(self.outcomes),
            "records": dict(self.records),
            "warnings": dict(self.warnings),
        }


@dataclass(slots=True)
class _Flow:
    """A flow that risk reserved for or execution planned orders of, and that has not ended."""

    since_ms: int
    planned: dict[str, float] | None = None
    waiting: list[Counted] = field(default_factory=list)
    reserved: float | None = None
    released: float = 0.0
    ended: bool = False
    booked: bool = False


class FlowAccounts:
    """Follows flows from approval to their end; records come in order of each log.

    Of two logs, the later stage's may be read first: what happened to an order waits for its plan.
    A record that is lost explains what seems to be missing about one flow, so as many flows are let
    pass as records of that log were lost: the loss has a finding of its own.

    Args:
        patience_s: How long a plan may take to be read.
        open_limit_s: For how long a flow that has not ended is remembered.
    """

    def __init__(self, patience_s: float, open_limit_s: float) -> None:
        self._patience_ms = int(patience_s * 2000)
        self._limit_ms = int(open_limit_s * 1000)
        self._flows: OrderedDict[str, _Flow] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._newest: dict[tuple[str, str, bool], int] = {}
        self._lost: Counter[str] = Counter()
        self._excused: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._begun_ms: int | None = None
        self._whole = True

    def begin(self, *, whole: bool) -> None:
        """Say whether reading begins at the start of the logs, so that every flow is seen whole."""
        self._whole = whole

    @property
    def waiting_since_ms(self) -> int | None:
        """When the oldest flow was approved that has not ended."""
        return next((each.since_ms for each in self._flows.values()), None)

    @property
    def open(self) -> int:
        """Flows that were approved and have not ended."""
        return len(self._flows)

    def lost(self, topic: str) -> None:
        """Note a record that counts and that nobody can read."""
        self._lost[topic] += 1

    # -- what comes ------------------------------------------------------------------------------

    def take(self, one: Counted) -> Iterator[Finding]:
        """Take a record that counts."""
        if self._begun_ms is None:
            self._begun_ms = one.entry.timestamp_ms
        record = one.record
        if isinstance(record, OrderEvent):
            yield from self._event(one, record)
            return
        if isinstance(record, PortfolioUpdate):
            yield from self._update(one, record)
            return
        yield from self._in_order(one)
        if isinstance(record, RiskAssessment) and record.risk and record.risk.reserved > 0.0:
            flow = self._flow(record.envelope.flow_id, one)
            if flow.reserved is not None:
                yield one.finding(FindingKind.RESERVATION, "expected one reservation, was two")
            flow.reserved = record.risk.reserved
        elif isinstance(record, ExecutionPlan) and needs_end(record):
            orders = record.execution.orders if record.execution else ()
            flow = self._flow(record.envelope.flow_id, one)
            flow.planned = {each.client_order_id: each.quantity for each in orders}
            waiting, flow.waiting = flow.waiting, []
            for each in waiting:
                yield from self._happened(each, each.record, flow)

    def advance(self, read_until_ms: int) -> Iterator[Finding]:
        """Say that all appended before was taken; yield what waits for a plan for too long."""
        for name, flow in list(self._flows.items()):
            age_ms = read_until_ms - flow.since_ms
            if age_ms <= self._patience_ms:
                break
            if flow.waiting:
                for one in flow.waiting[:1]:
                    if not self._explained("cascade.execution", one):
                        yield one.finding(FindingKind.ORDER, "expected an approved flow")
                flow.waiting = []
                flow.planned = {}
            if age_ms > self._limit_ms:
                del self._flows[name]
                self._note_ended(name)

    def _flow(self, name: str, one: Counted) -> _Flow:
        return self._flows.setdefault(name, _Flow(one.entry.timestamp_ms))

    def _in_order(self, one: Counted) -> Iterator[Finding]:
        """Bars of a symbol and lane count in the order of their sequence numbers, each once."""
        for packet in unrolled(one.record):
            if getattr(packet, "bar", None) is None:
                continue
            envelope = packet.envelope
            lane = (one.entry.topic, envelope.symbol, is_urgent(envelope.priority))
            before = self._newest.get(lane, -1)
            if envelope.sequence <= before:
                text = f"expected {envelope.symbol} after {before}, was {envelope.sequence}"
                yield one.finding(FindingKind.REORDERED, text)
            self._newest[lane] = max(before, envelope.sequence)

    def _event(self, one: Counted, event: OrderEvent) -> Iterator[Finding]:
        for text in orders_are_announced_in_time([_accepted(one)], grace_us=_GRACE_US):
            yield one.finding(FindingKind.ORDER, text)
        if event.flow_id in self._ended:
            yield one.finding(FindingKind.END, "expected nothing after the flow's end")
            return
        flow = self._flow(event.flow_id, one)
        if flow.planned is None:
            flow.waiting.append(one)
        else:
            yield from self._happened(one, event, flow)

    def _happened(self, one: Counted, event: OrderEvent, flow: _Flow) -> Iterator[Finding]:
        if flow.ended:
            yield one.finding(FindingKind.END, "expected nothing after the flow's end")
        if event.kind is OrderEventKind.SUBMITTING:
            planned = (flow.planned or {}).get(event.client_order_id)
            if planned is None and not self._explained("cascade.execution", one):
                yield one.finding(FindingKind.ORDER, "expected a planned order, was none")
            elif planned is not None and event.quantity > planned * (1.0 + _TOLERANCE):
                text = f"expected {planned} units, was {event.quantity}"
                yield one.finding(FindingKind.ORDER, text)
        if event.flow_state is not FlowState.OPEN:
            flow.ended = True
            self._close(event.flow_id, flow)

    def _update(self, one: Counted, update: PortfolioUpdate) -> Iterator[Finding]:
        flow = self._flows.get(update.flow_id)
        final = update.flow_state is not FlowState.OPEN
        if flow is None or flow.reserved is None:
            known = update.flow_id in self._ended
            if update.released and not known and not self._explained("cascade.risk", one):
                yield one.finding(FindingKind.RESERVATION, "expected a reservation, was none")
        else:
            flow.released += update.released
            left, most = flow.reserved - flow.released, _TOLERANCE * flow.reserved
            short = final and left > most and not self._explained("cascade.risk", one)
            if left < -most or short:
                text = f"expected {flow.reserved} released, was {flow.released}"
                yield one.finding(FindingKind.RESERVATION, text)
        if final:
            flow = self._flow(update.flow_id, one)
            flow.booked = True
            self._close(update.flow_id, flow)

    def _close(self, name: str, flow: _Flow) -> None:
        """Forget a flow once its end stands in the fills and is booked by risk."""
        if flow.ended and flow.booked:
            del self._flows[name]
            self._note_ended(name)

    def _note_ended(self, name: str) -> None:
        self._ended[name] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def _explained(self, topic: str, one: Counted) -> bool:
        """Say whether a lost record, or one before the reading began, explains what is amiss."""
        flow = (topic, one.record.flow_id)
        if flow in self._excused:
            return True
        if self._lost[topic] > 0:
            self._lost[topic] -= 1
            self._excused[flow] = None
            if len(self._excused) > _REMEMBERED:
                self._excused.popitem(last=False)
            return True
        begun_ms = one.entry.timestamp_ms if self._begun_ms is None else self._begun_ms
        return not self._whole and one.entry.timestamp_ms - begun_ms < self._limit_ms


def approved(risk: Counted, plan: Counted) -> Iterator[Finding]:
    """Yield what is wrong with the orders of a plan, given the assessment that it was made from."""
    assessed, planned = _accepted(risk), _accepted(plan)
    # The plan names the assessment by log sequence; where it stands is Kafka's affair.
    assessed = assessed._replace(offset=plan.journal.input_offset)
    for text in (
        *orders_are_approved([assessed], [planned]),
        *orders_keep_to_their_bounds([assessed], [planned]),
    ):
        yield plan.finding(FindingKind.ORDER, text)


def fate(above: Counted, below: Counted) -> Iterator[Finding]:
    """Yield what is wrong with an outcome that was sealed above."""
    for text in fates_stay([_accepted(above)], [_accepted(below)]):
        yield below.finding(FindingKind.FATE, text)


def ended_packets(one: Counted) -> tuple[str, int] | None:
    """Return how a record of execution's log ends how many packets; None where it is none."""
    if not isinstance(one.record, ExecutionPlan):
        return None
    outcome = one.record.envelope.outcome
    return ("open" if outcome is None else outcome.kind.value), packets_of(one.record)


def _accepted(one: Counted) -> Accepted:
    return Accepted(one.entry.partition, one.entry.offset, one.record, one.journal)
