"""The coordination engine: decisions and epochs across systems, processes and hosts."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from pipeline.cascade.coordination.asking import Asker, Question
from pipeline.cascade.coordination.results import (
    CoordinationMetrics,
    CoordinationResult,
    SyncResult,
    Transition,
)
from pipeline.cascade.coordination.status import Figures, StateBook
from pipeline.cascade.coordination.syncing import Synchroniser
from pipeline.clock import Clock, WallClock
from pipeline.coordination.membership import SystemState
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.systems import Handler, LocalSystem, Vitals, process_load
from pipeline.coordination.vocabulary import ConflictStrategy, CoordinationState, SyncProtocol
from pipeline.errors import UsageError
from pipeline.events import EventBus
from pipeline.packets.events import MessageType

__all__ = ["MARLCoordinationEngine"]

Function = TypeVar("Function", bound=Handler)
_LONGEST_NAME = 128


class MARLCoordinationEngine:
    """Coordinates decisions with live systems, over `cascade.coordination`.

    It opens no connection before it is needed: the first call that sends or looks does. The systems
    that it registers are announced to everybody, with a heartbeat each interval; systems of other
    processes and hosts, the built-in stage workers among them, become known the same way, and are
    disconnected within 3.5 of their intervals after their last heartbeat.

        with MARLCoordinationEngine() as engine:
            engine.register_marl_system("tactical", "Tactical MARL", ["signal_generation"])
            engine.on_request("tactical", lambda request: "BUY")
            result = engine.coordinate_decision(
                "strategic", "entry_signal", {"signal": "buy"}, ["tactical"]
            )
            print(result.decision)

    Args:
        event_bus: Connection to Kafka; None: one of its own, closed with the engine.
        heartbeat_interval: Seconds between heartbeats of its systems; None: the setting
            `coordination.heartbeat_interval`.
        sync_timeout: Seconds that a synchronisation may take at most; None: the setting
            `coordination.sync_timeout`.
        max_concurrent_requests: Most decisions in flight at once, others wait for their turn within
            their time; also most handlers that run at once. None: the setting
            `coordination.max_concurrent_requests`.
        conflict_strategy: What decides between contradicting answers, where a call names nothing.
        response_timeout_s: How long answers are waited for, where a call names nothing.
        clock: Times in messages.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        event_bus: EventBus | None = None,
        heartbeat_interval: float | None = None,
        sync_timeout: float | None = None,
        max_concurrent_requests: int | None = None,
        *,
        conflict_strategy: ConflictStrategy = ConflictStrategy.PRIORITY_BASED,
        response_timeout_s: float = 2.0,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own_bus = event_bus is None
        self.event_bus = event_bus or EventBus()
        defaults = self.event_bus.settings.coordination
        self.heartbeat_interval = _positive(heartbeat_interval, defaults.heartbeat_interval)
        self.sync_timeout = _positive(sync_timeout, defaults.sync_timeout)
        self.max_concurrent_requests = int(
            _positive(max_concurrent_requests, defaults.max_concurrent_requests)
        )
        self.conflict_strategy = conflict_strategy
        self.response_timeout_s = _positive(response_timeout_s, response_timeout_s)
        self._load = process_load()
        clock = clock or WallClock()
        self._figures = Figures()
        self._states = StateBook(clock)
        self._service = CoordinationService(
            self.event_bus,
            heartbeat_interval_s=self.heartbeat_interval,
            most_handlers=self.max_concurrent_requests,
            clock=clock,
            monotonic=monotonic,
        )
        self._service.watch(self._note)
        self._asker = Asker(
            self._service, self._states, self._figures, self.max_concurrent_requests, self._note
        )
        self._synchroniser = Synchroniser(self._service)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect and take part; calls do it by themselves.

        Raises:
            BrokerUnavailable: If no broker answers in time.
            UsageError: If it was closed.
        """
        self._service.start()
        self._note()

    def close(self) -> None:
        """Say farewell for its systems and let go; others see them disconnected at once."""
        self._service.close()
        self._asker.close()
        self._note()
        if self._own_bus:
            self.event_bus.close()

    shutdown = close

    # -- systems -----------------------------------------------------------------------------------

    def register_marl_system(
        self,
        system_id: str,
        system_name: str,
        capabilities: Iterable[str] = (),
        configuration: Mapping[str, Any] | None = None,
        *,
        version: str = "",
    ) -> None:
        """Announce a system of this process; one of the same id here is replaced.

        It answers requests once `on_request` has given it a handler.

        Args:
            system_id: Its id, e.g. `tactical`; up to 128 characters.
            system_name: Its name, for people.
            capabilities: What it can do.
            configuration: How it is set up; what JSON can hold.
            version: Its version.

        Raises:
            UsageError: An id that cannot be one.
            BrokerUnavailable: If no broker answers in time.
        """
        if not system_id or len(system_id) > _LONGEST_NAME or system_id == "*":
            raise UsageError(f"Expected a system id of 1 to 128 characters, was {system_id!r}")
        before = self._service.local(system_id)
        system = LocalSystem(
            system_id,
            system_name,
            capabilities=tuple(capabilities),
            configuration=dict(configuration or {}),
            version=version,
            vitals=lambda: Vitals(self._load()),
            handler=before.handler if before else None,
        )
        self._service.add(system)
        self.start()

    def unregister_marl_system(self, system_id: str) -> None:
        """Say farewell for a system of this process; does nothing where there is none."""
        self._service.remove(system_id)

    @overload
    def on_request(self, system_id: str, handler: Handler) -> Handler: ...
    @overload
    def on_request(self, system_id: str) -> Callable[[Function], Function]: ...

    def on_request(self, system_id: str, handler: Handler | None = None) -> Any:
        """Have a registered system answer requests; also as a decorator.

        Args:
            system_id: The system.
            handler: Called with a `CoordinationRequest` on a thread of a pool, or awaited in an
                event loop of its own. It returns an `Answer`, a text (a decision), a mapping with
                the fields of an answer, a `Superposition`, an `Abstention` with its reason, or None
                for no answer at all. What it raises is told to whoever asked, and counts as none.

        Raises:
            UsageError: If the system is not registered here.
        """
        if handler is None:
            return lambda function: self.on_request(system_id, function)
        system = self._service.local(system_id)
        if system is None:
            raise UsageError(
                f"Expected a system registered here, was {system_id!r}; call register_marl_system"
            )
        system.handler = handler
        self._service.update(system_id)
        return handler

    def report_performance(self, system_id: str, metrics: Mapping[str, float]) -> None:
        """Announce figures of a registered system; `success_rate`, 0 to 1, counts in conflicts.

        Raises:
            UsageError: If the system is not registered here.
        """
        system = self._service.local(system_id)
        if system is None:
            raise UsageError(f"Expected a system registered here, was {system_id!r}")
        system.reported = {**system.reported, **metrics}
        self._service.update(system_id, MessageType.PERFORMANCE_REPORT)

    def get_system_states(self) -> dict[str, SystemState]:
        """Return what is known of each system, here and elsewhere, disconnected ones included."""
        self.start()
        return self._service.systems()

    def get_system_state(self, system_id: str) -> SystemState | None:
        """Return what is known of a system; None where it was never heard of."""
        return self.get_system_states().get(system_id)

    def wait_for(
        self, system_ids: Iterable[str], timeout_s: float = 10.0, *, answering: bool = False
    ) -> bool:
        """Wait until systems are live; return whether they are.

        Args:
            system_ids: Which systems.
            timeout_s: How long, seconds.
            answering: Whether they must also answer requests.
        """
        self.start()
        wanted = list(system_ids)

        def there() -> bool:
            known = self._service.systems()
            found = [known.get(name) for name in wanted]
            return all(
                each and each.instances and (each.answers or not answering) for each in found
            )

        with self._service.changed:
            return self._service.changed.wait_for(there, timeout_s)

    # -- decisions ---------------------------------------------------------------------------------

    def coordinate_decision(
        self,
        requesting_system: str,
        decision_type: str,
        decision_data: Mapping[str, Any],
        affected_systems: Iterable[str],
        *,
        priority: int = 1,
        strategy: ConflictStrategy | None = None,
        quorum: int | None = None,
        timeout_s: float | None = None,
    ) -> CoordinationResult:
        """Ask live systems, and return what their answers come to.

        1. The request goes to `cascade.coordination`; the affected systems that are live answer it
           by its id. One that is not live, or has nobody who answers, is not waited for.
        2. Answers are waited for until all are there or the time is up. Abstentions and failures of
           handlers are none.
        3. With fewer answers than the quorum, or without one of risk where it was asked, it fails.
        4. What the answers come to is in `pipeline.coordination.resolution`: risk first, and ties
           broken the same way everywhere. Contradicting terms: `pipeline.coordination.conflicts`.
        5. A conflict's end is told to everybody as CONFLICT_RESOLUTION.

        It never raises for lack of answers; see `CoordinationResult.require`.

        Args:
            requesting_system: Who asks; its proposal in `decision_data` counts as its vote.
            decision_type: What kind of decision, e.g. `entry_signal`.
            decision_data: What is proposed, e.g. `{"signal": "buy", "symbol": "ACME"}`. Built-in
                workers answer for the `symbol` that stands here.
            affected_systems: Who is asked.
            priority: 1 normal, 2 high, 3 emergency.
            strategy: What decides between contradicting answers.
            quorum: How many answers are needed; None: more than half of the affected systems.
            timeout_s: How long, seconds, waiting for its turn included.

        Raises:
            UsageError: Arguments that cannot be.
            InvalidPacket: Data that JSON cannot hold, or more than 64 KiB.
            BrokerUnavailable: If the engine was not started and no broker answers in time.
        """
        affected = tuple(dict.fromkeys(affected_systems))
        question = Question(
            requesting_system=requesting_system,
            decision_type=decision_type,
            decision_data=dict(decision_data),
            affected_systems=affected,
            priority=priority,
            strategy=strategy or self.conflict_strategy,
            quorum=len(affected) // 2 + 1 if quorum is None else quorum,
            timeout_s=self.response_timeout_s if timeout_s is None else timeout_s,
        )
        question.check()
        self.start()
        return self._asker.ask(question)

    async def acoordinate_decision(self, *args: Any, **keywords: Any) -> CoordinationResult:
        """Do as `coordinate_decision`, from asyncio; the event loop never waits."""
        return await asyncio.to_thread(self.coordinate_decision, *args, **keywords)

    # -- epochs ------------------------------------------------------------------------------------

    def synchronize(
        self, protocol: SyncProtocol = SyncProtocol.FAST_SYNC, *, reason: str = ""
    ) -> SyncResult:
        """Bring the live systems to a new epoch; see `pipeline.coordination.epochs`.

        FAST_SYNC and RELIABLE_SYNC also end an emergency and clear conflicts without a decision.

        Raises:
            BrokerUnavailable: If the engine was not started and no broker answers in time.
        """
        self.start()
        result = self._synchroniser.run(protocol, reason, self.sync_timeout)
        if result.success and protocol is not SyncProtocol.EMERGENCY_SYNC:
            self._states.settled()
        self._note()
        return result

    # -- what it says of itself --------------------------------------------------------------------

    @property
    def state(self) -> CoordinationState:
        """State of the engine now."""
        return self._note()

    @property
    def transitions(self) -> list[Transition]:
        """The last 1000 changes of its state."""
        return self._states.transitions

    def get_coordination_metrics(self) -> CoordinationMetrics:
        """Return the figures since the engine started."""
        return self._figures.metrics(self._service if self._service.started else None)

    def get_coordination_status(self) -> dict[str, Any]:
        """Return state, epoch, systems and metrics, as JSON takes them."""
        import msgspec

        systems = self.get_system_states()
        return {
            "state": self.state.value,
            "epoch": self._service.epochs.epoch,
            "emergency_epoch": self._service.epochs.emergency_epoch,
            "systems": msgspec.to_builtins(systems),
            "metrics": msgspec.to_builtins(self.get_coordination_metrics()),
        }

    def _note(self) -> CoordinationState:
        return self._states.note(self._service, connected=self.event_bus.connected)


def _positive(value: float | None, default: float) -> float:
    chosen = default if value is None else value
    if not chosen > 0:
        raise UsageError(f"Expected a number above 0, was {chosen}")
    return chosen
