"""The emergency worker: sees emergencies coming, declares them, and carries recovery plans out.

1. Look twice a second (`observer`), find the signs (`detectors`), and which of them last (`vigil`).
2. Only who holds the office (`pipeline.events.office`) goes on; the others look along and stand by.
3. Declare what has begun, have it contained (`response`), recover by its plan (`playbook`), or hand
   it over to people. Each step of that stands on `cascade.emergency`.
4. Whoever takes the office over reads the course of what is under way there, and goes on.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pipeline import __version__
from pipeline.clock import Clock, WallClock
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.systems import LocalSystem, Vitals, process_load
from pipeline.coordination.versions import versions_of
from pipeline.coordination.vocabulary import Role
from pipeline.emergency.commands import Commander
from pipeline.emergency.contacts import ContactBook
from pipeline.emergency.detectors import Sign, detect
from pipeline.emergency.ledger import GROUP, TOPIC, Emergency, figures_of
from pipeline.emergency.live import LiveCascade
from pipeline.emergency.observer import Observer
from pipeline.emergency.playbook import draft_of, plan_of
from pipeline.emergency.response import Declaration, EmergencyResponse
from pipeline.emergency.supervising import Supervisors
from pipeline.emergency.vigil import Turn, TurnKind, Vigil
from pipeline.errors import PipelineError, UsageError
from pipeline.events import EventBus
from pipeline.events.office import Office
from pipeline.metrics import process_vitals
from pipeline.packets.events import EmergencyCourse, RecoveryAction
from pipeline.settings import Settings
from pipeline.watch.channels import Contact

__all__ = ["SYSTEM", "EmergencyWorker"]

_logger = logging.getLogger(__name__)

SYSTEM = "emergency"
"""As what emergency workers are announced, and the author of what they do."""

_AT_ONCE = 9
_PEOPLE = (RecoveryAction.MANUAL_INTERVENTION,)
# A plan's second attempt may take as long as the first one was to.
_PATIENCE = 2.0
_TRIES_S = (1.0, 2.0, 4.0, 8.0, 15.0)


class _OutOfOffice(UsageError):
    """Another emergency worker acts now."""


class EmergencyWorker:
    """One emergency worker; several of a namespace agree on who acts.

    Args:
        settings: Settings.
        clock: Clock.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        clock = clock or WallClock()
        self._limits = settings.detection
        self._timeout_s = settings.emergency.response_timeout
        self._target_ms = settings.performance.target_latency_ms
        self._clock = clock
        self._bus = EventBus(settings=settings)
        self._service = CoordinationService(
            self._bus, heartbeat_interval_s=settings.coordination.heartbeat_interval, clock=clock
        )
        supervisors = Supervisors(self._service)
        self._live = LiveCascade(self._bus)
        self._observer = Observer(
            self._bus, self._service, supervisors, self._live,
            now_us=clock.now_us, monotonic=monotonic,
        )  # fmt: skip
        self._commander = Commander(self._bus, clock=clock)
        self._contacts = ContactBook()
        for each in settings.emergency.emergency_contacts:
            self._contacts.add(Contact(each.name, each.contact, each.type))
        self._response = EmergencyResponse(
            self._bus, self._commander.give, self._live, self._contacts, supervisors.ask,
            response_timeout_s=self._timeout_s, attempts=settings.emergency.recovery_attempts,
            author=SYSTEM, clock=clock,
        )  # fmt: skip
        self._response.registry.checks.update(self._observer.checks)
        self._office = Office(self._bus.connect, TOPIC, GROUP)
        self._vigil = Vigil(self._limits)
        self._term: int | None = None
        self._minded_us = clock.now_us()
        self._hands = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="emergency")
        self._load = process_load()
        self._lock = threading.Lock()
        self._handled: set[tuple[str, str]] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emergency-vigil", daemon=True)
        self._service.add(
            LocalSystem(
                SYSTEM,
                "Emergency worker",
                role=Role.WORKER,
                capabilities=("detection", "recovery"),
                configuration=versions_of(settings, clock.now_us()).announced(),
                version=__version__,
                vitals=self._vitals,
            )
        )

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._service.start_soon()
        self._observer.start()
        self._office.start()
        self._thread.start()

    def close(self) -> None:
        """Give the office back and end; plans under way are for the next to finish."""
        self._closing.set()
        self._office.close()
        if self._thread.is_alive():
            self._thread.join()
        self._hands.shutdown(wait=False, cancel_futures=True)
        self._observer.close()
        self._response.close()
        self._service.close()
        self._commander.close()
        self._live.close()
        self._contacts.close()
        self._bus.close()

    def _vitals(self) -> Vitals:
        figures = figures_of(self._response.ledger.all)
        return Vitals(self._load(), {**figures, **process_vitals()})

    # -- seeing ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.wait(self._limits.interval):
            try:
                self._look()
            except PipelineError as error:
                _logger.warning("emergency worker cannot act: %s", error)
            except Exception:
                _logger.exception("emergency worker failed to look")

    def _look(self) -> None:
        seen = self._observer.observe()
        term = self._office.term
        # Out of reach of the broker nobody can be asked who acts; this machine is halted then.
        cut_off = seen.broker_silent_s >= self._limits.broker_silence
        if term is None and not cut_off:
            self._term = None
            self._vigil.forget()
            return
        if term is not None and term != self._term:
            self._take_over()
            self._term = term
        self._mind_people()
        signs = detect(seen, self._limits, self._target_ms)
        for turn in self._vigil.judge(signs, seen.at_s):
            since_us = self._clock.now_us() - int((seen.at_s - turn.since_s) * 1e6)
            _logger.warning(
                "%s %s %s %s: %s", turn.kind, turn.sign.level, turn.sign.emergency_type,
                turn.sign.subject, turn.sign.description,
            )  # fmt: skip
            if turn.kind is not TurnKind.OVER:
                self._hand_on(turn, since_us)

    def _mind_people(self) -> None:
        """Look anew for what people have taken for over since the last look."""
        since_us, self._minded_us = self._minded_us, self._clock.now_us()
        for each in self._response.ledger.all:
            event = each.event
            if not each.active and event.author != SYSTEM and event.updated_at > since_us:
                self._vigil.reopen(event.emergency_type, str(each.context.get("subject", "")))

    def _take_over(self) -> None:
        """Go on with what the last holder of the office has begun."""
        self._vigil.forget()
        for each in self._response.sync().active:
            if each.event.source_system == SYSTEM and not each.settled:
                self._hands.submit(self._guarded, self._resume, each)

    # -- acting ----------------------------------------------------------------------------------

    def _hand_on(self, turn: Turn, since_us: int) -> None:
        self._hands.submit(self._guarded, self._begin, turn, since_us)

    def _guarded(self, act: Callable[..., None], *arguments: object) -> None:
        try:
            act(*arguments)
        except _OutOfOffice as error:
            _logger.warning("left to another: %s", error)
        except PipelineError as error:
            _logger.warning("emergency not dealt with: %s", error)
        except Exception:
            _logger.exception("emergency not dealt with")

    def _begin(self, turn: Turn, since_us: int) -> None:
        """Declare what has begun, or what got worse; one of a subject at a time."""
        sign = turn.sign
        key = (str(sign.emergency_type), sign.subject)
        with self._lock:
            mine = key not in self._handled
            self._handled.add(key)
        if not mine:
            self._worsen(sign)
            return
        try:
            known = self._active(sign) if self._office.term is not None else None
            if known is None:
                self._to_the_end(self._declared(sign, since_us))
            else:
                self._response.worsen(known.event.event_id, sign.level, sign.description)
        finally:
            with self._lock:
                self._handled.discard(key)

    def _worsen(self, sign: Sign) -> None:
        known = self._active(sign)
        if known is not None:
            self._response.worsen(known.event.event_id, sign.level, sign.description)

    def _active(self, sign: Sign) -> Emergency | None:
        """Return the emergency of a sign, unless it has recovered: then this is another one."""
        for each in self._response.sync().active:
            same = (each.event.emergency_type, each.context.get("subject"))
            recovered = each.event.course is EmergencyCourse.RECOVERED
            if same == (sign.emergency_type, sign.subject) and not recovered:
                return each
        return None

    def _declared(self, sign: Sign, since_us: int) -> str:
        """Declare an emergency, as often as it takes to reach the broker; return its id."""
        draft = draft_of(sign.emergency_type, sign.level, sign.systems, sign.subject)
        declaration = Declaration(
            emergency_type=sign.emergency_type,
            emergency_level=sign.level,
            source_system=SYSTEM,
            affected_systems=sign.systems,
            description=sign.description,
            context={**sign.figures, "subject": sign.subject, "since_us": since_us},
            recovery_actions=draft.recovery_actions if draft else _PEOPLE,
        )
        for pause_s in _TRIES_S:
            try:
                return self._response.declare(declaration)
            except PipelineError as error:
                _logger.warning("not declared yet: %s", error)
                if self._closing.wait(pause_s):
                    break
        return self._response.declare(declaration)

    def _resume(self, emergency: Emergency) -> None:
        event = emergency.event
        key = (str(event.emergency_type), str(emergency.context.get("subject", "")))
        with self._lock:
            self._handled.add(key)
        try:
            self._proceed()
            self._response.contain(event.event_id)
            self._to_the_end(event.event_id)
        finally:
            with self._lock:
                self._handled.discard(key)

    def _to_the_end(self, event_id: str) -> None:
        """Recover from an emergency, or hand it over."""
        found = self._response.sync().find(event_id)
        subject = str(found.context.get("subject", ""))
        timeout_s = self._timeout_s * _PATIENCE
        plan = plan_of(found.event, subject, self._response.registry, timeout_s)
        if plan is None:
            self._response.escalate(event_id, "no plan is known for it, people have to act")
            return
        result = self._response.recover(plan, self._proceed)
        if result.succeeded:
            self._response.conclude(event_id)

    def _proceed(self) -> None:
        """Refuse to go on without the office."""
        if self._closing.is_set() or self._office.term is None:
            raise _OutOfOffice("Expected to hold the office, was given to another")
