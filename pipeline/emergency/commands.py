"""Commands to the cascade with their result: what the workers have acknowledged.

A command is given in this order: it is written to the control log, then the workers that must obey
it are counted, then their acknowledgements on `cascade.coordination` are gathered, from the moment
on when it was given. Nothing comes before the write, so that a HALT waits for nothing.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from pipeline.clock import Clock, WallClock
from pipeline.control.acknowledgement import TOPIC, Acknowledgement
from pipeline.control.log import KafkaControlLog
from pipeline.control.scope import STAGES, Scope, ScopeKind
from pipeline.control.writer import ControlWriter, new_command
from pipeline.emergency.membership import LiveWorkers
from pipeline.errors import BrokerUnavailable, PipelineError
from pipeline.events import EventBus, Received, Subscription
from pipeline.packets.events import EVERYTHING, ControlCommand, ControlKind, CoordinationMessage
from pipeline.settings import Settings

__all__ = ["CommandResult", "Commander", "Workers", "concerned", "find_command"]

_logger = logging.getLogger(__name__)

_MARGIN = timedelta(seconds=10)
_RECOUNT_S = 1.0
_POLL_S = 0.1
_KEPT = 256


class Workers(Protocol):
    """Says who must answer."""

    def count(self, stages: tuple[str, ...], timeout_s: float) -> Mapping[str, int]:
        """Return the live workers by stage."""
        ...


class Issues(Protocol):
    """Writes commands."""

    def issue(self, command: ControlCommand) -> int:
        """Write a command and return its epoch; see `ControlWriter.issue`."""
        ...


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What came of a command.

    Attributes:
        command: The command.
        epoch: Its epoch; it stands in the log.
        acknowledgements: What workers have answered, in the order of their answers.
        missing: How many workers of each stage have not answered in time.
        waited_s: How long answers were waited for, seconds.
    """

    command: ControlCommand
    epoch: int
    acknowledgements: tuple[Acknowledgement, ...]
    missing: Mapping[str, int]
    waited_s: float

    @property
    def in_force(self) -> bool:
        """Whether every live worker that it concerns obeys it; true where there is none."""
        return not self.missing

    @property
    def latency_ms(self) -> float | None:
        """From when it was given to when the last worker obeyed; None where none answered."""
        if not self.acknowledgements:
            return None
        last = max(each.time for each in self.acknowledgements)
        return max(0.0, (last - self.command.time) / 1000)

    def __str__(self) -> str:
        count = len(self.acknowledgements)
        if self.missing:
            lacking = ", ".join(f"{count} of {stage}" for stage, count in self.missing.items())
            return f"acknowledged by {count}, NOT by {lacking} within {self.waited_s:.1f} s"
        if not count:
            return "no worker runs; those that start will obey it"
        return f"acknowledged by all {count} workers, the last after {self.latency_ms:.0f} ms"


def concerned(command: ControlCommand) -> tuple[str, ...]:
    """Return the stages whose workers must obey a command."""
    if command.kind is ControlKind.HALT or command.scope == EVERYTHING:
        return STAGES
    scope = Scope.parse(command.scope)
    alone = scope.kind in (ScopeKind.STAGE, ScopeKind.POLICY)
    return (scope.name,) if alone else STAGES


def find_command(
    settings: Settings, command_id: str, timeout_s: float = 10.0
) -> tuple[ControlCommand, int] | None:
    """Return the command of an id that stands in the control log, with its epoch; None if none.

    Raises:
        BrokerUnavailable: If the log cannot be read to its end in time.
    """
    until_s = time.monotonic() + timeout_s
    log = KafkaControlLog(settings, "control-find")
    try:
        end = log.end(timeout_s)
        while log.next_epoch < end:
            entry = log.poll(_POLL_S)
            if entry is None and time.monotonic() > until_s:
                raise BrokerUnavailable(
                    f"Expected the control log up to {end} in {timeout_s:g} s, was {log.next_epoch}"
                )
            if entry is not None and entry.command and entry.command.command_id == command_id:
                return entry.command, entry.epoch
    finally:
        log.close()
    return None


class Commander:
    """Gives commands and says what came of them; thread-safe.

    Args:
        bus: Connection to Kafka.
        writer: Writes commands; by default to the control log of the bus's broker.
        workers: Says who must answer; by default the consumer groups of the bus's broker.
        clock: Clock.
        timeout_s: How long to wait for the answers to a command, seconds.
    """

    def __init__(
        self,
        bus: EventBus,
        *,
        writer: Issues | None = None,
        workers: Workers | None = None,
        clock: Clock | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self._bus = bus
        self._writer = writer
        self._workers = workers
        self._clock = clock or WallClock()
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._came = threading.Condition()
        self._answers: dict[str, dict[str, Acknowledgement]] = {}
        self._subscription: Subscription | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening to answers; the bus stays open."""
        with self._lock:
            subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def connect(self) -> None:
        """Open the connections ahead of the first command, which then waits for none.

        Raises:
            BrokerUnavailable: If the broker does not answer.
        """
        issuer = self._issuer()
        if isinstance(issuer, ControlWriter):
            issuer.connect()
        self._counter()
        self._listen()

    def give(
        self,
        kind: ControlKind,
        scope: str = EVERYTHING,
        *,
        author: str,
        reason: str,
        lifts_epoch: int = -1,
        timeout_s: float | None = None,
        after: Callable[[int], None] | None = None,
        command_id: str = "",
        resumed: bool = False,
    ) -> CommandResult:
        """Give a command and wait for the workers' answers.

        Args:
            kind: What it does.
            scope: What it is for; see `pipeline.control.scope`.
            author: Who gives it.
            reason: Why.
            lifts_epoch: What a RESUME or RELEASE lifts.
            timeout_s: How long to wait for answers, seconds; 0 waits for none.
            after: Called with the epoch as soon as the command stands in the log.
            command_id: Its id; a fresh one where empty. A command that stands in the log under this
                id is not given again, only its answers are gathered. For a HALT the log is looked
                at only if `resumed`, so that it waits for nothing.
            resumed: Whether another process may have given it under this id.

        Raises:
            UsageError: If it would not count, or did not.
            BrokerUnavailable: If it could not be written in time; it may still arrive.
        """
        command = new_command(
            kind,
            author=author,
            reason=reason,
            clock=self._clock,
            scope=scope,
            lifts_epoch=lifts_epoch,
            new_id=lambda: command_id or secrets.token_hex(16),
        )
        looks = command_id and (resumed or kind is not ControlKind.HALT)
        given = self._standing(command_id) if looks else None
        if given is None:
            epoch = self._issuer().issue(command)
        else:
            command, epoch = given
        if after is not None:
            after(epoch)
        return self._gather(command, epoch, self._timeout_s if timeout_s is None else timeout_s)

    def _standing(self, command_id: str) -> tuple[ControlCommand, int] | None:
        found = find_command(self._bus.connect(), command_id)
        if found is not None:
            self._listen(found[0].time)
        return found

    def _issuer(self) -> Issues:
        with self._lock:
            if self._writer is None:
                self._writer = ControlWriter(self._bus.connect())
            return self._writer

    def _counter(self) -> Workers:
        with self._lock:
            if self._workers is None:
                self._workers = LiveWorkers(self._bus.connect())
            return self._workers

    def _listen(self, since_us: int | None = None) -> None:
        """Take answers from a moment on, from about now where None; nothing if it does."""
        with self._lock:
            if self._subscription is None:
                began_us = self._clock.now_us() if since_us is None else since_us
                since = datetime.fromtimestamp(began_us / 1e6, UTC) - _MARGIN
                self._subscription = self._bus.subscribe(TOPIC, self._take, start=since)

    def _take(self, received: Received) -> None:
        if not isinstance(received.packet, CoordinationMessage):
            return
        found = Acknowledgement.read(received.packet)
        if found is None:
            return
        with self._came:
            self._answers.setdefault(found.command_id, {})[found.worker] = found
            while len(self._answers) > _KEPT:
                del self._answers[next(iter(self._answers))]
            self._came.notify_all()

    def _gather(self, command: ControlCommand, epoch: int, timeout_s: float) -> CommandResult:
        """Gather answers; the command stands, so nothing that fails here undoes it."""
        began_s = time.monotonic()
        stages = concerned(command)
        answers: list[Acknowledgement] = []
        # Who was not asked has not answered.
        missing: Mapping[str, int] = dict.fromkeys(stages, 1) if timeout_s > 0.0 else {}
        try:
            while (left_s := began_s + timeout_s - time.monotonic()) > 0.0:
                # Asked again, since a worker that died is counted until its session ends.
                expected = self._counter().count(stages, left_s)
                if expected:
                    self._listen()
                answers, missing = self._wait(command, expected, min(left_s, _RECOUNT_S))
                if not missing:
                    break
        except PipelineError as error:
            _logger.warning("answers to epoch %d were not gathered: %s", epoch, error)
        waited_s = time.monotonic() - began_s
        return CommandResult(command, epoch, tuple(answers), missing, waited_s)

    def _wait(
        self, command: ControlCommand, expected: Mapping[str, int], timeout_s: float
    ) -> tuple[list[Acknowledgement], Mapping[str, int]]:
        """Wait until all have answered, at most `timeout_s`; return answers and who lacks."""
        until_s = time.monotonic() + timeout_s
        with self._came:
            while True:
                answers = list(self._answers.get(command.command_id, {}).values())
                missing = _missing(expected, answers)
                left_s = until_s - time.monotonic()
                if not missing or left_s <= 0.0:
                    concerning = [each for each in answers if each.stage in concerned(command)]
                    return concerning, missing
                self._came.wait(left_s)


def _missing(expected: Mapping[str, int], answers: list[Acknowledgement]) -> Mapping[str, int]:
    """Return how many workers of each stage have not obeyed; a refusal is no obedience."""
    obeying = [each.stage for each in answers if not each.refusal]
    lacking = {stage: count - obeying.count(stage) for stage, count in expected.items()}
    return {stage: count for stage, count in lacking.items() if count > 0}
