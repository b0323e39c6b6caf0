"""What `cascade.emergency` tells: each emergency and its course, whoever declared it."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.documents import decoded
from pipeline.errors import UsageError
from pipeline.events import Received
from pipeline.packets.events import EmergencyCourse, EmergencyEvent

__all__ = ["GROUP", "TOPIC", "Emergency", "Ledger", "figures_of"]

TOPIC = "cascade.emergency"

GROUP = "cascade.emergency"
"""Consumer group of all emergency workers of a namespace."""

_COURSES = (
    EmergencyCourse.CONTAINED,
    EmergencyCourse.RECOVERED,
    EmergencyCourse.ESCALATED,
)
_SETTLED = frozenset({EmergencyCourse.RECOVERED, EmergencyCourse.ESCALATED})


@dataclass(frozen=True, slots=True)
class Emergency:
    """One emergency.

    Attributes:
        event: Its newest record: what was declared, and the last step of its course.
        history: All its records, oldest first.
    """

    event: EmergencyEvent
    history: tuple[EmergencyEvent, ...]

    @property
    def active(self) -> bool:
        """Whether it is not over; once it is, a later record of somebody who is late counts not."""
        return not self.passed(EmergencyCourse.RESOLVED)

    @property
    def settled(self) -> bool:
        """Whether no plan has anything more to do: it is over, has recovered, or people have it."""
        return not self.active or self.event.course in _SETTLED

    @property
    def context(self) -> Mapping[str, Any]:
        """What was declared beside; empty where it is no JSON object."""
        return _object(self.event.context)

    @property
    def steps(self) -> tuple[Mapping[str, Any], ...]:
        """What was done about it so far: action, system, done, epoch, detail, key."""
        return tuple(_object(self.event.steps).get("steps", ()))

    def seconds_to(self, course: EmergencyCourse) -> float | None:
        """Return the seconds from its cause to the first record of a course; None without one.

        The cause is as old as whoever detected it says, else as the declaration.
        """
        first = next((each for each in self.history if each.course is course), None)
        if first is None:
            return None
        since_us = self.context.get("since_us")
        began_us = since_us if isinstance(since_us, int) else self.event.timestamp
        return max(0.0, (first.updated_at - began_us) / 1e6)

    @property
    def lasted_s(self) -> float:
        """From its declaration to its newest record, seconds."""
        return max(0.0, (self.event.updated_at - self.event.timestamp) / 1e6)

    def passed(self, course: EmergencyCourse) -> bool:
        """Say whether it has ever been at `course`."""
        return any(each.course is course for each in self.history)


class Ledger:
    """Folds the records of `cascade.emergency`; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._emergencies: dict[str, Emergency] = {}
        self._read: dict[int, int] = {}

    def take(self, received: Received) -> None:
        """Fold one record; others than emergencies only move the position."""
        with self._changed:
            event = received.packet
            if isinstance(event, EmergencyEvent):
                before = self._emergencies.get(event.event_id)
                history = (*before.history, event) if before else (event,)
                self._emergencies[event.event_id] = Emergency(event, history)
            self._read[received.partition] = received.offset + 1
            self._changed.notify_all()

    def wait_through(self, ends: Mapping[int, int], timeout_s: float) -> bool:
        """Wait until all before `ends`, by partition, is read; return whether it is."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while any(self._read.get(partition, 0) < end for partition, end in ends.items()):
                left_s = until_s - time.monotonic()
                if left_s <= 0.0:
                    return False
                self._changed.wait(left_s)
        return True

    def find(self, event_id: str) -> Emergency:
        """Return an emergency.

        Raises:
            UsageError: If there is none of that id.
        """
        with self._changed:
            found = self._emergencies.get(event_id)
        if found is None:
            raise UsageError(f"Expected the id of an emergency, was {event_id!r}; see its status")
        return found

    @property
    def all(self) -> tuple[Emergency, ...]:
        """All emergencies, in the order they were declared."""
        with self._changed:
            return tuple(self._emergencies.values())

    @property
    def active(self) -> tuple[Emergency, ...]:
        """Those that are not over."""
        return tuple(each for each in self.all if each.active)


def figures_of(emergencies: tuple[Emergency, ...]) -> Mapping[str, float]:
    """Return how many emergencies there were and how they went, for the metrics."""
    figures: Counter[str] = Counter()
    for course in _COURSES:
        figures[str(course).lower()] = sum(each.passed(course) for each in emergencies)
    times = [
        seconds
        for each in emergencies
        if (seconds := each.seconds_to(EmergencyCourse.RECOVERED)) is not None
    ]
    found = {
        "declared": float(len(emergencies)),
        "active": float(sum(each.active for each in emergencies)),
        **{name: float(count) for name, count in figures.items()},
    }
    if times:
        found |= {"last_recovery_s": times[-1], "slowest_recovery_s": max(times)}
    return found


def _object(text: str) -> Mapping[str, Any]:
    try:
        return decoded(text, dict[str, Any])
    except msgspec.DecodeError:
        return {}
