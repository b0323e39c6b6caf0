"""The specification's troubleshooting: four symptoms, four checks each, judged on the evidence.

Titles are those of the specification's section "Troubleshooting". Thresholds are the
specification's own where it has one: 30 ms for a system, 1 % of packets, the latency's target.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pipeline.doctor.evidence import Evidence
from pipeline.doctor.finding import Finding, State
from pipeline.run.workers import log_specs

__all__ = ["CHECKS", "SYMPTOMS", "Check", "judge"]

_SYSTEM_MS = 30.0
_ROUND_TRIP_MS = 20.0
_NETWORK_SHARE = 0.5
_WAITING = 500
_BUSY = 0.9
_FULL = 0.9
_DISK_FREE = 0.05
_FAILED = 0.01
_LATE = 3
_CONFLICT_MS = 1000.0
_QUIET = frozenset({"executed", "held"})

Judgement = tuple[State, str]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the specification's troubleshooting.

    Attributes:
        symptom: latency, loss, failure or coordination.
        title: As the specification has it.
        needs: Part of the evidence that it looks at, as `Evidence.gaps` names it.
        judge: Returns how it is and what was seen.
        next: Command to give next where it is not well.
    """

    symptom: str
    title: str
    needs: str
    judge: Callable[[Evidence], Judgement]
    next: str

    def find(self, evidence: Evidence) -> Finding:
        """Return the finding; UNKNOWN with the reason where the evidence has a gap."""
        for name in ("broker", self.needs):
            if name in evidence.gaps and not (name == "broker" and self.needs in _OFFLINE):
                hint = "cascade broker status" if name == "broker" else self.next
                return Finding(self.title, State.UNKNOWN, evidence.gaps[name], hint)
        state, detail = self.judge(evidence)
        return Finding(self.title, state, detail, "" if state is State.OK else self.next)


# What can be told without a broker.
_OFFLINE = frozenset({"machine", "logs"})


def judge(evidence: Evidence, symptom: str | None = None) -> list[tuple[Check, Finding]]:
    """Return each check with its finding; those of one symptom, or all."""
    return [(check, check.find(evidence)) for check in CHECKS if symptom in (None, check.symptom)]


def _unknown(what: str) -> Judgement:
    return State.UNKNOWN, f"Expected {what}, was none within the last minute"


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _processing(evidence: Evidence) -> Judgement:
    if not evidence.processing_ms:
        return _unknown("packets")
    told = _listed({name: f"{ms:.1f} ms" for name, ms in evidence.processing_ms.items()})
    slow = [name for name, ms in evidence.processing_ms.items() if ms > _SYSTEM_MS]
    if slow:
        cause = f"{', '.join(slow)} above {_SYSTEM_MS:g} ms a packet: its policy is too slow"
        return State.PROBLEM, f"{cause} (p95: {told})"
    return State.OK, f"p95 {told}"


def _network(evidence: Evidence) -> Judgement:
    if evidence.round_trip_ms is None:
        return _unknown("an answer of the broker")
    told = f"the broker answers in {evidence.round_trip_ms:.1f} ms"
    if evidence.network_ms is not None:
        told += f", p95 between systems {evidence.network_ms:.1f} ms"
        if evidence.network_ms > _NETWORK_SHARE * evidence.target_ms:
            return State.PROBLEM, f"packets spend most of their time on the way: {told}"
    if evidence.round_trip_ms > _ROUND_TRIP_MS:
        return State.WARNING, f"the network or the broker is slow: {told}"
    return State.OK, told


def _queues(evidence: Evidence) -> Judgement:
    if evidence.backlogs is None:
        return _unknown("committed positions")
    full = {name: count for name, count in evidence.backlogs.items() if count >= _WAITING}
    if full:
        return State.PROBLEM, f"more comes in than is worked off: {_listed(full)} records wait"
    return State.OK, f"records waiting: {_listed(evidence.backlogs) or 'none'}"


def _contention(evidence: Evidence) -> Judgement:
    if evidence.cpu is None or evidence.memory is None:
        return _unknown("figures of this machine")
    told = f"processors {evidence.cpu:.0%}, memory {evidence.memory:.0%}"
    if evidence.cpu > _BUSY:
        return State.PROBLEM, f"all processors are at work, so workers wait for one: {told}"
    if evidence.memory > _FULL:
        return State.PROBLEM, f"memory is short, so workers wait for the disk: {told}"
    return State.OK, told


def _overrun(evidence: Evidence) -> Judgement:
    if evidence.lost is None:
        return _unknown("committed positions")
    if evidence.lost:
        told = _listed(evidence.lost)
        return State.PROBLEM, f"retention took records before they were read: {told}"
    waiting = sum((evidence.backlogs or {}).values())
    if waiting >= _WAITING:
        return State.WARNING, f"{waiting} records wait; what waits past its deadline expires"
    return State.OK, f"{waiting} records wait, none was lost to retention"


def _errors(evidence: Evidence) -> Judgement:
    if evidence.failure_rate is None:
        return _unknown("packets")
    told = _listed(evidence.outcomes) or "no outcomes"
    if evidence.failure_rate > _FAILED:
        most = max(
            ((count, name) for name, count in evidence.outcomes.items() if name not in _QUIET),
            default=(0, "failed"),
        )
        cause = f"{evidence.failure_rate:.1%} of the packets failed, most were {most[1]}"
        return State.PROBLEM, f"{cause} ({told})"
    return State.OK, f"{evidence.failure_rate:.1%} failed ({told})"


def _breakers(evidence: Evidence) -> Judgement:
    if evidence.breakers is None:
        return _unknown("the state of the breakers")
    if evidence.breakers:
        return State.PROBLEM, f"a policy is not asked: {_listed(evidence.breakers)}"
    return State.OK, "no breaker is open, none opened within a minute"


def _validation(evidence: Evidence) -> Judgement:
    if evidence.dead_letters is None:
        return _unknown("the dead letters")
    if evidence.dead_letters:
        told = _listed(evidence.dead_letters)
        return State.PROBLEM, f"records were set aside within the last hour: {told}"
    return State.OK, "no record was set aside within the last hour"


def _health(evidence: Evidence) -> Judgement:
    if evidence.systems is None:
        return _unknown("heartbeats")
    dead = [name for name in log_specs() if not _instances(evidence, name)]
    if dead:
        return State.PROBLEM, f"no worker of {', '.join(dead)} is alive"
    state, why = evidence.trading or ("unknown", "")
    if state != "ACTIVE":
        return State.WARNING, f"all systems are alive; trading is {state}: {why or 'no reason'}"
    return State.OK, "all systems are alive, trading is ACTIVE"


def _instances(evidence: Evidence, name: str) -> int:
    seen = (evidence.systems or {}).get(name)
    return seen.instances if seen is not None else 0


def _error_logs(evidence: Evidence) -> Judgement:
    if evidence.log_errors is None:
        return _unknown("log files")
    if evidence.log_errors:
        told = "; ".join(f"{path}: {line}" for path, line in evidence.log_errors.items())
        return State.WARNING, f"a worker told of an error: {told}"
    return State.OK, "no error near the end of any log file here"


def _configuration(evidence: Evidence) -> Judgement:
    if evidence.topic_faults is None:
        return _unknown("the topics of the broker")
    if evidence.topic_faults:
        count, first = len(evidence.topic_faults), evidence.topic_faults[0]
        return State.PROBLEM, f"{count} topics are not as topics.yaml says: {first}"
    return State.OK, "settings are valid, topics are as topics.yaml says"


def _resources(evidence: Evidence) -> Judgement:
    if evidence.disk_free is None or evidence.memory is None:
        return _unknown("figures of this machine")
    told = f"disk {evidence.disk_free:.0%} free, memory {evidence.memory:.0%} used"
    if evidence.disk_free < _DISK_FREE:
        return State.PROBLEM, f"the disk is nearly full: {told}"
    if evidence.memory > _FULL:
        return State.PROBLEM, f"memory is nearly used up: {told}"
    return State.OK, told


def _connectivity(evidence: Evidence) -> Judgement:
    if evidence.systems is None:
        return _unknown("heartbeats")
    missing = [name for name in log_specs() if name not in evidence.systems]
    if missing:
        return State.PROBLEM, f"never heard of {', '.join(missing)}: not started, or cut off"
    gone = [name for name in log_specs() if not _instances(evidence, name)]
    if gone:
        return State.PROBLEM, f"{', '.join(gone)} went away"
    return State.OK, f"heard of {', '.join(evidence.systems)}"


def _heartbeats(evidence: Evidence) -> Judgement:
    if not evidence.systems:
        return _unknown("heartbeats")
    told = _listed({name: f"{seen.age_s:.1f} s" for name, seen in evidence.systems.items()})
    limit_s = _LATE * evidence.heartbeat_s
    late = [name for name, seen in evidence.systems.items() if seen.age_s > limit_s]
    if late:
        return State.PROBLEM, f"{', '.join(late)} not heard of for {limit_s:g} s ({told})"
    return State.OK, f"last heard of: {told}"


def _synchronisation(evidence: Evidence) -> Judgement:
    if not evidence.systems:
        return _unknown("systems to synchronise")
    behind = [name for name, seen in evidence.systems.items() if seen.behind and seen.instances]
    if behind:
        return State.WARNING, f"{', '.join(behind)} missed the newest synchronisation"
    rate = evidence.synchronisations or 0.0
    return State.OK, f"all systems are at the same epoch, {rate:.1f} synchronisations a minute"


def _conflicts(evidence: Evidence) -> Judgement:
    if evidence.requests is None:
        return _unknown("coordination requests")
    if evidence.answered is not None and evidence.answered < 1.0:
        share = f"{1 - evidence.answered:.0%} of {evidence.requests} requests"
        return State.PROBLEM, f"{share} were not answered in time, which counts as hold"
    if evidence.conflict_ms is not None and evidence.conflict_ms > _CONFLICT_MS:
        return State.WARNING, f"resolving a conflict takes {evidence.conflict_ms:.0f} ms (p95)"
    return State.OK, f"{evidence.requests} requests, all answered"


CHECKS: tuple[Check, ...] = (
    Check(
        "latency", "Check system processing times", "metrics", _processing,
        "cascade metrics --seconds 60 --report",
    ),
    Check(
        "latency", "Verify network connectivity", "broker", _network, "cascade broker status",
    ),
    Check(
        "latency", "Review queue depths", "metrics", _queues, "cascade run --workers tactical=2",
    ),
    Check(
        "latency", "Check for resource contention", "machine", _contention, "cascade run --paired",
    ),
    Check("loss", "Verify queue sizes", "lost", _overrun, "cascade topics diff"),
    Check("loss", "Check error rates", "metrics", _errors, "cascade metrics --seconds 60"),
    Check("loss", "Review circuit breaker status", "control", _breakers, "cascade control status"),
    Check("loss", "Examine validation failures", "dead_letters", _validation, "cascade dlq list"),
    Check("failure", "Check system health", "coordination", _health, "cascade status"),
    Check("failure", "Review error logs", "logs", _error_logs, "cascade emergency"),
    Check("failure", "Verify configuration", "topics", _configuration, "cascade topics plan"),
    Check("failure", "Check resource availability", "machine", _resources, "cascade doctor"),
    Check(
        "coordination", "Verify system connectivity", "coordination", _connectivity, "cascade run",
    ),
    Check("coordination", "Check heartbeat status", "coordination", _heartbeats, "cascade status"),
    Check(
        "coordination", "Review synchronization logs", "coordination", _synchronisation,
        "cascade status",
    ),
    Check(
        "coordination", "Examine conflict resolution", "metrics", _conflicts,
        "cascade metrics --seconds 60",
    ),
)  # fmt: skip
"""All checks, in the order of the specification."""


def _symptoms(checks: Iterable[Check]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(check.symptom for check in checks))


SYMPTOMS = _symptoms(CHECKS)
"""The symptoms, in the order of the specification."""
