"""What must hold over the output logs, as pure functions: each returns its violations, one a line.

A log is given as its partitions, a partition as (offset, value) pairs in order of offset, as any
consumer reads them. The reading rule is spelled out here once more, on purpose: who checks the
writers shares no code with them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.packets.models import (
    ExecutionPlan,
    Journal,
    OrderEvent,
    PortfolioUpdate,
    RiskAssessment,
)
from pipeline.packets.vocabulary import FlowState, OrderEventKind, OutcomeKind, Verdict

__all__ = [
    "Accepted",
    "Log",
    "Partition",
    "accepted_of",
    "accepted_records",
    "count_outcomes",
    "foreign_records",
    "inputs_used_by_the_rule",
    "one_end_per_flow",
    "one_record_per_input",
    "orders_are_approved",
    "outcomes_add_up",
    "reservations_balance",
    "symbols_in_order",
]

Partition = Sequence[tuple[int, bytes | None]]
Log = Mapping[int, Partition]

_APPROVED = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
_TOLERANCE = 1e-9  # relative; sums of fractions of one amount


class Accepted(NamedTuple):
    """A record that counts.

    Attributes:
        partition: Partition of its log.
        offset: Its offset.
        record: The record.
        journal: Where it stands and what it was made from.
    """

    partition: int
    offset: int
    record: Any
    journal: Journal


def accepted_records(log: Log) -> list[Accepted]:
    """Return the records of a log that count by the reading rule, partition by partition.

    A record counts if its epoch is the offset of the newest marker before it and its log sequence
    is the last counted + 1.

    Raises:
        MalformedPacket, InvalidPacket: If a record that counts cannot be read.
    """
    return [each for partition in sorted(log) for each in accepted_of(partition, log[partition])]


def accepted_of(partition: int, entries: Partition) -> Iterator[Accepted]:
    """Yield the records of one partition that count; see `accepted_records`."""
    epoch = sequence = -1
    for offset, value in entries:
        if is_marker(value):
            epoch = offset
            continue
        head = journal_head(value)
        if head is not None and head.epoch == epoch and head.sequence == sequence + 1:
            sequence += 1
            record: Any = decode(value)
            yield Accepted(partition, offset, record, record.journal)


def foreign_records(log: Log) -> list[str]:
    """Return where records stand that no owner can have written: their epoch was never opened."""
    found = []
    for partition, entries in sorted(log.items()):
        markers: set[int] = set()
        for offset, value in entries:
            if is_marker(value):
                markers.add(offset)
                continue
            head = journal_head(value)
            was = "no log record" if head is None else f"epoch {head.epoch}"
            if head is None or head.epoch not in markers:
                found.append(f"[{partition}]@{offset}: expected an epoch opened before, was {was}")
    return found


def one_record_per_input(
    inputs: Mapping[tuple[str, int], Iterable[int]], records: Iterable[Accepted]
) -> list[str]:
    """Check that each input has exactly one record.

    Args:
        inputs: Offsets of the inputs that need a record, by (topic, partition).
        records: The records that count.
    """
    wanted = {(*where, offset) for where, offsets in inputs.items() for offset in offsets}
    counts = Counter(
        (each.journal.input_topic, each.journal.input_partition, each.journal.input_offset)
        for each in records
    )
    missing = sorted(wanted - counts.keys())
    return [
        *(f"{topic}[{partition}]@{offset}: no record" for topic, partition, offset in missing),
        *(
            f"{topic}[{partition}]@{offset}: {count} records"
            for (topic, partition, offset), count in sorted(counts.items())
            if count > 1
        ),
        *(
            f"{topic}[{partition}]@{offset}: a record of an input that is none"
            for topic, partition, offset in sorted(counts.keys() - wanted)
        ),
    ]


def symbols_in_order(records: Iterable[Accepted]) -> list[str]:
    """Check that, for each symbol, bars count in the order of their sequence numbers, each once."""
    newest: dict[str, int] = {}
    found = []
    for partition, offset, record, _ in records:
        if getattr(record, "bar", None) is None:
            continue
        envelope = record.envelope
        before = newest.get(envelope.symbol, -1)
        if envelope.sequence <= before:
            found.append(
                f"[{partition}]@{offset}: sequence {envelope.sequence} of {envelope.symbol}"
                f" after {before}"
            )
        newest[envelope.symbol] = max(before, envelope.sequence)
    return found


def inputs_used_by_the_rule(
    topic: str, upstream: Iterable[Accepted], downstream: Iterable[Accepted]
) -> list[str]:
    """Check that records were made only from upstream records that count.

    Args:
        topic: The upstream log, without namespace.
        upstream: Its records that count.
        downstream: The records made from it, and from other inputs.
    """
    counted = {(u.partition, u.offset): u.journal for u in upstream}
    found = []
    for partition, offset, _, journal in downstream:
        if journal.input_topic != topic:
            continue
        source = counted.get((journal.input_partition, journal.input_offset))
        place = f"[{partition}]@{offset}: made from {topic}[{journal.input_partition}]"
        if source is None:
            found.append(f"{place}@{journal.input_offset}, which does not count")
        elif (source.epoch, source.log_sequence) != (journal.input_epoch, journal.input_sequence):
            found.append(
                f"{place}@{journal.input_offset} as epoch {journal.input_epoch}, sequence"
                f" {journal.input_sequence}; it is {source.epoch}, {source.log_sequence}"
            )
    return found


def count_outcomes(records: Iterable[Accepted]) -> Counter[str]:
    """Return how many flows of execution's log ended how; "open" where one has no end."""
    return Counter(
        "open" if outcome is None else outcome.kind.value
        for outcome in (each.record.envelope.outcome for each in records)
    )


def outcomes_add_up(packets_in: int, records: Iterable[Accepted]) -> list[str]:
    """Check that as many flows ended in execution's log as went in, each in one way.

    Args:
        packets_in: Records of the ingest topic.
        records: Records of execution's log that count.
    """
    counts = count_outcomes(records)
    unended = counts.pop("open", 0)
    found = [f"{unended} flows of execution's log have no outcome"] if unended else []
    if unknown := counts.keys() - {kind.value for kind in OutcomeKind}:
        found.append(f"outcomes that are none: {', '.join(sorted(unknown))}")
    if counts.total() != packets_in:
        found.append(f"{packets_in} packets went in, {counts.total()} ended: {dict(counts)}")
    return found


def orders_are_approved(
    risk: Iterable[Accepted], execution: Iterable[Accepted], fills: Iterable[Accepted] = ()
) -> list[str]:
    """Check that each order has one approving risk decision before it, and an id of its own.

    The flows with orders and the approved flows that were executed are the same, one to one; what
    was announced to the venue was planned, in the plan that it names.
    """
    approvals: dict[tuple[int, int], RiskAssessment] = {}
    for partition, offset, record, _ in risk:
        if isinstance(record, RiskAssessment) and record.risk and record.risk.verdict in _APPROVED:
            approvals[partition, offset] = record
    found = _repeated("flow", "approved", (a.envelope.flow_id for a in approvals.values()))
    planned: dict[str, tuple[int, int]] = {}
    flows = []
    for partition, offset, plan, journal in execution:
        orders = plan.execution.orders if plan.execution else ()
        if not orders or not _executed(plan):
            continue
        flows.append(plan.envelope.flow_id)
        approval = approvals.get((journal.input_partition, journal.input_offset))
        if approval is None or approval.envelope.flow_id != plan.envelope.flow_id:
            found.append(f"flow {plan.envelope.flow_id}: orders without an approval")
        for order in orders:
            if order.client_order_id in planned:
                found.append(f"order {order.client_order_id}: planned twice")
            if not order.client_order_id.startswith(plan.envelope.flow_id):
                found.append(f"order {order.client_order_id}: not of {plan.envelope.flow_id}")
            planned[order.client_order_id] = (partition, offset)
    found += _repeated("flow", "planned", flows)
    for each in fills:
        found += _announced_as_planned(each, planned)
    return found


def _announced_as_planned(each: Accepted, planned: Mapping[str, tuple[int, int]]) -> list[str]:
    event, journal = each.record, each.journal
    if not isinstance(event, OrderEvent) or event.kind is not OrderEventKind.SUBMITTING:
        return []
    where = planned.get(event.client_order_id)
    if where is None:
        return [f"order {event.client_order_id}: announced, never planned"]
    if where != (journal.input_partition, journal.input_offset):
        return [f"order {event.client_order_id}: announced from another plan than its own"]
    return []


def one_end_per_flow(execution: Iterable[Accepted], fills: Iterable[Accepted]) -> list[str]:
    """Check that each flow that risk approved ends exactly once in the fills log, and last.

    Flows that risk neither approved nor reserved for have no business there.
    """
    expected = {
        plan.envelope.flow_id
        for _, _, plan, _ in execution
        if isinstance(plan, ExecutionPlan) and _needs_end(plan)
    }
    ended: set[str] = set()
    found = []
    for _, offset, event, _ in fills:
        if event.flow_id in ended:
            found.append(f"flow {event.flow_id}: a record at {offset}, after its end")
        if event.flow_id not in expected:
            found.append(f"flow {event.flow_id}: a record at {offset}, never approved")
        if event.flow_state is not FlowState.OPEN:
            ended.add(event.flow_id)
    found += [f"flow {flow}: no end" for flow in sorted(expected - ended)]
    return found


def reservations_balance(risk: Iterable[Accepted]) -> list[str]:
    """Check that for each flow reserved = open + released, and open = 0 once it has ended."""
    reserved: dict[str, float] = {}
    released: dict[str, float] = defaultdict(float)
    ended: set[str] = set()
    found = []
    for _, _, record, _ in risk:
        if isinstance(record, PortfolioUpdate):
            if record.released and record.flow_id not in reserved:
                found.append(f"flow {record.flow_id}: released, never reserved")
            released[record.flow_id] += record.released
            if record.flow_state is not FlowState.OPEN:
                ended.add(record.flow_id)
        elif record.risk and record.risk.reserved > 0.0:
            if record.envelope.flow_id in reserved:
                found.append(f"flow {record.envelope.flow_id}: reserved twice")
            reserved[record.envelope.flow_id] = record.risk.reserved
    for flow, amount in reserved.items():
        found += _unbalanced(flow, amount, amount - released[flow], ended=flow in ended)
    return found


def _unbalanced(flow: str, amount: float, still_open: float, *, ended: bool) -> list[str]:
    if still_open < -_TOLERANCE * amount:
        return [f"flow {flow}: {amount - still_open} released of {amount}"]
    if ended and still_open > _TOLERANCE * amount:
        return [f"flow {flow}: ended with {still_open} of {amount} not released"]
    return []


def _needs_end(plan: ExecutionPlan) -> bool:
    if plan.execution is not None and plan.execution.orders and _executed(plan):
        return True
    return plan.risk is not None and (plan.risk.reserved > 0.0 or plan.risk.verdict in _APPROVED)


def _executed(plan: ExecutionPlan) -> bool:
    outcome = plan.envelope.outcome
    return outcome is not None and outcome.kind is OutcomeKind.EXECUTED


def _repeated(what: str, done: str, names: Iterable[str]) -> list[str]:
    counts = Counter(names)
    return [f"{what} {name}: {done} {count} times" for name, count in counts.items() if count > 1]
