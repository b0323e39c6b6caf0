"""Who is alive: what systems announced, and when they last did.

Time is that of the topic: a heartbeat is as old as the broker's timestamp says, measured against
the newest record of the topic, carried on by this process's monotonic clock. So a reader that
catches up after a pause does not take old heartbeats for new ones, and clocks of different machines
are never compared. A process that hears nothing takes everybody for gone.

A system is live while one of its instances is: heard of within 3.5 of its own announced intervals
(three heartbeats missed, and half an interval for the slowness of machines), and not gone by its
own farewell. With the default of one second that is within the 4 s after its last heartbeat.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from msgspec import Struct

from pipeline.coordination.messages import Announcement
from pipeline.coordination.vocabulary import CoordinationState, Role

__all__ = ["MISSED_INTERVALS", "Directory", "LogTime", "Member", "SystemState"]

MISSED_INTERVALS = 3.5
_BACKWARDS_S = 5.0
_FORGET_S = 600.0
_STALE_INTERVALS = 1.5


class SystemState(Struct, frozen=True):
    """What is known of a system.

    Attributes:
        system_id: Its id.
        system_name: Its name, for people.
        state: Its state; DISCONNECTED where no instance is live.
        status: active; stale, where a heartbeat is late; disconnected.
        last_heartbeat: When it was last heard of, the broker's time, microseconds.
        age_s: Seconds since then.
        performance_metrics: What it announced.
        capabilities: What its live instances can do, sorted.
        current_load: Highest load of its live instances, 0 to 1; None where it is not known.
        version: Its version.
        configuration: What it announced.
        epoch: Last complete synchronisation that it knows of; -1 for none.
        answers: Whether a live instance answers requests.
        instances: Live instances.
    """

    system_id: str
    system_name: str
    state: CoordinationState
    status: str
    last_heartbeat: int
    age_s: float
    performance_metrics: dict[str, float]
    capabilities: tuple[str, ...]
    current_load: float | None
    version: str
    configuration: dict[str, object]
    epoch: int
    answers: bool
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of a system.

    Attributes:
        system_id: The system.
        said: Its last announcement.
        heard_s: When, seconds of the topic's time.
    """

    system_id: str
    said: Announcement
    heard_s: float

    @property
    def limit_s(self) -> float:
        """Seconds of silence after which it counts as gone."""
        return MISSED_INTERVALS * self.said.interval_s


class LogTime:
    """The topic's time: that of its newest record, carried on by a monotonic clock."""

    def __init__(self) -> None:
        self._newest_s = 0.0
        self._seen_at_s = 0.0

    def observe(self, timestamp_s: float, monotonic_s: float) -> float:
        """Note a record; return by how much the topic's time was set back, mostly 0.

        Timestamps of a partition only go back where somebody set the broker's clock.
        """
        back_s = self._newest_s - timestamp_s
        if self._newest_s and 0.0 < back_s <= _BACKWARDS_S:
            return 0.0
        self._newest_s, self._seen_at_s = timestamp_s, monotonic_s
        return max(0.0, back_s)

    def now_s(self, monotonic_s: float) -> float:
        """Return what time it is now."""
        return self._newest_s + max(0.0, monotonic_s - self._seen_at_s)


class Directory:
    """The instances that were heard of; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._time = LogTime()
        self._members: dict[tuple[str, str], Member] = {}

    def observe(self, timestamp_s: float, monotonic_s: float) -> None:
        """Note that a record of any kind was read."""
        with self._lock:
            back_s = self._time.observe(timestamp_s, monotonic_s)
            if back_s:
                self._members = {
                    key: replace(each, heard_s=each.heard_s - back_s)
                    for key, each in self._members.items()
                }

    def note(self, system_id: str, said: Announcement, timestamp_s: float) -> None:
        """Note what an instance announced, in a record with this timestamp."""
        with self._lock:
            self._members[system_id, said.instance] = Member(system_id, said, timestamp_s)
            self._forget()

    def members(self, system_id: str, monotonic_s: float) -> list[Member]:
        """Return the live instances of a system, by instance."""
        with self._lock:
            now_s = self._time.now_s(monotonic_s)
            found = [each for each in self._members.values() if each.system_id == system_id]
        return sorted(_live(found, now_s), key=lambda member: member.said.instance)

    def live(self, monotonic_s: float) -> list[Member]:
        """Return all live instances, by system and instance."""
        with self._lock:
            now_s = self._time.now_s(monotonic_s)
            found = list(self._members.values())
        return sorted(_live(found, now_s), key=lambda each: (each.system_id, each.said.instance))

    def lost(self, monotonic_s: float) -> list[Member]:
        """Return the instances that fell silent without a farewell, and that none replaces.

        One of a system with another live instance is replaced. By system and instance.
        """
        with self._lock:
            now_s = self._time.now_s(monotonic_s)
            found = list(self._members.values())
        newest: dict[str, Member] = {}
        for each in sorted(found, key=lambda each: (each.heard_s, each.said.instance)):
            newest[each.system_id] = each
        live = {each.system_id for each in _live(found, now_s)}
        silent = [each for name, each in newest.items() if name not in live]
        return sorted(
            (each for each in silent if not each.said.leaving),
            key=lambda each: (each.system_id, each.said.instance),
        )

    def silent_s(self, member: Member, monotonic_s: float) -> float:
        """Return for how long nothing was heard of an instance, seconds."""
        with self._lock:
            return max(0.0, self._time.now_s(monotonic_s) - member.heard_s)

    def answering(self, system_id: str, monotonic_s: float) -> frozenset[str]:
        """Return the live instances whose answers count for a system.

        Registered ones where there are any, else workers.
        """
        members = [each for each in self.members(system_id, monotonic_s) if each.said.answers]
        registered = [each for each in members if each.said.role is Role.REGISTERED]
        return frozenset(each.said.instance for each in registered or members)

    def systems(self, monotonic_s: float) -> dict[str, SystemState]:
        """Return what is known of each system, disconnected ones included."""
        with self._lock:
            now_s = self._time.now_s(monotonic_s)
            found = list(self._members.values())
        names = sorted({each.system_id for each in found})
        return {
            name: _state(name, [each for each in found if each.system_id == name], now_s)
            for name in names
        }

    def _forget(self) -> None:
        """Drop instances that went long ago, where another one of the system came after them."""
        newest: dict[str, float] = {}
        for each in self._members.values():
            newest[each.system_id] = max(each.heard_s, newest.get(each.system_id, each.heard_s))
        self._members = {
            key: each
            for key, each in self._members.items()
            if each.heard_s >= newest[each.system_id] - _FORGET_S
        }


def _live(members: Iterable[Member], now_s: float) -> list[Member]:
    return [
        each for each in members if not each.said.leaving and now_s - each.heard_s <= each.limit_s
    ]


def _state(system_id: str, members: list[Member], now_s: float) -> SystemState:
    live = _live(members, now_s)
    last = max(members, key=lambda each: (each.heard_s, each.said.instance))
    speaker = min(
        live or [last],
        key=lambda each: (each.said.role is not Role.REGISTERED, each.said.instance),
    )
    said = speaker.said
    loads = [each.said.load for each in live if each.said.load is not None]
    capabilities = {name for each in live or [last] for name in each.said.capabilities}
    age_s = now_s - last.heard_s
    late = age_s > _STALE_INTERVALS * last.said.interval_s
    return SystemState(
        system_id=system_id,
        system_name=said.name or system_id,
        state=said.state if live else CoordinationState.DISCONNECTED,
        status=("stale" if late else "active") if live else "disconnected",
        last_heartbeat=int(last.heard_s * 1e6),
        age_s=max(0.0, age_s),
        performance_metrics=dict(said.performance),
        capabilities=tuple(sorted(capabilities)),
        current_load=max(loads, default=None),
        version=said.version,
        configuration=dict(said.configuration),
        epoch=min((each.said.epoch for each in live), default=-1),
        answers=any(each.said.answers for each in live),
        instances=tuple(sorted(each.said.instance for each in live)),
    )
