"""The state of the cascade, from what is known of its systems and of the flows that ended. Pure.

The health score is a number from 0 to 1:

    score = availability x soundness
    availability = mean over the four stages of 1 (active), 0.5 (degraded), 0 (stale, isolated)
    soundness = 1 - (dead_lettered + shed + expired) / ended, over the last 60 s

Flows that were held or rejected are sound: that is what stages are for. Where nothing ended in the
last 60 s there is nothing to say on soundness, and the score is the availability.

| state | when |
|---|---|
| INITIALIZING | not connected yet, or not all four stages were active since |
| READY | all stages active, nothing flows |
| FLOWING | all stages active, flows in flight or one ended within 2 s |
| DEGRADED | a stage is not active, or the score is below 0.95 |
| EMERGENCY | the score fell below `emergency_threshold` |
| SHUTDOWN | after `shutdown` |

EMERGENCY ends when the score has been at the threshold plus 0.05 (at most 1) or above for 5 s
without a break, or by `leave_emergency`; it is entered again only when the score falls anew, which
after `leave_emergency` means: after it has recovered that far.
"""

import threading
from collections import deque
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from pipeline.packets.models import ExecutionPlan
from pipeline.packets.vocabulary import OutcomeKind

__all__ = [
    "STAGES",
    "CascadeMetrics",
    "CascadeState",
    "FlowFigures",
    "StateMachine",
    "SystemHealth",
    "SystemStatus",
    "health_score",
]

STAGES = ("strategic", "tactical", "risk", "execution")
WINDOW_S = 60.0
FLOWING_S = 2.0
HOLD_S = 5.0
MARGIN = 0.05
SOUND = 0.95
_FAULTS = frozenset({OutcomeKind.DEAD_LETTERED, OutcomeKind.SHED, OutcomeKind.EXPIRED})
_MOST = 100_000


class CascadeState(StrEnum):
    """How the cascade is doing; see `pipeline.cascade.manager.health`."""

    INITIALIZING = "INITIALIZING"
    READY = "READY"
    FLOWING = "FLOWING"
    DEGRADED = "DEGRADED"
    EMERGENCY = "EMERGENCY"
    SHUTDOWN = "SHUTDOWN"


class SystemHealth(StrEnum):
    """How a system is doing.

    active: it sends heartbeats.
    stale: it was never heard of, or three heartbeats are missing.
    degraded: its worker is being restarted, or owns nothing yet, or its breaker is not closed.
    isolated: control keeps it from working, or its breaker was forced open.
    """

    ACTIVE = "active"
    STALE = "stale"
    DEGRADED = "degraded"
    ISOLATED = "isolated"


_AVAILABLE = {
    SystemHealth.ACTIVE: 1.0,
    SystemHealth.DEGRADED: 0.5,
    SystemHealth.STALE: 0.0,
    SystemHealth.ISOLATED: 0.0,
}


class SystemStatus(Struct, frozen=True):
    """One system of the cascade.

    Attributes:
        system_id: Its id.
        system_name: Its name, for people.
        status: active, stale, degraded or isolated.
        registered: Whether a registered policy decides, rather than the built-in.
        here: Whether it was registered by this manager.
        instances: How many workers of it are live.
        load: Its load, 0 to 1; None where it is not known.
        last_heartbeat: When it was last heard of, microseconds; 0 for never.
        reason: Why it is not active, for people.
    """

    system_id: str
    system_name: str
    status: SystemHealth
    registered: bool
    here: bool
    instances: int
    load: float | None
    last_heartbeat: int
    reason: str


class CascadeMetrics(Struct, frozen=True):
    """Figures of the cascade, since this manager attached to it; None where there is no data.

    Attributes:
        total_packets_processed: Flows that ended, as execution's log says.
        packets_per_second: Of the last 10 s.
        average_latency_ms: From acceptance to the end of execution's work, over the last 60 s.
        success_rate: Share of flows of the last 60 s that ended as the stages decided (executed,
            held, rejected), 0 to 1.
        error_rate: Share that were dead-lettered, shed or expired, 0 to 1.
        current_queue_depth: Records that wait before the stages, by the groups' offsets.
        system_load: Highest load of the systems, 0 to 1.
        cascade_health_score: See `pipeline.cascade.manager.health`.
        outcomes: Flows that ended, by outcome.
    """

    total_packets_processed: int
    packets_per_second: float
    average_latency_ms: float | None
    success_rate: float | None
    error_rate: float | None
    current_queue_depth: int | None
    system_load: float | None
    cascade_health_score: float
    outcomes: dict[str, int]


def health_score(systems: Mapping[str, SystemStatus], error_rate: float | None) -> float:
    """Return the health score; the module says how."""
    known = [systems[name].status if name in systems else SystemHealth.STALE for name in STAGES]
    availability = sum(_AVAILABLE[status] for status in known) / len(STAGES)
    return availability * (1.0 - (error_rate or 0.0))


class FlowFigures:
    """Counts flows that ended; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: dict[str, int] = {kind.value: 0 for kind in OutcomeKind}
        self._recent: deque[tuple[float, bool, float]] = deque(maxlen=_MOST)

    def note(self, plan: ExecutionPlan, now_s: float) -> None:
        """Note a record of execution's log."""
        envelope = plan.envelope
        kind = envelope.outcome.kind if envelope.outcome is not None else OutcomeKind.EXECUTED
        finished = max((each.finished for each in envelope.trace), default=envelope.accepted_at)
        latency_ms = (finished - envelope.accepted_at) / 1000
        with self._lock:
            self._outcomes[kind.value] += 1
            self._recent.append((now_s, kind in _FAULTS, latency_ms))

    def since_last_s(self, now_s: float) -> float | None:
        """Return how long ago the last one ended; None where none did."""
        with self._lock:
            return now_s - self._recent[-1][0] if self._recent else None

    def metrics(
        self,
        now_s: float,
        systems: Mapping[str, SystemStatus],
        queue_depth: int | None = None,
    ) -> CascadeMetrics:
        """Return the figures at a moment of the monotonic clock."""
        with self._lock:
            while self._recent and now_s - self._recent[0][0] > WINDOW_S:
                self._recent.popleft()
            recent = list(self._recent)
            outcomes = dict(self._outcomes)
        count = len(recent)
        errors = sum(1 for _, fault, _ in recent if fault) / count if count else None
        last_10_s = sum(1 for at_s, _, _ in recent if now_s - at_s <= 10.0)  # noqa: PLR2004
        loads = [each.load for each in systems.values() if each.load is not None]
        return CascadeMetrics(
            total_packets_processed=sum(outcomes.values()),
            packets_per_second=last_10_s / 10.0,
            average_latency_ms=sum(each[2] for each in recent) / count if count else None,
            success_rate=None if errors is None else 1.0 - errors,
            error_rate=errors,
            current_queue_depth=queue_depth,
            system_load=max(loads, default=None),
            cascade_health_score=health_score(systems, errors),
            outcomes=outcomes,
        )


class StateMachine:
    """Says which state the cascade is in, looked at again and again.

    Args:
        threshold: Score below which it is in EMERGENCY.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._complete = False
        self._emergency = False
        self._suppressed = False
        self._recovered_at_s: float | None = None
        self._shut_down = False
        self.state = CascadeState.INITIALIZING

    def look(
        self,
        score: float,
        systems: Mapping[str, SystemStatus],
        *,
        flowing: bool,
        now_s: float,
    ) -> CascadeState:
        """Return the state, given the health score and the systems at a moment."""
        active = all(
            name in systems and systems[name].status is SystemHealth.ACTIVE for name in STAGES
        )
        self._complete = self._complete or active
        if self._complete:
            self._judge(score, now_s)
        self.state = self._named(score, active=active, flowing=flowing)
        return self.state

    def leave_emergency(self) -> None:
        """End EMERGENCY by hand, until the score has recovered and fallen anew."""
        self._suppressed = self._suppressed or self._emergency
        self._emergency = False
        self._recovered_at_s = None

    def shut_down(self) -> None:
        """End in SHUTDOWN."""
        self._shut_down = True
        self.state = CascadeState.SHUTDOWN

    def _judge(self, score: float, now_s: float) -> None:
        recovered = score >= min(1.0, self._threshold + MARGIN)
        if recovered:
            self._suppressed = False
        if score < self._threshold and not self._suppressed:
            self._emergency = True
        if not recovered or not self._emergency:
            self._recovered_at_s = None
        elif self._recovered_at_s is None:
            self._recovered_at_s = now_s
        elif now_s - self._recovered_at_s >= HOLD_S:
            self._emergency = False
            self._recovered_at_s = None

    def _named(self, score: float, *, active: bool, flowing: bool) -> CascadeState:
        if self._shut_down:
            return CascadeState.SHUTDOWN
        if not self._complete:
            return CascadeState.INITIALIZING
        if self._emergency:
            return CascadeState.EMERGENCY
        if not active or score < SOUND:
            return CascadeState.DEGRADED
        return CascadeState.FLOWING if flowing else CascadeState.READY
