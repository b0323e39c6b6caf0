"""State and figures of an engine."""

import threading
from collections import deque
from dataclasses import dataclass, field

from pipeline.cascade.coordination.results import CoordinationMetrics, Transition
from pipeline.clock import Clock
from pipeline.coordination.membership import SystemState
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.vocabulary import CoordinationState

__all__ = ["Figures", "StateBook", "sync_score"]

_MOST_TRANSITIONS = 1000


class StateBook:
    """The engine's state, worked out from what is the case, and its changes; thread-safe.

    The strongest that holds: DISCONNECTED (closed, or no broker), INITIALIZING (not joined yet),
    EMERGENCY, CONFLICT (a contradiction without a decision), COORDINATING (requests in flight),
    SYNCHRONIZED.

    Args:
        clock: Time of the transitions.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._state = CoordinationState.INITIALIZING
        self._in_flight = 0
        self._conflicts: set[str] = set()
        self._transitions: deque[Transition] = deque(maxlen=_MOST_TRANSITIONS)

    @property
    def transitions(self) -> list[Transition]:
        """The last 1000 changes of state."""
        with self._lock:
            return list(self._transitions)

    def note(self, service: CoordinationService | None, *, connected: bool) -> CoordinationState:
        """Work the state out anew and return it."""
        with self._lock:
            state = self._derived(service, connected=connected)
            if state is not self._state:
                change = Transition(self._state, state, self._clock.now_us())
                self._transitions.append(change)
                self._state = state
            return state

    def flying(self, change: int) -> None:
        """Note that a request went out (1) or came to its end (-1)."""
        with self._lock:
            self._in_flight += change

    def conflict(self, decision_type: str) -> None:
        """Note a contradiction in a kind of decision."""
        with self._lock:
            self._conflicts.add(decision_type)

    def settled(self, decision_type: str | None = None) -> None:
        """Note that a kind of decision stands again; all of them where None."""
        with self._lock:
            if decision_type is None:
                self._conflicts.clear()
            else:
                self._conflicts.discard(decision_type)

    def _derived(
        self, service: CoordinationService | None, *, connected: bool
    ) -> CoordinationState:
        if service is None or not service.started:
            closed = service is not None and service.closed
            return CoordinationState.DISCONNECTED if closed else CoordinationState.INITIALIZING
        if service.closed or not connected:
            return CoordinationState.DISCONNECTED
        if service.epochs.in_emergency:
            return CoordinationState.EMERGENCY
        if self._conflicts:
            return CoordinationState.CONFLICT
        in_flight = self._in_flight > 0
        return CoordinationState.COORDINATING if in_flight else CoordinationState.SYNCHRONIZED


@dataclass(slots=True)
class Figures:
    """Counts of an engine."""

    successful: int = 0
    failed: int = 0
    resolved: int = 0
    timed: int = 0
    total_ms: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, *, success: bool, resolved: bool, sent: bool, time_ms: float) -> None:
        """Count a coordination that came to its end."""
        with self.lock:
            self.successful += success
            self.failed += not success
            self.resolved += resolved
            self.timed += sent
            self.total_ms += time_ms if sent else 0.0

    def metrics(self, service: CoordinationService | None) -> CoordinationMetrics:
        """Return the figures."""
        with self.lock:
            total = self.successful + self.failed
            return CoordinationMetrics(
                total_messages_sent=service.sent if service else 0,
                total_messages_received=service.received if service else 0,
                successful_coordinations=self.successful,
                failed_coordinations=self.failed,
                conflict_resolutions=self.resolved,
                average_response_time_ms=self.total_ms / self.timed if self.timed else None,
                system_sync_score=sync_score(service.systems()) if service else None,
                coordination_efficiency=self.successful / total if total else None,
            )


def sync_score(systems: dict[str, SystemState]) -> float | None:
    """Return the share of systems that are live and at the newest epoch; None without systems."""
    if not systems:
        return None
    newest = max(each.epoch for each in systems.values())
    good = [each for each in systems.values() if each.instances and each.epoch == newest]
    return len(good) / len(systems)
