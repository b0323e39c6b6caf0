"""One of each component for this process, made at first use, all on one event bus.

They are for a look at a cascade that runs: from the command line, a script, a notebook. A program
of its own makes its own components. Until something is asked of one, nothing connects.
"""

import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pipeline.cascade.coordination import MARLCoordinationEngine
    from pipeline.cascade.emergency import EmergencyCascadeProtocols
    from pipeline.cascade.manager import SuperpositionCascadeManager
    from pipeline.cascade.performance import CascadePerformanceMonitor
    from pipeline.cascade.validation import CascadeValidationFramework

__all__ = [
    "Lazy",
    "cascade_manager",
    "coordination_engine",
    "emergency_protocols",
    "performance_monitor",
    "validation_framework",
]


class Lazy:
    """Stands for an object until something is asked of it, and then is that object to all asking.

    Args:
        name: What it is called, for `repr`.
        make: Makes the object, once; where it raises, the next use tries again.
    """

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        object.__setattr__(self, "_lazy", (name, make, threading.RLock()))
        object.__setattr__(self, "_made", [])

    def __getattr__(self, name: str) -> Any:
        # Tools that look for special names must not make anything.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(_made(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_made(self), name, value)

    def __repr__(self) -> str:
        name = object.__getattribute__(self, "_lazy")[0]
        made = object.__getattribute__(self, "_made")
        return repr(made[0]) if made else f"<{name}, not used yet>"


def _made(lazy: Lazy) -> Any:
    _, make, lock = object.__getattribute__(lazy, "_lazy")
    made = object.__getattribute__(lazy, "_made")
    with lock:
        if not made:
            made.append(make())
        return made[0]


@cache
def _bus() -> Any:
    from pipeline.events import EventBus

    return EventBus()


def _component(module: str, name: str, **others: Lazy) -> Callable[[], Any]:
    def make() -> Any:
        component = getattr(import_module(f"pipeline.cascade.{module}"), name)
        return component(event_bus=_bus(), **{key: _made(other) for key, other in others.items()})

    return make


_manager = Lazy("cascade_manager", _component("manager", "SuperpositionCascadeManager"))
_engine = Lazy("coordination_engine", _component("coordination", "MARLCoordinationEngine"))
_monitor = Lazy("performance_monitor", _component("performance", "attached"))
_framework = Lazy("validation_framework", _component("validation", "CascadeValidationFramework"))
_protocols = Lazy(
    "emergency_protocols",
    _component(
        "emergency",
        "EmergencyCascadeProtocols",
        cascade_manager=_manager,
        coordination_engine=_engine,
        validation_framework=_framework,
    ),
)

cascade_manager = cast("SuperpositionCascadeManager", _manager)
coordination_engine = cast("MARLCoordinationEngine", _engine)
performance_monitor = cast("CascadePerformanceMonitor", _monitor)
validation_framework = cast("CascadeValidationFramework", _framework)
emergency_protocols = cast("EmergencyCascadeProtocols", _protocols)
