"""Registering a system: the worker, the callback behind it, and what it emits, as one thing."""

from collections.abc import Callable
from typing import Any

from pipeline import __version__
from pipeline.cascade.manager.asking import Callback
from pipeline.cascade.manager.embedded import EmbeddedWorker
from pipeline.cascade.manager.emissions import EmissionReader, ObservedHost
from pipeline.cascade.manager.following import partitions_of
from pipeline.cascade.manager.registered import RegisteredLogic
from pipeline.coordination.vocabulary import Role
from pipeline.errors import UsageError
from pipeline.events import EventBus
from pipeline.settings import Settings
from pipeline.stages.contract import StageLogic
from pipeline.stages.routes import ROUTES
from pipeline.transport.clients import log_consumer

__all__ = ["Registration", "built_in_logic"]

_EMITTED_S = 10.0


def built_in_logic(stage: str, settings: Settings) -> StageLogic[Any]:
    """Return the built-in decisions of a stage."""
    if stage == "strategic":
        from pipeline.stages.strategic_logic import StrategicLogic

        return StrategicLogic()
    if stage == "tactical":
        from pipeline.stages.tactical_logic import TacticalLogic

        return TacticalLogic()
    if stage == "risk":
        from pipeline.stages.risk_logic import RiskLogic

        return RiskLogic.of(settings)
    if stage == "execution":
        from pipeline.stages.execution_logic import ExecutionLogic

        return ExecutionLogic()
    names = ", ".join(ROUTES)
    raise UsageError(f"Expected a system of {names}, was {stage!r}")


class Registration:
    """A system of this process.

    Args:
        bus: Connection to Kafka.
        settings: Settings of its worker, with a broker.
        system_id: Which stage.
        system_name: Its name, for people.
        input_callback: Its policy; None for the built-in one.
        output_callback: Told of each packet that it emitted; None for nobody.

    Raises:
        UsageError: If there is no such stage.
        BrokerUnavailable, ConfigurationError: If its log cannot be read.
    """

    def __init__(
        self,
        bus: EventBus,
        settings: Settings,
        system_id: str,
        system_name: str,
        input_callback: Callback | None,
        output_callback: Callable[[Any], Any] | None,
    ) -> None:
        self.system_id = system_id
        self.system_name = system_name
        self._bus = bus
        self._settings = settings
        self._logic = built_in_logic(system_id, settings)
        log = ROUTES[system_id].spec.log
        partitions = _partition_count(settings, log)
        if input_callback is not None:
            self._logic = RegisteredLogic(
                self._logic,
                input_callback,
                name=f"registered.{getattr(input_callback, '__qualname__', system_id)}",
                version=str(getattr(input_callback, "__version__", __version__)),
                timeout_s=settings.scaled_budget_ms(system_id) / 1000,
            )
        self._emitted = (
            EmissionReader(settings, log, output_callback) if output_callback is not None else None
        )
        self.worker = EmbeddedWorker(system_id, self._app, partitions)

    def start(self) -> None:
        """Start reading what it emits, then the worker."""
        if self._emitted is not None:
            self._emitted.start()
        self.worker.start()

    def stop(self) -> None:
        """End the worker, and hand over what it emitted until then."""
        self.worker.stop()
        if isinstance(self._logic, RegisteredLogic):
            self._logic.close()
        if self._emitted is not None:
            self._emitted.stop(_EMITTED_S)

    def _app(self) -> Any:
        # Faust takes a second to import; who only looks at a cascade does without.
        from pipeline.stages.app import stage_app

        app = stage_app(
            self.system_id,
            self._logic,
            self._settings,
            role=Role.REGISTERED,
            bus=self._bus,
            make_host=ObservedHost,
        )
        app.peer.system.name = self.system_name
        if self._emitted is not None and isinstance(app.host, ObservedHost):
            self._emitted.add(app.host.emissions)
        return app


def _partition_count(settings: Settings, log: str) -> int:
    consumer = log_consumer(settings, "registration")
    try:
        return len(partitions_of(consumer, settings.topic(log)))
    finally:
        consumer.close()
