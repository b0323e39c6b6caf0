"""Rules about the newest records of all logs: continuity, approvals, builds, latency, errors."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pipeline.packets.events import ValidationLevel, ValidationType
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.packets.models import ExecutionPlan, OrderEvent, RiskAssessment
from pipeline.packets.runs import packets_of, unrolled
from pipeline.packets.vocabulary import OrderEventKind, OutcomeKind
from pipeline.rules import oracle
from pipeline.rules.context import ValidationContext
from pipeline.rules.model import Need, NoData, ValidationResult, ValidationRule, rule
from pipeline.rules.oracle import Accepted
from pipeline.rules.windows import STAGE_LOGS, Logs, LogWindow

__all__ = ["FLOW_RULES"]

_T = ValidationType
_RISK, _EXECUTION, _FILLS = "cascade.risk", "cascade.execution", "cascade.fills"
# Which topics each log is made from.
_INPUTS: Mapping[str, tuple[str, ...]] = {
    "cascade.strategic": INGEST_TOPICS,
    "cascade.tactical": ("cascade.strategic",),
    _RISK: ("cascade.tactical", _FILLS),
    _EXECUTION: (_RISK,),
}
_LEAST_PACKETS = 20
_LOST = (
    "Halt trading before anything else is decided: `cascade control halt`.",
    "Keep the logs; the offsets in the message say which records to look at.",
)


def _logs(context: ValidationContext) -> Logs:
    if context.logs is None:
        raise NoData("Expected the logs, was none")
    return context.logs


@rule(
    "data.readable",
    _T.DATA_INTEGRITY,
    needs=Need.LOGS,
    level=ValidationLevel.CRITICAL,
    remediation=(
        "Find out who writes to the log beside its stage, and take away that right.",
        *_LOST,
    ),
)
def readable(context: ValidationContext) -> Iterator[str]:
    """What counts in a log can be read, and nobody but its owners wrote there."""
    windows = [_logs(context).of(topic) for topic in STAGE_LOGS]
    if not any(window.records or window.unreadable or window.foreign for window in windows):
        raise NoData("Expected records in the logs, was none")
    for window in windows:
        yield from (*window.unreadable, *window.foreign)


@rule(
    "data.reservations",
    _T.DATA_INTEGRITY,
    needs=Need.LOGS,
    deep=True,
    level=ValidationLevel.CRITICAL,
    remediation=_LOST,
)
def reservations(context: ValidationContext) -> list[str]:
    """What risk reserved for a flow is open or released, never both or neither."""
    window = _logs(context).of(_RISK)
    if not window.records:
        raise NoData("Expected records of risk, was none")
    if window.whole:
        return oracle.reservations_balance(window.records)
    # Releases of reservations older than the window say nothing.
    reserved = {
        each.record.envelope.flow_id
        for each in window.records
        if isinstance(each.record, RiskAssessment)
    }
    known = [each for each in window.records if _flow_of(each) in reserved]
    return oracle.reservations_balance(known)


def _flow_of(each: Accepted) -> str:
    envelope = getattr(each.record, "envelope", None)
    return str(each.record.flow_id if envelope is None else envelope.flow_id)


@rule(
    "flow.records",
    _T.FLOW_CONTINUITY,
    needs=Need.LOGS,
    deep=True,
    level=ValidationLevel.CRITICAL,
    remediation=_LOST,
)
def one_record_per_input(context: ValidationContext) -> Iterator[str]:
    """Between two stages nothing is lost, made twice, or made from what does not count."""
    logs = _logs(context)
    looked = False
    for log, inputs in _INPUTS.items():
        below = logs.of(log)
        for topic in inputs:
            for text in _between(context, logs.of(topic), below):
                looked = True
                if text:
                    yield f"{log}: {text}"
    if not looked:
        raise NoData("Expected records made from records of the windows, was none")


def _between(context: ValidationContext, above: LogWindow, below: LogWindow) -> Iterator[str]:
    """Yield what is wrong between two topics; an empty text for each pair that was looked at."""
    spans = _spans(context, above, below)
    if not spans:
        return
    yield ""
    made = [
        each
        for each in below.records
        if each.journal.input_topic == above.topic
        and each.journal.input_offset in spans.get(each.journal.input_partition, range(0))
    ]
    inputs: dict[tuple[str, int], Collection[int]] = {
        (above.topic, partition): [at for at in _needing(above, partition) if at in span]
        for partition, span in spans.items()
    }
    yield from oracle.one_record_per_input(inputs, made)
    if above.is_log:
        yield from oracle.inputs_used_by_the_rule(above.topic, above.records, made)


def _spans(context: ValidationContext, above: LogWindow, below: LogWindow) -> Mapping[int, range]:
    """Return the offsets of each partition above that must have their records in both windows.

    A round is not worked off in order of offset, so the first round of a window that does not
    reach to the start of its log says only where it ended; and what is newer than the position to
    resume at may still be on its way.
    """
    by_source: dict[int, list[Accepted]] = {}
    for each in below.records:
        if each.journal.input_topic == above.topic:
            by_source.setdefault(each.journal.input_partition, []).append(each)
    spans = {}
    for partition, made in by_source.items():
        window = above.partitions.get(partition)
        if window is None:
            continue
        first = 0
        if not below.whole:
            opening = made[: context.settings.round_max_records]
            first = max(each.journal.input_offset for each in opening) + 1
        end = max(each.journal.resume_offset for each in made)
        if (span := range(max(first, window.start), end)) or below.whole:
            spans[partition] = span
    return spans


def _needing(window: LogWindow, partition: int) -> Iterable[int]:
    """Return the offsets of a partition that need a record in the log below."""
    if not window.is_log:
        return (offset for offset, _ in window.partitions[partition].entries)
    return (
        each.offset
        for each in window.records
        if each.partition == partition and _needs_record(each.record)
    )


def _needs_record(record: Any) -> bool:
    if isinstance(record, OrderEvent):
        return record.kind is not OrderEventKind.SUBMITTING
    return getattr(record, "envelope", None) is not None


@rule(
    "flow.outcomes",
    _T.FLOW_CONTINUITY,
    needs=Need.LOGS,
    remediation=_LOST,
)
def one_outcome(context: ValidationContext) -> Iterator[str]:
    """At the end of execution's log each flow stands once, and a fate once sealed stays."""
    logs = _logs(context)
    plans = logs.of(_EXECUTION).records
    if not plans:
        raise NoData("Expected flows that have ended, was none")
    counts = Counter(packet.envelope.flow_id for each in plans for packet in unrolled(each.record))
    for flow, count in counts.items():
        if count > 1:
            yield f"Expected one end of flow {flow}, was {count}"
    sealed = {
        _flow_of(each): each.record.envelope.outcome
        for each in logs.of(_RISK).records
        if isinstance(each.record, RiskAssessment) and each.record.envelope.outcome
    }
    for each in plans:
        before, after = sealed.get(_flow_of(each)), each.record.envelope.outcome
        if before is not None and after != before:
            kind = "none" if after is None else after.kind
            yield f"Expected flow {_flow_of(each)} to stay {before.kind}, was {kind}"


class Latency(ValidationRule):
    """95 % of flows that were not shed, expired or held back end within the target.

    Thresholds as in the specification's vocabulary: warning from 70 % of the deadline, error from
    85 %, critical from the deadline itself on. Latency runs from acceptance to the moment at which
    execution finished.
    """

    rule_id = "performance.latency"
    rule_name = "p95 of the latency from acceptance to order plan is within the target"
    validation_type = _T.PERFORMANCE_COMPLIANCE
    needs = Need.LOGS
    remediation = (
        "Look at `cascade metrics` for the stage that spends the time.",
        "Add workers up to the partition count, or a faster machine.",
    )
    steps = (
        (1.0, ValidationLevel.CRITICAL),
        (0.85, ValidationLevel.ERROR),
        (0.70, ValidationLevel.WARNING),
    )

    def validate(self, context: ValidationContext) -> list[ValidationResult] | None:
        """Return a finding where p95 is above a threshold."""
        latencies_ms = sorted(
            (plan.envelope.trace[-1].finished - plan.envelope.accepted_at) / 1000
            for plan in _decided(context)
        )
        if len(latencies_ms) < _LEAST_PACKETS:
            raise NoData(f"Expected {_LEAST_PACKETS} decided flows, was {len(latencies_ms)}")
        p95_ms = latencies_ms[math.ceil(0.95 * len(latencies_ms)) - 1]
        target_ms = float(context.settings.cascade_timeout_ms)
        for share, level in self.steps:
            if p95_ms >= share * target_ms:
                text = f"Expected p95 below {share * target_ms:g} ms, was {p95_ms:.1f}"
                details = {"p95_ms": p95_ms, "flows": len(latencies_ms)}
                return [self.finding(text, level=level, details=details)]
        return []


def _decided(context: ValidationContext) -> Iterator[ExecutionPlan]:
    """Yield plans of flows that execution itself decided on, live ones."""
    if context.settings.clock == "event":
        return
    for each in _logs(context).of(_EXECUTION).records:
        plan = each.record
        if isinstance(plan, ExecutionPlan) and plan.execution is not None and plan.envelope.trace:
            yield plan


class Errors(ValidationRule):
    """Few packets are dead-lettered: warning from 1 %, error from 5 %, critical from 10 %."""

    rule_id = "performance.errors"
    rule_name = "Under 1 % of packets are dead-lettered"
    validation_type = _T.PERFORMANCE_COMPLIANCE
    needs = Need.LOGS
    remediation = ("Look at the dead letters: `cascade dlq list`.",)
    steps = (
        (0.10, ValidationLevel.CRITICAL),
        (0.05, ValidationLevel.ERROR),
        (0.01, ValidationLevel.WARNING),
    )

    def validate(self, context: ValidationContext) -> list[ValidationResult] | None:
        """Return a finding where the share of dead letters is above a threshold."""
        plans = [each.record for each in _logs(context).of(_EXECUTION).records]
        if len(plans) < _LEAST_PACKETS:
            raise NoData(f"Expected {_LEAST_PACKETS} flows, was {len(plans)}")
        dead = sum(
            1
            for plan in plans
            if plan.envelope.outcome and plan.envelope.outcome.kind is OutcomeKind.DEAD_LETTERED
        )
        flows = sum(map(packets_of, plans))
        ratio = dead / flows
        for limit, level in self.steps:
            if ratio >= limit:
                text = f"Expected an error rate below {limit}, was {ratio:.4f}"
                details = {"dead_lettered": dead, "flows": flows}
                return [self.finding(text, level=level, details=details)]
        return []


@rule(
    "security.approval",
    _T.SECURITY_VALIDATION,
    needs=Need.LOGS,
    level=ValidationLevel.CRITICAL,
    remediation=(
        "Halt trading at once: `cascade control halt`.",
        "Cancel the orders named at the venue, and find out who wrote them.",
    ),
)
def approval(context: ValidationContext) -> list[str]:
    """Each order has one approval in risk's own log before it, and an id of its own."""
    logs = _logs(context)
    risk, execution, fills = (logs.of(topic) for topic in (_RISK, _EXECUTION, _FILLS))
    plans = _reaching(execution, risk)
    # Of a plan whose approval is older than the window nothing can be said, nor of its events.
    judged = {(each.partition, each.offset) for each in plans}
    unjudged = {(each.partition, each.offset) for each in execution.records} - judged
    events = [
        each
        for each in _reaching(fills, execution)
        if (each.journal.input_partition, each.journal.input_offset) not in unjudged
    ]
    if not any(each.record.execution and each.record.execution.orders for each in plans):
        raise NoData("Expected order plans, was none")
    return [
        *oracle.orders_are_approved(risk.records, plans, events),
        *oracle.orders_keep_to_their_bounds(risk.records, plans),
    ]


def _reaching(below: LogWindow, above: LogWindow) -> list[Accepted]:
    """Return the records of a log whose inputs the window above still holds."""
    starts = above.first_offsets
    return [
        each
        for each in below.records
        if each.journal.input_topic == above.topic
        and each.journal.input_offset >= starts.get(each.journal.input_partition, 0)
    ]


@rule(
    "configuration.build",
    _T.CONFIGURATION_VALIDATION,
    needs=Need.LOGS,
    remediation=("Restart the workers of the stage with one version and one configuration.",),
)
def one_build(context: ValidationContext) -> Iterator[str]:
    """All owners of a stage's log run the same code under the same settings."""
    looked = False
    for topic in STAGE_LOGS:
        newest = {each.partition: each.journal for each in _logs(context).of(topic).records}
        looked = looked or bool(newest)
        owners: dict[str, set[str]] = {}
        for journal in newest.values():
            owners.setdefault(journal.build, set()).add(journal.owner)
        if len(owners) > 1:
            named = "; ".join(f"{build} of {sorted(who)}" for build, who in sorted(owners.items()))
            yield f"Expected one build in {topic}, was {named}"
    if not looked:
        raise NoData("Expected records in the logs, was none")


FLOW_RULES: tuple[ValidationRule, ...] = (
    readable,
    reservations,
    one_record_per_input,
    one_outcome,
    Latency(),
    Errors(),
    approval,
    one_build,
)
"""Rules about the newest records of all logs."""
