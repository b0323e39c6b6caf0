"""What the messages on `cascade.coordination` tell of the coordination's performance; pure."""

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.coordination.messages import (
    Announcement,
    ReplyBody,
    RequestBody,
    SyncBody,
    payload_of,
)
from pipeline.coordination.vocabulary import ReplyStatus
from pipeline.errors import PoisonError
from pipeline.metrics.vitals import LOOP_LAG, MEMORY
from pipeline.packets.events import CoordinationMessage, MessageType
from pipeline.stages.tally import OPEN, RETRIES, TRIPS
from pipeline.watch.latency import LatencyFigures, figures_of

__all__ = ["CoordinationFigures", "CoordinationWatch", "WorkersOf"]

_US = 1_000_000
_MOST = 4096
_ANNOUNCING = frozenset(
    {
        MessageType.HANDSHAKE,
        MessageType.HEARTBEAT,
        MessageType.STATE_UPDATE,
        MessageType.PERFORMANCE_REPORT,
    }
)
# A load is believed for as long as its system counts as connected.
_LOAD_S = 4.0


@dataclass(frozen=True, slots=True)
class CoordinationFigures:
    """How the coordination did within a window; None where nothing of the kind happened.

    Attributes:
        requests: Requests that were answered in full, or ran out of time.
        success_rate: Share of them, 0 to 1, that every affected system answered in time.
        conflict_resolution_ms: Time from a request to the resolution of its conflict, milliseconds.
        response_ms: Time from a request to each of its answers, milliseconds.
        synchronisations_per_minute: Completed synchronisations a minute.
        message_latency_ms: Time from a message's composition to its place in Kafka, milliseconds;
            Kafka's clock has whole milliseconds.
        messages_per_second: Messages a second.
    """

    requests: int
    success_rate: float | None
    conflict_resolution_ms: LatencyFigures | None
    response_ms: LatencyFigures | None
    synchronisations_per_minute: float
    message_latency_ms: LatencyFigures | None
    messages_per_second: float


@dataclass(frozen=True, slots=True)
class WorkersOf:
    """What the live workers of one system told of themselves; None where none of them said so.

    Attributes:
        count: How many there are.
        cpu: Highest load, share of one core, 0 to 1.
        memory_bytes: Resident memory of all of them.
        loop_lag_s: Longest lag of an event loop, seconds.
        retries: Retries since they began.
        breaker_trips: Times that their breakers opened since they began.
        breaker_open: How many have a breaker that is not closed.
    """

    count: int
    cpu: float | None = None
    memory_bytes: float | None = None
    loop_lag_s: float | None = None
    retries: float | None = None
    breaker_trips: float | None = None
    breaker_open: float | None = None


@dataclass(slots=True)
class _Request:
    asked_us: int
    deadline_us: int
    missing: set[str]


@dataclass(slots=True)
class _Series:
    """Values with their moments, the last ones."""

    seen: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_MOST))

    def add(self, now_us: int, value: float) -> None:
        self.seen.append((now_us, value))

    def since(self, since_us: int) -> list[float]:
        return [value for at, value in self.seen if at >= since_us]

    def figures(self, since_us: int) -> LatencyFigures | None:
        return figures_of(np.array(self.since(since_us), dtype=np.float64))


class CoordinationWatch:
    """Follows requests, answers, conflicts, synchronisations and announced loads.

    Times are those of the messages, so that a reader who is late measures the same.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Request] = OrderedDict()
        self._ended, self._resolved, self._answered = _Series(), _Series(), _Series()
        self._synchronised, self._latency = _Series(), _Series()
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._loads: dict[str, tuple[int, float]] = {}
        self._members: dict[tuple[str, str], tuple[int, Announcement]] = {}
        self._silent: deque[tuple[int, str]] = deque(maxlen=_MOST)
        self.malformed = 0

    def take(self, message: CoordinationMessage, appended_ms: int) -> None:
        """Take a message.

        Args:
            message: The message.
            appended_ms: When Kafka had it, milliseconds since the Unix epoch.
        """
        now_us = message.timestamp
        self._latency.add(now_us, max(0.0, appended_ms - now_us / 1000))
        self._expire(now_us)
        try:
            self._take(message, now_us)
        except PoisonError:
            self.malformed += 1

    def figures(self, now_us: int, window_s: float) -> CoordinationFigures:
        """Return the figures of the window that ends now."""
        self._expire(now_us)
        since_us = now_us - int(window_s * _US)
        ended = self._ended.since(since_us)
        synchronisations = len(self._synchronised.since(since_us))
        return CoordinationFigures(
            len(ended),
            sum(ended) / len(ended) if ended else None,
            self._resolved.figures(since_us),
            self._answered.figures(since_us),
            synchronisations * 60.0 / window_s,
            self._latency.figures(since_us),
            len(self._latency.since(since_us)) / window_s,
        )

    def loads(self, now_us: int) -> dict[str, float]:
        """Return the load that each connected system announced, 0 to 1."""
        since_us = now_us - int(_LOAD_S * _US)
        return {name: load for name, (at, load) in sorted(self._loads.items()) if at >= since_us}

    def workers(self, now_us: int) -> dict[str, WorkersOf]:
        """Return what the live workers of each system told of themselves."""
        since_us = now_us - int(_LOAD_S * _US)
        found: dict[str, list[Announcement]] = {}
        for (system, _), (at_us, said) in sorted(self._members.items()):
            if at_us >= since_us:
                found.setdefault(system, []).append(said)
        return {system: _together(members) for system, members in found.items()}

    def unanswered(self, now_us: int, window_s: float) -> Counter[str]:
        """Return how many requests each system left unanswered within a window."""
        self._expire(now_us)
        since_us = now_us - int(window_s * _US)
        return Counter(name for at, name in self._silent if at >= since_us)

    def _take(self, message: CoordinationMessage, now_us: int) -> None:
        kind = message.message_type
        if kind is MessageType.COORDINATION_REQUEST:
            body = payload_of(message, RequestBody)
            limit_us = int(message.response_timeout * _US)
            self._open[message.message_id] = _Request(
                now_us, now_us + limit_us, set(body.affected_systems)
            )
            self._asked[message.message_id] = now_us
            while len(self._asked) > _MOST:
                self._asked.popitem(last=False)
        elif kind is MessageType.COORDINATION_RESPONSE:
            self._take_answer(message, payload_of(message, ReplyBody), now_us)
        elif kind is MessageType.CONFLICT_RESOLUTION:
            if (asked_us := self._asked.get(message.correlation_id)) is not None:
                self._resolved.add(now_us, max(0, now_us - asked_us) / 1000)
        elif kind is MessageType.SYNC_RESPONSE:
            if payload_of(message, SyncBody).complete:
                self._synchronised.add(now_us, 1.0)
        elif kind in _ANNOUNCING:
            if message.correlation_id:
                return  # an acknowledgement of a control command
            self._take_announcement(
                message.sender_system, payload_of(message, Announcement), now_us
            )

    def _take_announcement(self, system: str, said: Announcement, now_us: int) -> None:
        if said.load is not None:
            self._loads[system] = now_us, min(1.0, max(0.0, said.load))
        self._members.pop((system, said.instance), None)
        if not said.leaving:
            self._members[system, said.instance] = now_us, said
        while len(self._members) > _MOST:
            del self._members[next(iter(self._members))]

    def _take_answer(self, message: CoordinationMessage, body: ReplyBody, now_us: int) -> None:
        request = self._open.get(message.correlation_id)
        if request is None or body.status is not ReplyStatus.ANSWERED:
            return
        self._answered.add(now_us, max(0, now_us - request.asked_us) / 1000)
        request.missing.discard(message.sender_system)
        if not request.missing:
            del self._open[message.correlation_id]
            self._ended.add(now_us, 1.0)

    def _expire(self, now_us: int) -> None:
        late = [name for name, each in self._open.items() if each.deadline_us < now_us]
        for name in late:
            request = self._open.pop(name)
            self._ended.add(request.deadline_us, 0.0)
            self._silent.extend((request.deadline_us, system) for system in request.missing)


def _together(members: Sequence[Announcement]) -> WorkersOf:
    def of(name: str) -> list[float]:
        return [said.performance[name] for said in members if name in said.performance]

    def total(name: str) -> float | None:
        return sum(known) if (known := of(name)) else None

    loads = [said.load for said in members if said.load is not None]
    return WorkersOf(
        len(members),
        max(loads, default=None),
        total(MEMORY),
        max(of(LOOP_LAG), default=None),
        total(RETRIES),
        total(TRIPS),
        total(OPEN),
    )
