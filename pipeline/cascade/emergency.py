"""EmergencyCascadeProtocols: declare emergencies, have them contained, told, and ended.

    protocols = EmergencyCascadeProtocols(event_bus=EventBus())
    emergency_id = protocols.declare_emergency(
        emergency_type=EmergencyType.SYSTEM_FAILURE,
        emergency_level=EmergencyLevel.CRITICAL,
        source_system="tactical",
        affected_systems=["tactical"],
        description="System failure detected",
    )
    protocols.acknowledge_emergency(emergency_id, author="operator")
    protocols.resolve_emergency(emergency_id, author="operator")

What is done at once stands in `pipeline.emergency.table`. It acts through the control log, which
every worker obeys, so it works on any cascade that the event bus reaches, in whatever processes.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec import Struct

from pipeline.clock import Clock, WallClock
from pipeline.control.scope import STAGES, Scope, ScopeKind
from pipeline.control.state import TradingStateMachine
from pipeline.emergency.commands import Commander
from pipeline.emergency.contacts import ContactBook, Delivery
from pipeline.emergency.ledger import Emergency, figures_of
from pipeline.emergency.live import LiveCascade
from pipeline.emergency.plans import Criterion, PlanResult, RecoveryPlan, RecoveryStep, StepResult
from pipeline.emergency.response import Declaration, EmergencyResponse
from pipeline.emergency.supervising import SupervisorsOnDemand
from pipeline.emergency.table import LEVELS
from pipeline.errors import UsageError
from pipeline.events import EventBus
from pipeline.packets.events import (
    EmergencyCourse,
    EmergencyEvent,
    EmergencyLevel,
    EmergencyType,
    TradingState,
)
from pipeline.settings.components import EmergencyContact
from pipeline.watch.channels import Contact

if TYPE_CHECKING:
    from pipeline.cascade.coordination import MARLCoordinationEngine
    from pipeline.cascade.manager import SuperpositionCascadeManager
    from pipeline.cascade.validation import CascadeValidationFramework

__all__ = ["EmergencyCascadeProtocols", "EmergencyStatus"]

_OF_DATA = frozenset({EmergencyType.DATA_CORRUPTION, EmergencyType.VALIDATION_FAILURE})


class EmergencyStatus(Struct, frozen=True):
    """What is known of emergencies.

    Attributes:
        status_id: Fresh for each status.
        timestamp: When it was taken, microseconds since the Unix epoch, UTC.
        active_emergencies: Those that are not resolved, oldest first, whoever declared them.
        recovery_plans_active: Ids of the plans that run in this process now.
        system_health: Of each stage and the gateway: `active`, `degraded` (its policy is isolated
            or its breaker forced open), `isolated`, or `stale` (no live worker).
        cascade_state: What the cascade manager says; without one EMERGENCY while an emergency of
            level CRITICAL or more is active, DEGRADED while any is or a system is not active,
            else READY; INITIALIZING while no worker runs.
        last_recovery_time: How long the emergency that ended last had lasted, seconds; None before
            the first.
        recovery_times: From the cause to the recovery that was seen, seconds, of each emergency
            that a plan has recovered, by id.
        emergency_workers: How many emergency workers are live; one of them acts, and with none
            nothing is detected.
        figures: How many emergencies there were and how they went, see
            `pipeline.emergency.ledger.figures_of`.
        emergency_contacts_notified: Contacts that were told of an active emergency, by name.
        trading_state: ACTIVE, REDUCING or HALTED, as the control log says.
    """

    status_id: str
    timestamp: int
    active_emergencies: tuple[EmergencyEvent, ...]
    recovery_plans_active: tuple[str, ...]
    system_health: dict[str, str]
    cascade_state: str
    last_recovery_time: float | None
    emergency_contacts_notified: tuple[str, ...]
    trading_state: TradingState
    recovery_times: dict[str, float] = {}
    emergency_workers: int = 0
    figures: dict[str, float] = {}

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class EmergencyCascadeProtocols:
    """Response to emergencies of a cascade; thread-safe. Nothing connects before the first call.

    Args:
        event_bus: Connection to Kafka; it is not closed here.
        cascade_manager: Asked for the state of the cascade; may be None.
        coordination_engine: Asked which systems are disconnected; may be None.
        validation_framework: Asked whether the data are sound again, before an emergency of type
            DATA_CORRUPTION or VALIDATION_FAILURE is resolved; may be None.
        response_timeout: Seconds within which an emergency is contained or acknowledged, or else
            escalated; None: the setting.
        recovery_attempts: Most attempts at one plan; None: the setting.
        emergency_contacts: Whom to tell; None: those of the settings.
        contacts: Tells them; for tests.
        clock: Clock.
    """

    def __init__(
        self,
        event_bus: EventBus,
        cascade_manager: "SuperpositionCascadeManager | None" = None,
        coordination_engine: "MARLCoordinationEngine | None" = None,
        validation_framework: "CascadeValidationFramework | None" = None,
        *,
        response_timeout: float | None = None,
        recovery_attempts: int | None = None,
        emergency_contacts: Iterable[EmergencyContact | Mapping[str, str]] | None = None,
        contacts: ContactBook | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = event_bus.settings.emergency
        self.cascade_manager = cascade_manager
        self.coordination_engine = coordination_engine
        self.validation_framework = validation_framework
        self.response_timeout = _positive(
            "response_timeout", settings.response_timeout, response_timeout
        )
        self.recovery_attempts = int(
            _positive("recovery_attempts", settings.recovery_attempts, recovery_attempts)
        )
        self._clock = clock or WallClock()
        self._contacts = contacts or ContactBook()
        self._commander = Commander(event_bus, clock=self._clock)
        self._live = LiveCascade(event_bus)
        self._supervisors = SupervisorsOnDemand(event_bus)
        self._response = EmergencyResponse(
            event_bus,
            self._commander.give,
            self._live,
            self._contacts,
            self._supervisors.ask,
            response_timeout_s=self.response_timeout,
            attempts=self.recovery_attempts,
            clock=self._clock,
        )
        given = settings.emergency_contacts if emergency_contacts is None else emergency_contacts
        for each in given:
            known = each if isinstance(each, EmergencyContact) else EmergencyContact(**each)
            self.add_emergency_contact(known.name, known.contact, known.type)

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
        """Stop following emergencies and telling contacts; what was done about them stands."""
        self._response.close()
        self._supervisors.close()
        self._commander.close()
        self._live.close()
        self._contacts.close()

    # -- emergencies -----------------------------------------------------------------------------

    def declare_emergency(
        self,
        emergency_type: EmergencyType | str,
        emergency_level: EmergencyLevel | str,
        source_system: str,
        affected_systems: Sequence[str],
        description: str,
        context: Mapping[str, Any] | None = None,
        estimated_impact: str = "",
        recovery_time_estimate: float = 0.0,
    ) -> str:
        """Declare an emergency and do at once what `pipeline.emergency.table` says of it.

        It returns when the emergency is contained, or could not be: at most `response_timeout`
        seconds. Which of both, and how, stands in `get_emergency_status`.

        Args:
            emergency_type: What kind of emergency it is.
            emergency_level: How bad it is.
            source_system: Who says so.
            affected_systems: Stages, `gateway`, or scopes as `symbol:IBM`; see the table.
            description: What happened, for people.
            context: More about it; must fit JSON.
            estimated_impact: For people.
            recovery_time_estimate: Seconds.

        Returns:
            The id of the emergency.

        Raises:
            UsageError: An unknown type or level.
            BrokerUnavailable: No broker answers. If it was to halt, the workers of this machine are
                halted all the same.
        """
        declaration = Declaration(
            emergency_type=_member(EmergencyType, emergency_type),
            emergency_level=_member(EmergencyLevel, emergency_level),
            source_system=source_system,
            affected_systems=tuple(affected_systems),
            description=description,
            context=context or {},
            estimated_impact=estimated_impact,
            recovery_time_estimate=recovery_time_estimate,
        )
        return self._response.declare(declaration)

    def acknowledge_emergency(
        self, emergency_id: str, author: str = "operator", note: str = ""
    ) -> None:
        """Note that `author` has taken an emergency on, so that it is not escalated.

        Raises:
            UsageError: If there is no such emergency, or it is over.
        """
        self._response.acknowledge(emergency_id, author, note)

    def resolve_emergency(
        self, emergency_id: str, author: str = "operator", note: str = ""
    ) -> tuple[StepResult, ...]:
        """End an emergency: take back what was done about it, and return what that came to.

        What another active emergency needs too, stays.

        Raises:
            UsageError: If there is no such emergency, it is over, the validation framework still
                finds critical issues, or `author` is none of the setting `control_authors` and
                may not resume trading. Then it stays active.
        """
        self._require_sound(self.get_emergency(emergency_id).event)
        return self._response.resolve(emergency_id, author, note)

    def rollback_emergency(
        self, emergency_id: str, author: str = "operator", note: str = ""
    ) -> tuple[StepResult, ...]:
        """Take back what was done about an emergency, which stays active.

        Raises:
            UsageError: As `resolve_emergency`.
        """
        return self._response.roll_back(emergency_id, author, note)

    def get_emergency(self, emergency_id: str) -> Emergency:
        """Return an emergency with its whole course.

        Raises:
            UsageError: If there is none of that id.
        """
        return self._response.sync().find(emergency_id)

    def get_emergency_status(self) -> EmergencyStatus:
        """Return what is known of emergencies now, read to the end of `cascade.emergency`.

        Raises:
            BrokerUnavailable: If no broker answers.
        """
        ledger = self._response.sync()
        machine = self._live.control()
        health = self._health(machine)
        active = ledger.active
        ended = [each for each in ledger.all if not each.active]
        last = max(ended, key=lambda each: each.event.updated_at, default=None)
        return EmergencyStatus(
            status_id=secrets.token_hex(8),
            timestamp=self._clock.now_us(),
            active_emergencies=tuple(each.event for each in active),
            recovery_plans_active=tuple(plan.plan_id for plan in self._response.running),
            system_health=health,
            cascade_state=self._state(active, health),
            last_recovery_time=last.lasted_s if last else None,
            emergency_contacts_notified=self._notified(active),
            trading_state=machine.trading_state,
            recovery_times={
                each.event.event_id: round(seconds, 3)
                for each in ledger.all
                if (seconds := each.seconds_to(EmergencyCourse.RECOVERED)) is not None
            },
            emergency_workers=self._live.emergency_workers(),
            figures=dict(figures_of(ledger.all)),
        )

    # -- contacts --------------------------------------------------------------------------------

    def add_emergency_contact(
        self, name: str, contact_info: str, contact_type: str = "email"
    ) -> None:
        """Have somebody told of every emergency from level CAUTION on.

        One that cannot be reached is tried again, and nobody waits for it.

        Args:
            name: Who it is; one of the same name is replaced.
            contact_info: Where to reach them.
            contact_type: How: email, webhook, log, ...; see `pipeline.watch.channels`.

        Raises:
            UsageError: If there is no such type, or it is no address of it.
        """
        self._contacts.add(Contact(name, contact_info, contact_type))

    def remove_emergency_contact(self, name: str) -> None:
        """Have somebody told no more; nothing where there is no such contact."""
        self._contacts.remove(name)

    @property
    def emergency_contacts(self) -> tuple[Contact, ...]:
        """Who is told."""
        return self._contacts.contacts

    # -- recovery --------------------------------------------------------------------------------

    def create_recovery_plan(
        self,
        emergency_id: str,
        recovery_steps: Sequence[RecoveryStep | Mapping[str, Any]],
        success_criteria: Sequence[Criterion | str],
        *,
        rollback_steps: Sequence[RecoveryStep | Mapping[str, Any]] = (),
        prerequisites: Sequence[Criterion | str] = (),
        timeout_seconds: float | None = None,
        priority: int = 3,
    ) -> RecoveryPlan:
        """Return a plan for an emergency.

        Args:
            emergency_id: The emergency.
            recovery_steps: `{action, system, parameters, timeout}` each, in order; the actions are
                those of `pipeline.emergency.actions`.
            success_criteria: `CHECK SYSTEM` each, as `released tactical`; the checks are those of
                `pipeline.emergency.live.LiveCascade`.
            rollback_steps: What is done where it does not succeed.
            prerequisites: What must be seen before.
            timeout_seconds: For steps and success in all; None: `response_timeout`.
            priority: 1 normal, 2 high, 3 emergency.

        Raises:
            UsageError: If it holds an action or check that is not known, or no success criteria.
        """
        event = self.get_emergency(emergency_id).event
        return self._response.registry.plan(
            event,
            [_step(each) for each in recovery_steps],
            [_criterion(each) for each in success_criteria],
            rollback=[_step(each) for each in rollback_steps],
            prerequisites=[_criterion(each) for each in prerequisites],
            timeout_s=self.response_timeout if timeout_seconds is None else timeout_seconds,
            priority=priority,
        )

    def execute_recovery_plan(self, plan: RecoveryPlan) -> PlanResult:
        """Carry a plan out, wait for its end, and escalate where it does not succeed."""
        return self._response.recover(plan)

    # -- status ----------------------------------------------------------------------------------

    def _require_sound(self, event: EmergencyEvent) -> None:
        if self.validation_framework is None or event.emergency_type not in _OF_DATA:
            return
        report = self.validation_framework.run_comprehensive_validation()
        if report.critical_issues:
            first = str(report.critical_issues[0])
            raise UsageError(
                f"Expected no critical issue before emergency {event.event_id} is resolved, was"
                f" {len(report.critical_issues)}, the first: {first}"
            )

    def _health(self, machine: TradingStateMachine) -> dict[str, str]:
        workers, fences = self._live.workers(), machine.fences.fences
        health = {}
        for stage in STAGES:
            held = stage in fences.policies or stage in fences.breakers
            if machine.fences.isolated(Scope(ScopeKind.STAGE, stage)) is not None:
                health[stage] = "isolated"
            elif not workers.get(stage):
                health[stage] = "stale"
            else:
                health[stage] = "degraded" if held else "active"
        return health | self._disconnected(health)

    def _disconnected(self, health: Mapping[str, str]) -> dict[str, str]:
        """Return the systems that only the coordination engine knows to be gone."""
        if self.coordination_engine is None:
            return {}
        states = self.coordination_engine.get_system_states()
        gone = [name for name, each in states.items() if str(each.state) == "DISCONNECTED"]
        return {name: "stale" for name in gone if health.get(name, "active") == "active"}

    def _state(self, active: tuple[Emergency, ...], health: Mapping[str, str]) -> str:
        if self.cascade_manager is not None:
            return str(self.cascade_manager.get_cascade_status().state)
        bad = LEVELS.index(EmergencyLevel.CRITICAL)
        if any(LEVELS.index(each.event.emergency_level) >= bad for each in active):
            return "EMERGENCY"
        if all(each == "stale" for each in health.values()):
            return "INITIALIZING"
        return "DEGRADED" if active or set(health.values()) != {"active"} else "READY"

    def _notified(self, active: tuple[Emergency, ...]) -> tuple[str, ...]:
        ids = tuple(each.event.event_id for each in active)
        told = {
            name
            for (name, key), delivery in self._contacts.deliveries().items()
            if delivery is Delivery.DELIVERED and key.startswith(ids)
        }
        return tuple(sorted(told)) if ids else ()


def _positive(name: str, setting: float, given: float | None) -> float:
    value = setting if given is None else given
    if not value > 0:
        raise UsageError(f"Expected {name} above 0, was {value}")
    return value


def _member(kind: Any, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        names = ", ".join(kind)
        raise UsageError(f"Expected one of {names}, was {value!r}") from error


def _step(given: RecoveryStep | Mapping[str, Any]) -> RecoveryStep:
    if isinstance(given, RecoveryStep):
        return given
    try:
        return RecoveryStep(**given)
    except TypeError as error:
        raise UsageError(
            f"Expected a step of action, system, parameters, timeout, was {dict(given)}"
        ) from error


def _criterion(given: Criterion | str) -> Criterion:
    if isinstance(given, Criterion):
        return given
    check, _, system = given.partition(" ")
    return Criterion(check, system or "*")
