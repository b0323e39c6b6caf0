"""The component itself."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import Struct, structs

from pipeline.cascade.manager.asking import Callback
from pipeline.cascade.manager.flows import FlowBook, FlowOutcome, OnLimit, OnOutcome
from pipeline.cascade.manager.health import (
    STAGES,
    CascadeMetrics,
    CascadeState,
    StateMachine,
    SystemStatus,
)
from pipeline.cascade.manager.injecting import Injection, Injector
from pipeline.cascade.manager.observation import Observation
from pipeline.cascade.manager.registration import Registration
from pipeline.cascade.manager.systems import registered_workers
from pipeline.clock import Clock, WallClock
from pipeline.control.state import TradingState
from pipeline.errors import PipelineError, UsageError
from pipeline.events import EventBus, RecordPosition
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.packets.vocabulary import SuperpositionType
from pipeline.settings import Settings, load_settings

__all__ = ["CascadeStatus", "SuperpositionCascadeManager"]

_logger = logging.getLogger(__name__)
_LOOK_S = 0.5
_LONG_S = 30.0
_READY_S = 60.0


class CascadeStatus(Struct, frozen=True):
    """What the manager knows of the cascade.

    Attributes:
        state: See `pipeline.cascade.manager.health`.
        systems: The four systems.
        metrics: Figures.
        flows_in_flight: Flows injected here that have not ended.
        max_concurrent_flows: How many may be.
        trading_state: ACTIVE, REDUCING or HALTED; HALTED where it is not known.
        warnings: What people should look at.
    """

    state: CascadeState
    systems: dict[str, SystemStatus]
    metrics: CascadeMetrics
    flows_in_flight: int
    max_concurrent_flows: int
    trading_state: TradingState
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class SuperpositionCascadeManager:
    """Starts flows, tells how they end, embeds systems here, and knows how the cascade is doing.

    It drives the cascade that runs on the bus's broker, in the bus's namespace; the topics are the
    only place where packets wait. Nothing connects before the first use. Thread-safe.

    Args:
        event_bus: Connection to Kafka; None: one of its own. It is not closed here.
        max_concurrent_flows: Most flows in flight that were injected here; None: the setting.
        cascade_timeout_ms: From injection to deadline; None: the setting. Systems that are
            registered here scale their budgets by it, too.
        emergency_threshold: Health score below which the state is EMERGENCY; None: the setting.
        on_limit: What `inject_superposition` does when as many flows are in flight as may be:
            `block` until one ends, at most `limit_timeout_s`, or `refuse` at once.
        limit_timeout_s: How long it blocks, seconds.
        clock: Clock.

    Raises:
        ConfigurationError: If a value cannot work.
    """

    def __init__(
        self,
        event_bus: EventBus | None = None,
        max_concurrent_flows: int | None = None,
        cascade_timeout_ms: int | None = None,
        emergency_threshold: float | None = None,
        *,
        on_limit: OnLimit = "block",
        limit_timeout_s: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self._bus = event_bus or EventBus()
        if on_limit not in ("block", "refuse"):
            raise UsageError(f"Expected on_limit block or refuse, was {on_limit!r}")
        self._on_limit = on_limit
        self._limit_timeout_s = limit_timeout_s
        self._clock = clock or WallClock()
        self._overrides = _checked(
            max_concurrent_flows=max_concurrent_flows,
            cascade_timeout_ms=cascade_timeout_ms,
            emergency_threshold=emergency_threshold,
        )
        settings = self._settings
        self._book = FlowBook(settings.max_concurrent_flows)
        self._injector = Injector(settings, self._clock)
        self._machine = StateMachine(settings.emergency_threshold)
        self._lock = threading.RLock()
        self._injecting = threading.Lock()
        self._looking = threading.RLock()
        self._observation: Observation | None = None
        self._registered: dict[str, Registration] = {}
        self._listeners: list[Callable[[CascadeState, CascadeState], Any]] = []
        self._stopping = threading.Event()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    @property
    def _settings(self) -> Settings:
        return self._bus.settings.model_copy(update=self._overrides)

    # -- systems -------------------------------------------------------------------------------

    def register_marl_system(
        self,
        system_id: str,
        system_name: str = "",
        input_callback: Callback | None = None,
        output_callback: Callable[[Any], Any] | None = None,
        *,
        ready_timeout_s: float = _READY_S,
    ) -> SystemStatus:
        """Run a system in this process: an embedded worker of that stage, decided by a callback.

        It joins the stage's consumer group, and built-in workers of the stage leave the group while
        it is announced. It returns when the system decides.

        The callback takes a packet of the stage before (`MarketData`, `StrategicSignal`,
        `TacticalSignal`, `RiskAssessment`) or, if it is marked with `@whole_round` or its parameter
        is annotated as a sequence, all packets of a round. It may be a coroutine function. It
        returns a `Superposition` or a mapping from action to probability, or a part of the stage's
        record, or None to hold; `pipeline.cascade.manager.decisions` has the table, and
        `pipeline.cascade.manager.asking` how it is called. What it raises is retried and then
        dead-lettered, as for any policy.

        Args:
            system_id: strategic, tactical, risk or execution.
            system_name: Its name, for people.
            input_callback: Its policy; None: the built-in one.
            output_callback: Called once for each packet that this system emitted, in the order of
                each partition, after its record is acknowledged and read back; a function or a
                coroutine function. What it raises is logged and changes nothing.
            ready_timeout_s: How long it may take until it decides, seconds.

        Raises:
            UsageError: An unknown system, one that is registered already, or after `shutdown`.
            BrokerUnavailable, ConfigurationError: If there is no cascade to take part in, or it
                does not decide in time.
        """
        if system_id not in STAGES:
            raise UsageError(
                f"Expected a system of {', '.join(STAGES)}, was {system_id!r}: only these have a"
                " place in the cascade"
            )
        observation = self._attached()
        with self._lock:
            self._refuse_second(system_id)
            settings = self._settings.model_copy(update={"instance": ""})
            made = Registration(
                self._bus, settings, system_id, system_name or f"{system_id.capitalize()} MARL",
                input_callback, output_callback,
            )  # fmt: skip
            self._registered[system_id] = made
        try:
            made.start()
            made.worker.wait_owned(
                ready_timeout_s,
                alone=lambda: len(registered_workers(observation.members(system_id))) <= 1,
            )
        except BaseException:
            self.unregister_marl_system(system_id)
            raise
        return self._statuses()[system_id]

    def unregister_marl_system(self, system_id: str) -> None:
        """End a system that was registered here; built-in workers of its stage come back.

        Raises:
            UsageError: If it was not registered here.
        """
        with self._lock:
            found = self._registered.get(system_id)
        if found is None:
            raise UsageError(f"Expected a system that was registered here, was {system_id!r}")
        found.stop()
        with self._lock:
            self._registered.pop(system_id, None)

    # -- flows ---------------------------------------------------------------------------------

    def inject_superposition(
        self,
        packet_type: SuperpositionType | str,
        data: Any,
        source_system: str = "market_data",
        priority: int = 1,
        *,
        symbol: str | None = None,
        sequence: int | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> str:
        """Start a flow with a CONTEXT_UPDATE, or declare an emergency with an EMERGENCY_SIGNAL.

        A context update goes onto the ingest topic, an emergency onto `cascade.emergency`.
        `pipeline.cascade.manager.injecting` says which data they take, and the flow id where symbol
        or sequence are not given.

        Args:
            packet_type: Of what; any other type is written by its own stage only.
            data: What it carries.
            source_system: Who sends it; a context update comes from `market_data`.
            priority: 1 normal, 2 high, 3 emergency; higher goes first within a round.
            symbol: Instrument.
            sequence: Number of the bar; those of a symbol rise.
            on_outcome: Told how the flow ended, once, on a thread of the manager.

        Returns:
            The packet's id; of an emergency, the event's. The broker has the packet then.

        Raises:
            RoutingError: If this type from this source goes nowhere.
            InvalidPacket: If the data breaks a rule.
            FlowLimitReached: If as many flows are in flight as may be.
            BrokerUnavailable: If the broker did not take it; it may still arrive.
            UsageError: After `shutdown`, or for a flow that is in flight.
        """
        kind = self._injector.kind_of(packet_type, source_system)
        self._attached()
        if kind is SuperpositionType.EMERGENCY_SIGNAL:
            emergency = self._injector.emergency(data, source_system)
            self._handed_over(emergency).result()
            return emergency.packet_id
        self._book.admit(on_limit=self._on_limit, timeout_s=self._limit_timeout_s)
        # In one go, so that the numbers of a symbol rise in the topic, whoever injects.
        with self._injecting:
            try:
                injection = self._injector.context_update(
                    data, source_system, priority, symbol, sequence
                )
                self._book.enter(injection.flow_id, injection.packet_id, on_outcome)
            except BaseException:
                self._book.turn_away()
                raise
            try:
                future = self._handed_over(injection)
            except BaseException:
                self._book.withdraw(injection.flow_id)
                raise
        try:
            future.result()
        except BaseException:
            self._book.withdraw(injection.flow_id)
            raise
        return injection.packet_id

    def wait_for(self, packet_id: str, timeout_s: float = 10.0) -> FlowOutcome:
        """Wait for the outcome of a flow that was injected here.

        Raises:
            OutcomePending: If it has not ended in time; it may still.
            UsageError: If it was not injected here.
        """
        return self._book.wait_for(packet_id, timeout_s)

    # -- state ---------------------------------------------------------------------------------

    @property
    def state(self) -> CascadeState:
        """The state as last looked at, twice a second once attached."""
        return self._machine.state

    def get_cascade_status(self) -> CascadeStatus:
        """Return state, systems and figures as of now; attaches at first use.

        Raises:
            BrokerUnavailable, ConfigurationError: If there is no cascade to look at.
        """
        if self._machine.state is CascadeState.SHUTDOWN:
            return self._status({}, None, TradingState.HALTED)
        observation = self._attached()
        systems = self._statuses()
        depth = observation.queue_depth()
        status = self._status(systems, depth, observation.control().trading_state)
        state = self._look(systems, status.metrics)
        return structs.replace(status, state=state)

    def on_state_change(self, listener: Callable[[CascadeState, CascadeState], Any]) -> None:
        """Have `listener(before, after)` called when the state changes, on the changing thread."""
        self._listeners.append(listener)

    def leave_emergency(self) -> CascadeState:
        """End the state EMERGENCY by hand; it comes back only after a recovery. Return the state.

        It lifts nothing that control has in force: no halt, no isolation.
        """
        with self._looking:
            self._machine.leave_emergency()
        return self.get_cascade_status().state

    def shutdown(self, timeout_s: float = 30.0) -> tuple[str, ...]:
        """Take no more flows, let those in flight end, and end all that runs here.

        Built-in workers of registered stages come back. The bus stays open.

        Args:
            timeout_s: How long flows in flight may take, seconds.

        Returns:
            The packet ids of flows that had not ended; none where all was drained.
        """
        attached = self._observation is not None
        unfinished = self._book.drain(timeout_s if attached else 0.0)
        with self._looking:
            before = self._machine.state
            self._machine.shut_down()
        for name in STAGES:
            if name in self._registered:
                self.unregister_marl_system(name)
        self._stopping.set()
        with self._lock:
            observation, self._observation = self._observation, None
            watch, self._watch = self._watch, None
        if watch is not None and watch is not threading.current_thread():
            watch.join()
        if observation is not None:
            observation.stop()
        if before is not CascadeState.SHUTDOWN:
            self._tell(before, CascadeState.SHUTDOWN)
        return unfinished

    # -- inside --------------------------------------------------------------------------------

    def _attached(self) -> Observation:
        with self._lock:
            if self._stopping.is_set():
                raise UsageError("Expected a manager that runs, was shut down")
            if self._observation is None:
                self._bus.connect()
                observation = Observation(self._bus, self._settings, self._book)
                observation.start()
                self._observation = observation
                self._watch = threading.Thread(
                    target=self._keep_looking, name="cascade-watch", daemon=True
                )
                self._watch.start()
            return self._observation

    def _handed_over(self, injection: Injection) -> "Future[RecordPosition]":
        return self._bus.publish_soon(
            injection.topic, injection.packet, key=injection.key, headers=injection.headers
        )

    def _refuse_second(self, system_id: str) -> None:
        if system_id in self._registered:
            raise UsageError(
                f"Expected each system once, was {system_id!r} again; unregister_marl_system first"
            )

    def _statuses(self) -> dict[str, SystemStatus]:
        observation = self._observation
        if observation is None:
            return {}
        with self._lock:
            here = dict(self._registered)
        return observation.systems(here)

    def _status(
        self, systems: dict[str, SystemStatus], depth: int | None, trading: TradingState
    ) -> CascadeStatus:
        observation = self._observation
        figures = observation.figures if observation is not None else None
        metrics = Observation.metrics(figures, systems, depth)
        return CascadeStatus(
            state=self._machine.state,
            systems=systems,
            metrics=metrics,
            flows_in_flight=self._book.in_flight,
            max_concurrent_flows=self._book.limit,
            trading_state=trading,
            warnings=self._warnings(systems),
        )

    def _warnings(self, systems: dict[str, SystemStatus]) -> tuple[str, ...]:
        found = [
            f"{each.system_id} is {each.status}: {each.reason}"
            for each in systems.values()
            if each.reason
        ]
        if (oldest_s := self._book.oldest_s()) > _LONG_S:
            found.append(f"a flow is open for {oldest_s:.0f} s")
        if self._observation is not None and self._observation.error is not None:
            found.append(f"outcomes cannot be read: {self._observation.error}")
        return tuple(found)

    def _look(self, systems: dict[str, SystemStatus], metrics: CascadeMetrics) -> CascadeState:
        observation = self._observation
        flowing = self._book.in_flight > 0 or (observation is not None and observation.flowing())
        with self._looking:
            before = self._machine.state
            after = self._machine.look(
                metrics.cascade_health_score, systems, flowing=flowing, now_s=time.monotonic()
            )
        if after is not before:
            self._tell(before, after)
            if CascadeState.EMERGENCY in (before, after):
                self._alert(before, after, metrics)
        return after

    def _keep_looking(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            try:
                systems = self._statuses()
                if systems and self._observation is not None:
                    figures = self._observation.figures
                    self._look(systems, Observation.metrics(figures, systems, None))
            except Exception:
                _logger.exception("looking at the cascade failed")

    def _tell(self, before: CascadeState, after: CascadeState) -> None:
        _logger.info("cascade_state before=%s after=%s", before, after)
        for listener in list(self._listeners):
            try:
                listener(before, after)
            except Exception:
                _logger.exception("state listener failed")

    def _alert(self, before: CascadeState, after: CascadeState, metrics: CascadeMetrics) -> None:
        begins = after is CascadeState.EMERGENCY
        now_us = self._clock.now_us()
        alert = Alert(
            id=f"cascade-state-{now_us}",
            level=PerformanceAlert.EMERGENCY if begins else PerformanceAlert.INFO,
            message=f"Cascade went from {before} to {after},"
            f" health score {metrics.cascade_health_score:.2f}",
            context=msgspec.json.encode(metrics).decode(),
            timestamp=now_us,
            acknowledged=False,
        )
        try:
            self._bus.publish_soon("cascade.alerts", alert, key=alert.id.encode())
        except PipelineError as error:
            _logger.warning("no alert of %s: %s", after, error)


def _checked(**values: Any) -> dict[str, Any]:
    """Return the values given, checked as settings are."""
    given = {name: value for name, value in values.items() if value is not None}
    checked = load_settings(**given)
    return {name: getattr(checked, name) for name in given}
