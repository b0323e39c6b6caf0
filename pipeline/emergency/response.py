"""The response to emergencies: declared, contained, told, acknowledged, resolved.

Each step is a record on `cascade.emergency`, so every process sees the same course:

    DECLARED -> CONTAINED | UNCONTAINED -> RECOVERING -> RECOVERED | ESCALATED -> RESOLVED
                                 `-> ESCALATED (nobody answered in time)   ROLLED_BACK (undone)

CONTAINED is what was seen, not what was hoped: the commands of `pipeline.emergency.table` stand in
the control log, every live worker has acknowledged them, and the checks of their success were met
on the live cascade.
"""

import json
import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import structs

from pipeline.clock import Clock, WallClock
from pipeline.control.latch import Latch
from pipeline.emergency.actions import Ask, Give, register_actions, step_of
from pipeline.emergency.contacts import ContactBook
from pipeline.emergency.course import (
    Declaration,
    LiveView,
    carried_out,
    commands_of,
    summary_of,
    with_steps,
)
from pipeline.emergency.ledger import TOPIC, Emergency, Ledger
from pipeline.emergency.plans import (
    Criterion,
    PlanResult,
    PlanRunner,
    RecoveryPlan,
    Registry,
    StepResult,
)
from pipeline.emergency.table import LEVELS, Containment, containment, recovery_actions
from pipeline.emergency.undoing import standing, undo
from pipeline.errors import BrokerUnavailable, PipelineError, UsageError
from pipeline.events import EventBus
from pipeline.packets.events import (
    ControlKind,
    EmergencyCourse,
    EmergencyEvent,
    EmergencyLevel,
)
from pipeline.watch.channels import Message

__all__ = ["Declaration", "EmergencyResponse", "LiveView"]

_logger = logging.getLogger(__name__)

_SYNC_S = 10.0
_TOLD_FROM = EmergencyLevel.CAUTION
_ANSWERS = (
    EmergencyCourse.ACKNOWLEDGED,
    EmergencyCourse.CONTAINED,
    EmergencyCourse.RECOVERING,
)
_CRITERIA = {
    ControlKind.ISOLATE: "isolated",
    ControlKind.HALT: "halted",
    ControlKind.REDUCE: "reducing",
    ControlKind.BREAKER_OPEN: "breaker_open",
}


class EmergencyResponse:
    """Declares emergencies and follows those of others; thread-safe.

    Args:
        bus: Connection to Kafka.
        give: Gives commands, see `Commander.give`.
        live: Looks at the live cascade.
        contacts: Whom to tell.
        ask: Asks supervisors of worker processes, see `Supervisors.ask`.
        response_timeout_s: An emergency that by then is neither contained nor acknowledged is
            escalated, seconds.
        attempts: Most attempts at a plan.
        author: Who gives the automatic commands.
        clock: Clock.
        new_id: Returns an id that no other emergency has.
    """

    def __init__(
        self,
        bus: EventBus,
        give: Give,
        live: LiveView,
        contacts: ContactBook,
        ask: Ask,
        *,
        response_timeout_s: float = 30.0,
        attempts: int = 3,
        author: str = "emergency",
        clock: Clock | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._bus = bus
        self._give = give
        self._live = live
        self._contacts = contacts
        self._timeout_s = response_timeout_s
        self._author = author
        self._clock = clock or WallClock()
        self._new_id = new_id
        self._lock = threading.RLock()
        self._telling = threading.Lock()
        self._subscription: Any = None
        self._timers: dict[str, threading.Timer] = {}
        self._running: dict[str, RecoveryPlan] = {}
        self.ledger = Ledger()
        self.registry = Registry()
        register_actions(self.registry, give, contacts, author, ask, live, self._settle)
        self.registry.checks.update(live.checks)
        self.runner = PlanRunner(self.registry, attempts=attempts)

    # -- what is known ---------------------------------------------------------------------------

    def sync(self) -> Ledger:
        """Read `cascade.emergency` to its end, and return the ledger.

        Raises:
            BrokerUnavailable: If that does not work in time.
        """
        with self._lock:
            if self._subscription is None:
                self._subscription = self._bus.subscribe(TOPIC, self.ledger.take, start="earliest")
        if not self.ledger.wait_through(self._live.ends(TOPIC), _SYNC_S):
            raise BrokerUnavailable(f"Expected to read {TOPIC} to its end in {_SYNC_S} s, was not")
        return self.ledger

    @property
    def running(self) -> tuple[RecoveryPlan, ...]:
        """The plans that run in this process now."""
        with self._lock:
            return tuple(self._running.values())

    def close(self) -> None:
        """Stop following; the bus stays open."""
        with self._lock:
            subscription, self._subscription = self._subscription, None
            timers, self._timers = list(self._timers.values()), {}
        for timer in timers:
            timer.cancel()
        if subscription is not None:
            subscription.close()

    # -- the course of an emergency --------------------------------------------------------------

    def declare(self, declaration: Declaration) -> str:
        """Declare an emergency, and do at once what the table says; return its id.

        Returns when it is contained, or could not be: at most the response time-out. Contacts are
        told meanwhile.

        Where the table says halt, the workers of this machine are halted by its latch first, with
        or without a broker.

        Raises:
            BrokerUnavailable: If the broker cannot be reached.
        """
        commands = containment(
            declaration.emergency_type, declaration.emergency_level, declaration.affected_systems
        )
        event = self._event(declaration, commands)
        if any(each.kind is ControlKind.HALT for each in commands):
            # Without an author no worker tells the log of it: that is done below, under one id, and
            # a second HALT would be none of this emergency's to lift.
            Latch.of(self._bus.settings).halt(f"emergency {event.event_id}: {event.description}")
        self._tell(event, event.description)
        self._publish(event)
        self._contained(event, commands)
        return event.event_id

    def contain(self, event_id: str) -> None:
        """Do what the table says of an emergency, unless that was done; for who takes it over.

        Raises:
            UsageError: If there is none of that id, or it is over.
        """
        event = self._active(event_id).event
        if event.course is EmergencyCourse.DECLARED:
            self._contained(event, commands_of(event), resumed=True)

    def worsen(self, event_id: str, level: EmergencyLevel, description: str) -> None:
        """Raise the level of an emergency, and do what the table says of the new one besides.

        Nothing where it has that level or a higher one.

        Raises:
            UsageError: If there is none of that id, or it is over.
        """
        event = self._active(event_id).event
        if LEVELS.index(level) <= LEVELS.index(event.emergency_level):
            return
        before, event = event, structs.replace(event, emergency_level=level)
        note = f"{before.emergency_level} before: {description}"
        event = self._step(event, EmergencyCourse.DECLARED, self._author, note)
        self._tell(event, note, f"level-{level}")
        self._contained(
            event, [each for each in commands_of(event) if each not in commands_of(before)]
        )

    def acknowledge(self, event_id: str, author: str, note: str = "") -> None:
        """Note that a person has taken an emergency on.

        Raises:
            UsageError: If there is none of that id, or it is over.
        """
        found = self._active(event_id)
        self._cancel(event_id)
        self._step(found.event, EmergencyCourse.ACKNOWLEDGED, author, note)

    def resolve(self, event_id: str, author: str, note: str = "") -> tuple[StepResult, ...]:
        """End an emergency: take back what was done about it, then say that it is over.

        What another emergency that is still active needs stays.

        Raises:
            UsageError: If there is none of that id, it is over, or `author` may not take back what
                was done; then it stays active.
        """
        found = self._active(event_id)
        undone = self._undo(found, author)
        self._cancel(event_id)
        self._step(found.event, EmergencyCourse.RESOLVED, author, note, undone)
        return undone

    def roll_back(self, event_id: str, author: str, note: str = "") -> tuple[StepResult, ...]:
        """Take back what was done about an emergency, which stays active.

        Raises:
            UsageError: As `resolve`.
        """
        found = self._active(event_id)
        undone = self._undo(found, author)
        self._step(found.event, EmergencyCourse.ROLLED_BACK, author, note, undone)
        return undone

    def escalate(self, event_id: str, note: str) -> None:
        """Say that people have to act, and tell the contacts again; nothing where it is over."""
        found = self.sync().find(event_id)
        if found.active:
            self._tell(found.event, f"ESCALATED: {note}\n{found.event.description}", "escalated")
            self._step(found.event, EmergencyCourse.ESCALATED, self._author, note)

    def recover(self, plan: RecoveryPlan, proceed: Callable[[], None] = lambda: None) -> PlanResult:
        """Carry a recovery plan out; escalate where it does not succeed.

        Each step is told on `cascade.emergency` once it is carried out. Steps of a plan of the same
        id that stand there are not carried out again: whoever takes an emergency over goes on.

        Args:
            plan: The plan.
            proceed: Called before each step, and before its end is told; what it raises ends it.

        Raises:
            UsageError: If the plan's emergency is over or not known.
        """
        event_id = plan.emergency_event.event_id
        found = self._active(event_id)
        before = carried_out(found, plan) if found.passed(EmergencyCourse.RECOVERING) else None
        self._cancel(event_id)
        event = self._step(
            found.event, EmergencyCourse.RECOVERING, self._author, f"plan {plan.plan_id}"
        )

        def note(done: StepResult) -> None:
            nonlocal event
            what = f"{done.step.action} {done.step.system}: {done.detail}"
            event = self._step(event, EmergencyCourse.RECOVERING, self._author, what, [done])

        def go_on() -> None:
            self._active(event_id)
            proceed()

        result = self._run(plan, before, note, go_on)
        go_on()
        summary = summary_of(result)
        if result.succeeded:
            self._step(event, EmergencyCourse.RECOVERED, self._author, summary, result.steps)
            return result
        if result.rolled_back:
            self._step(event, EmergencyCourse.ROLLED_BACK, self._author, summary, result.steps)
        self.escalate(event_id, f"plan {plan.plan_id} did not succeed: {summary}")
        return result

    def conclude(self, event_id: str) -> tuple[str, ...]:
        """End an emergency that has recovered, if nothing that was done about it still stands.

        Otherwise the contacts are told what stands, and that people have to resolve it: who stops
        orders may not let them go again by itself.

        Returns:
            What stands, as `halt *`.
        """
        found = self._active(event_id)
        left = standing(found, self.ledger.all, self._live.control())
        if not left:
            self._step(found.event, EmergencyCourse.RESOLVED, self._author, "nothing stands of it")
            return left
        body = (
            f"RECOVERED; {', '.join(left)} stands until somebody who may takes it back:"
            f" cascade emergency resolve {event_id} --author NAME"
        )
        self._tell(found.event, body, "recovered")
        return left

    # -- doing it --------------------------------------------------------------------------------

    def _settle(self, epoch: int) -> None:
        """Make the halt of this machine the one of the log, before a worker tells of it there."""
        Latch.of(self._bus.settings).settle(epoch)

    def _contained(
        self, event: EmergencyEvent, commands: Sequence[Containment], *, resumed: bool = False
    ) -> None:
        """Carry commands out, if there are any; watch for an answer where that does not contain."""
        if commands:
            event = self._contain(event, commands, resumed=resumed)
        if event.course is not EmergencyCourse.CONTAINED:
            self._watch(event)

    def _contain(
        self, event: EmergencyEvent, commands: Sequence[Containment], *, resumed: bool
    ) -> EmergencyEvent:
        """Carry the commands out as a plan whose success is looked for on the live cascade."""
        timeout_s = self._timeout_s / 6  # so that several attempts fit
        plan = self.registry.plan(
            event,
            [step_of(each, timeout_s) for each in commands],
            [Criterion(_CRITERIA[each.kind], each.scope) for each in commands],
            timeout_s=self._timeout_s,
            independent=True,
            plan_id=f"{event.event_id}/{event.emergency_level}",
        )
        result = self._run(plan, {} if resumed else None)
        contained = result.succeeded
        course = EmergencyCourse.CONTAINED if contained else EmergencyCourse.UNCONTAINED
        return self._step(event, course, self._author, summary_of(result), result.steps)

    def _run(
        self,
        plan: RecoveryPlan,
        before: Mapping[str, StepResult] | None = None,
        note: Callable[[StepResult], None] = lambda _: None,
        proceed: Callable[[], None] = lambda: None,
    ) -> PlanResult:
        with self._lock:
            self._running[plan.plan_id] = plan
        try:
            return self.runner.run(plan, before=before, note=note, proceed=proceed)
        finally:
            with self._lock:
                del self._running[plan.plan_id]

    def _undo(self, emergency: Emergency, author: str) -> tuple[StepResult, ...]:
        return undo(emergency, self.ledger.all, self._live.control(), self._give, author)

    def _active(self, event_id: str) -> Emergency:
        found = self.sync().find(event_id)
        if not found.active:
            raise UsageError(f"Expected an emergency that is active, was over: {event_id}")
        return found

    # -- saying it -------------------------------------------------------------------------------

    def _event(self, declaration: Declaration, commands: tuple[Containment, ...]) -> EmergencyEvent:
        now_us = self._clock.now_us()
        return EmergencyEvent(
            event_id=self._new_id(),
            emergency_type=declaration.emergency_type,
            emergency_level=declaration.emergency_level,
            timestamp=now_us,
            source_system=declaration.source_system,
            affected_systems=declaration.affected_systems,
            description=declaration.description,
            context=json.dumps(dict(declaration.context), default=str),
            recovery_actions=tuple(
                dict.fromkeys((*recovery_actions(commands), *declaration.recovery_actions))
            ),
            estimated_impact=declaration.estimated_impact,
            recovery_time_estimate=declaration.recovery_time_estimate,
            updated_at=now_us,
            author=declaration.source_system,
        )

    def _step(
        self,
        event: EmergencyEvent,
        course: EmergencyCourse,
        author: str,
        note: str,
        steps: Sequence[StepResult] = (),
    ) -> EmergencyEvent:
        """Tell a step of the course, on top of what is known of the emergency by now.

        Of one that is over meanwhile nothing is told any more.
        """
        with self._telling:
            found = self.ledger.find(event.event_id)
            if not found.active:
                return found.event
            known = found.event
            level = max(known.emergency_level, event.emergency_level, key=LEVELS.index)
            said = structs.replace(
                known,
                emergency_level=level,
                course=course,
                updated_at=max(known.updated_at, self._clock.now_us()),
                author=author,
                note=note[:4000],
                steps=with_steps(known.steps, steps),
            )
            self._publish(said)
        return said

    def _publish(self, event: EmergencyEvent) -> None:
        at = self._bus.publish(TOPIC, event, key=event.event_id.encode())
        self.sync().wait_through({at.partition: at.offset + 1}, _SYNC_S)

    def _tell(self, event: EmergencyEvent, body: str, part: str = "declared") -> None:
        if LEVELS.index(event.emergency_level) < LEVELS.index(_TOLD_FROM):
            return
        title = f"{event.emergency_level} {event.emergency_type} at {event.source_system}"
        affected = ", ".join(event.affected_systems) or "nothing named"
        text = f"{body}\nAffected: {affected}\nEmergency {event.event_id}"
        self._contacts.tell(Message(f"{event.event_id}-{part}", title, text))

    # -- escalation ------------------------------------------------------------------------------

    def _watch(self, event: EmergencyEvent) -> None:
        """Escalate once the response time-out is over and nobody has answered."""
        if LEVELS.index(event.emergency_level) < LEVELS.index(_TOLD_FROM):
            return
        passed_s = (self._clock.now_us() - event.timestamp) / 1e6
        delay_s = max(0.0, self._timeout_s - passed_s)
        timer = threading.Timer(delay_s, self._overdue, [event.event_id])
        timer.daemon = True
        with self._lock:
            self._timers[event.event_id] = timer
        timer.start()

    def _overdue(self, event_id: str) -> None:
        try:
            found = self.sync().find(event_id)
            # Of a plan that runs the end is told in any case.
            if not any(found.passed(each) for each in _ANSWERS):
                self.escalate(event_id, f"nobody has answered within {self._timeout_s:g} s")
        except PipelineError as error:
            _logger.warning("not escalated event_id=%s why=%s", event_id, error)

    def _cancel(self, event_id: str) -> None:
        with self._lock:
            timer = self._timers.pop(event_id, None)
        if timer is not None:
            timer.cancel()
