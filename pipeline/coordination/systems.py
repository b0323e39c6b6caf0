"""The systems of this process: what they announce, and who answers for them."""

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.coordination.answers import (
    Abstention,
    CoordinationRequest,
    as_answer,
)
from pipeline.coordination.messages import Announcement, ReplyBody
from pipeline.coordination.vocabulary import CoordinationState, ReplyStatus, Role

__all__ = ["Handler", "LocalSystem", "Vitals", "process_load"]

Handler = Callable[[CoordinationRequest], Any]
"""Answers a request: a function or coroutine function; see `pipeline.coordination.answers`."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a system is doing.

    Attributes:
        load: 0 to 1; None where it is not known.
        performance: Figures by name.
    """

    load: float | None = None
    performance: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class LocalSystem:
    """A system of this process.

    Attributes:
        system_id: Its id.
        name: Its name, for people.
        role: Who it is.
        capabilities: What it can do.
        configuration: How it is set up.
        version: Its version.
        vitals: Asked before each heartbeat.
        handler: Answers requests; None: it does not answer.
        quick: Whether the handler returns at once, so that no thread is needed for it.
        steadfast: Whether it answers during emergencies too, when all others refuse.
        reported: Figures that were reported by hand; they go before those of `vitals`.
        working: How many requests it is answering now.
    """

    system_id: str
    name: str = ""
    role: Role = Role.REGISTERED
    capabilities: tuple[str, ...] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    vitals: Callable[[], Vitals] = Vitals
    handler: Handler | None = None
    quick: bool = False
    steadfast: bool = False
    reported: dict[str, float] = field(default_factory=dict)
    working: int = 0

    def announcement(
        self, instance: str, state: CoordinationState, interval_s: float, **more: Any
    ) -> Announcement:
        """Return what it announces now."""
        vitals = self.vitals()
        if self.working and state is CoordinationState.SYNCHRONIZED:
            state = CoordinationState.COORDINATING
        return Announcement(
            instance=instance,
            name=self.name,
            role=self.role,
            state=state,
            interval_s=interval_s,
            capabilities=self.capabilities,
            configuration=dict(self.configuration),
            version=self.version,
            load=vitals.load,
            performance={**vitals.performance, **self.reported},
            answers=self.handler is not None,
            **more,
        )

    def reply(self, request: CoordinationRequest, instance: str) -> ReplyBody | None:
        """Return what it says to a request; None where it does not answer."""
        if self.handler is None:
            return None
        try:
            found = self.handler(request)
            if inspect.iscoroutine(found):
                found = asyncio.run(found)
            answer = as_answer(found)
        except Exception as error:  # noqa: BLE001  # a handler may fail in any way
            why = f"its handler failed: {error!r}"[:1000]
            return ReplyBody(instance=instance, status=ReplyStatus.FAILED, reason=why)
        if answer is None:
            return None
        if isinstance(answer, Abstention):
            return ReplyBody(
                instance=instance, status=ReplyStatus.ABSTAINED, reason=answer.reason[:1000]
            )
        return ReplyBody(instance=instance, status=ReplyStatus.ANSWERED, answer=answer)


def process_load(
    cpu_s: Callable[[], float] = time.process_time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Callable[[], float | None]:
    """Return a function for the load of this process since it was last called, 0 to 1.

    The load is its share of one core, which is all that Python's threads can use together; None
    where less than a tenth of a second has passed since the start.
    """
    before = [monotonic(), cpu_s()]
    last: list[float | None] = [None]

    def measure() -> float | None:
        now_s, used_s = monotonic(), cpu_s()
        if now_s - before[0] >= 0.1:  # noqa: PLR2004  # the docstring says it
            last[0] = min(1.0, max(0.0, (used_s - before[1]) / (now_s - before[0])))
            before[:] = now_s, used_s
        return last[0]

    return measure
