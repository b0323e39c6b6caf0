"""The cascade that the demo shows: workers in processes, and the five components beside them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from pipeline.cascade import (
    CascadePerformanceMonitor,
    CascadeValidationFramework,
    EmergencyCascadeProtocols,
    FlowOutcome,
    MARLCoordinationEngine,
    SuperpositionCascadeManager,
)
from pipeline.events import EventBus
from pipeline.packets.models import TacticalSignal
from pipeline.run import worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings

__all__ = ["SYMBOL", "Running", "running_cascade"]

SYMBOL = "DEMO"
_OWNED_S = 90.0  # three seconds on an idle machine
_DRAIN_S = 5.0
# The demo shows what components do, not how fast a machine is whose broker just came up: a flow
# that expires shows little. What it took stands in the performance part, against the real target.
_PATIENT_MS = 2000


@dataclass
class Running:
    """A running cascade.

    Attributes:
        settings: Broker, namespace and limits.
        workers: Its worker processes.
        bus: Its event bus.
        manager: The manager.
        engine: The coordination engine.
        monitor: The performance monitor.
        framework: The validation framework.
        protocols: The emergency protocols.
        broken: Whether the part that runs now is to be spoiled.
        injected: Bars injected so far.
        outcomes: Outcomes seen so far.
        packets: What the tactical system emitted so far.
    """

    settings: Settings
    workers: LocalRun
    bus: EventBus
    manager: SuperpositionCascadeManager
    engine: MARLCoordinationEngine
    monitor: CascadePerformanceMonitor
    framework: CascadeValidationFramework
    protocols: EmergencyCascadeProtocols
    broken: bool = False
    injected: int = 0
    outcomes: list[FlowOutcome] = field(default_factory=list)
    packets: list[TacticalSignal] = field(default_factory=list)


@contextmanager
def running_cascade(settings: Settings, say: Callable[[str], None]) -> Iterator[Running]:
    """Run the workers and make the components; all has ended when the block ends.

    Args:
        settings: Broker and namespace, its topics made and trading allowed.
        say: Told in a sentence what is done.
    """
    settings = settings.model_copy(
        update={"cascade_timeout_ms": max(_PATIENT_MS, settings.cascade_timeout_ms)}
    )
    with ExitStack() as stack:
        specs = worker_specs(paired=True, log_level=settings.log_level)
        say(f"Starting {len(specs)} workers in namespace {settings.namespace}.")
        workers = stack.enter_context(LocalRun(settings, specs))
        bus = stack.enter_context(EventBus(settings=settings))
        manager = SuperpositionCascadeManager(event_bus=bus)
        stack.callback(manager.shutdown, _DRAIN_S)
        engine = stack.enter_context(MARLCoordinationEngine(event_bus=bus))
        monitor = CascadePerformanceMonitor(event_bus=bus)
        stack.callback(monitor.close)
        framework = CascadeValidationFramework(event_bus=bus)
        stack.callback(framework.close)
        protocols = EmergencyCascadeProtocols(
            event_bus=bus,
            cascade_manager=manager,
            coordination_engine=engine,
            validation_framework=framework,
        )
        stack.callback(protocols.close)
        workers.wait_owned(_OWNED_S)
        monitor.ready()
        yield Running(settings, workers, bus, manager, engine, monitor, framework, protocols)
