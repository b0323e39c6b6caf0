"""The figures of a demo, as they go into its JSON file; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from pipeline.demo.accounting import Accounts
from pipeline.demo.latency import Latencies
from pipeline.watch.latency import LatencyFigures
from pipeline.watch.observations import FlowEnd

__all__ = [
    "KillSeen",
    "Summary",
    "Target",
    "availability_percent",
    "error_rate",
    "judge",
    "packets_per_second",
    "summarise",
]

Verdict = Literal["pass", "fail", "no_data"]

_LIMIT_MEAN_MS = 80.0
_LIMIT_P99_MS = 100.0
_LIMIT_THROUGHPUT = 1000.0
_LIMIT_ERROR_RATE = 0.01
_LIMIT_RECOVERY_S = 30.0
_LIMIT_AVAILABILITY_PERCENT = 99.9
# The error rate allows one record in a hundred not to get through.
_THROUGHPUT_TOLERANCE = 0.01
_OUTAGE_MS = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """A target of the specification and how the run stands to it.

    Attributes:
        limit: The limit.
        value: What was measured; None where nothing was.
        verdict: pass, fail, or no_data: what was not measured never passes.
    """

    limit: float
    value: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class KillSeen:
    """A worker killed on purpose.

    Attributes:
        stage: Its stage.
        at_s: When, seconds after the first counted record.
        recovery_seconds: From the kill to the first sign of the new owner in the log; None
            without any.
        sign: What that was: a `record`, or, where no record was due any more, the `marker`.
    """

    stage: str
    at_s: float
    recovery_seconds: float | None
    sign: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of a run; `to_dict` names them as the JSON file does."""

    accounts: Accounts
    latencies: Latencies
    packets_per_second: float | None
    offered_per_second: float
    targets: dict[str, Target]
    decisions_sha256: str
    kills: tuple[KillSeen, ...]
    faults: tuple[str, ...]
    about: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether a flow is unaccounted for, an order duplicated, or a check violated."""
        return bool(self.faults)

    @property
    def recovery_seconds(self) -> float | None:
        """The longest recovery; None where nothing was killed, or did not recover."""
        found = [kill.recovery_seconds for kill in self.kills]
        known = [seconds for seconds in found if seconds is not None]
        return max(known) if known and len(known) == len(found) else None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        accounts = self.accounts
        return {
            "packets_in": accounts.packets_in,
            "outcomes": accounts.outcomes,
            "order_plans": accounts.order_plans,
            "plans_filled": accounts.plans_filled,
            "fills": accounts.fills,
            "duplicate_orders": len(accounts.duplicate_orders),
            "unaccounted": accounts.unaccounted,
            "latency_ms": _figures(self.latencies.end_to_end.figures()),
            "latency_all_flows_ms": _figures(self.latencies.every_flow.figures()),
            "latency_to_fill_ms": _figures(self.latencies.to_fill.figures()),
            "latency_by_stage_ms": {
                name: _figures(recorder.figures())
                for name, recorder in self.latencies.stages.items()
            },
            "packets_per_second": _rounded(self.packets_per_second),
            "offered_per_second": _rounded(self.offered_per_second),
            "error_rate": error_rate(accounts),
            "targets": {name: asdict(target) for name, target in self.targets.items()},
            "decisions_sha256": self.decisions_sha256,
            "recovery_seconds": _rounded(self.recovery_seconds),
            "kills": [asdict(kill) for kill in self.kills],
            "faults": list(self.faults),
            **self.about,
        }


def summarise(
    accounts: Accounts,
    latencies: Latencies,
    ends: Sequence[FlowEnd],
    *,
    due_us: tuple[int, int],
    offered_per_second: float,
    decisions: str,
    kills: Sequence[KillSeen] = (),
    faults: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Summary:
    """Return the figures of a run.

    Args:
        accounts: What became of what was sent.
        latencies: Latencies of counted flows.
        ends: Ends of counted flows.
        due_us: When the first and the last counted record were due, microseconds since the Unix
            epoch.
        offered_per_second: Records a second that were sent.
        decisions: Hash of the decisions.
        kills: Workers killed on purpose.
        faults: What else must not be, in words.
        about: More to go into the JSON file: broker, machine, options.
    """
    throughput = packets_per_second(ends)
    recoveries = [kill.recovery_seconds for kill in kills]
    whole = latencies.end_to_end.figures()
    offered_enough = offered_per_second >= _LIMIT_THROUGHPUT * (1 - _THROUGHPUT_TOLERANCE)
    targets = {
        "latency_mean_ms": judge(_LIMIT_MEAN_MS, whole.mean if whole else None),
        "latency_p99_ms": judge(_LIMIT_P99_MS, whole.p99 if whole else None),
        "packets_per_second": _judge_throughput(throughput if offered_enough else None),
        "error_rate": judge(_LIMIT_ERROR_RATE, error_rate(accounts)),
        "recovery_seconds": _judge_recovery(recoveries),
        "availability_percent": judge(
            _LIMIT_AVAILABILITY_PERCENT,
            availability_percent(ends, *due_us, offered_per_second),
            at_least=True,
        ),
    }
    return Summary(
        accounts, latencies, throughput, offered_per_second, targets, decisions,
        tuple(kills), (*accounts.faults(), *faults), dict(about or {}),
    )  # fmt: skip


def judge(limit: float, value: float | None, *, at_least: bool = False) -> Target:
    """Return the verdict on a figure; without a figure it is no_data."""
    if value is None:
        return Target(limit, None, "no_data")
    met = value >= limit if at_least else value <= limit
    return Target(limit, round(value, 6), "pass" if met else "fail")


def _judge_throughput(value: float | None) -> Target:
    if value is None:
        return Target(_LIMIT_THROUGHPUT, None, "no_data")
    met = value >= _LIMIT_THROUGHPUT * (1 - _THROUGHPUT_TOLERANCE)
    return Target(_LIMIT_THROUGHPUT, round(value, 6), "pass" if met else "fail")


def _judge_recovery(recoveries: Sequence[float | None]) -> Target:
    if not recoveries:
        return Target(_LIMIT_RECOVERY_S, None, "no_data")
    known = [seconds for seconds in recoveries if seconds is not None]
    if len(known) < len(recoveries):  # killed, and never seen again
        return Target(_LIMIT_RECOVERY_S, None, "fail")
    return judge(_LIMIT_RECOVERY_S, max(known))


def error_rate(accounts: Accounts) -> float | None:
    """Return (expired + shed + dead_lettered) / packets_in; None without packets."""
    if not accounts.packets_in:
        return None
    bad = sum(accounts.outcomes[name] for name in ("expired", "shed", "dead_lettered"))
    return round(bad / accounts.packets_in, 6)


def packets_per_second(ends: Sequence[FlowEnd]) -> float | None:
    """Return the rate at which flows ended executed, held or rejected.

    Their number over the time in which flows ended, n - 1 intervals stretched to n: a constant
    latency does not lower it, a growing backlog does. None where all ended at once.
    """
    finished = [end.finished for end in ends if end.trace]
    if not finished or max(finished) == min(finished):
        return None
    good = sum(1 for end in ends if end.kind.value in ("executed", "held", "rejected"))
    span_s = (max(finished) - min(finished)) / 1e6 * len(finished) / (len(finished) - 1)
    return good / span_s


def availability_percent(
    ends: Sequence[FlowEnd], first_due_us: int, last_due_us: int, offered_per_second: float
) -> float | None:
    """Return the share of the run in which the pipeline answered, percent.

    An outage is any time beyond one second (or three records, where they come more slowly) in
    which no flow ended although records were due; from the first that was due to the last end.

    Returns:
        None without flows.
    """
    moments = sorted(end.finished // 1000 for end in ends if end.trace)
    if not moments:
        return None
    moments = [first_due_us // 1000, *moments]
    if last_due_us // 1000 > moments[-1]:
        moments.append(last_due_us // 1000)
    patience_ms = max(_OUTAGE_MS, 3000 / offered_per_second if offered_per_second else 0.0)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    down = sum(gap - patience_ms for gap in gaps if gap > patience_ms)
    whole = moments[-1] - moments[0]
    return 100.0 * (1.0 - down / whole) if whole > 0 else 100.0


def _figures(figures: LatencyFigures | None) -> dict[str, float] | None:
    if figures is None:
        return None
    return {name: round(value, 3) for name, value in asdict(figures).items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
