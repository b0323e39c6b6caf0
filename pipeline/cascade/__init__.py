"""The five components of the cascade: its public Python API, over the topics that the workers use.

    from pipeline.cascade import SuperpositionCascadeManager, SuperpositionType
    from pipeline.events import EventBus

Importing this opens no connection and loads no Faust; each name is loaded when it is first used.
`cascade_manager`, `coordination_engine`, `performance_monitor`, `validation_framework` and
`emergency_protocols` are made at first use, on one event bus, and attach to the cascade that runs:

    python -c "from pipeline.cascade import *; print(cascade_manager.get_cascade_status())"
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What follows in `_PLACES`, for type checkers and editors.
    from pipeline.cascade.coordination import MARLCoordinationEngine
    from pipeline.cascade.emergency import EmergencyCascadeProtocols
    from pipeline.cascade.manager import (
        CascadeMetrics,
        CascadeState,
        CascadeStatus,
        FlowOutcome,
        SuperpositionCascadeManager,
        SystemStatus,
        whole_round,
    )
    from pipeline.cascade.performance import (
        CascadePerformanceMonitor,
        CascadePerformanceReport,
        EvaluationMethod,
        MetricType,
        PacketTrace,
        PerformanceThreshold,
        RealTimeMetrics,
    )
    from pipeline.cascade.shared import (
        cascade_manager,
        coordination_engine,
        emergency_protocols,
        performance_monitor,
        validation_framework,
    )
    from pipeline.cascade.validation import CascadeValidationFramework
    from pipeline.coordination import (
        ConflictKind,
        ConflictStrategy,
        CoordinationState,
        SyncProtocol,
    )
    from pipeline.packets.events import (
        EmergencyLevel,
        EmergencyType,
        MessageType,
        PerformanceAlert,
        RecoveryAction,
        TradingState,
        ValidationLevel,
        ValidationType,
    )
    from pipeline.packets.models import Superposition
    from pipeline.packets.vocabulary import Action, OutcomeKind, SuperpositionType, Verdict
    from pipeline.rules import ValidationRule

_PLACES: dict[str, tuple[str, ...]] = {
    "pipeline.cascade.coordination": ("MARLCoordinationEngine",),
    "pipeline.cascade.emergency": ("EmergencyCascadeProtocols",),
    "pipeline.cascade.manager": (
        "CascadeMetrics",
        "CascadeState",
        "CascadeStatus",
        "FlowOutcome",
        "SuperpositionCascadeManager",
        "SystemStatus",
        "whole_round",
    ),
    "pipeline.cascade.performance": (
        "CascadePerformanceMonitor",
        "CascadePerformanceReport",
        "EvaluationMethod",
        "MetricType",
        "PacketTrace",
        "PerformanceThreshold",
        "RealTimeMetrics",
    ),
    "pipeline.cascade.shared": (
        "cascade_manager",
        "coordination_engine",
        "emergency_protocols",
        "performance_monitor",
        "validation_framework",
    ),
    "pipeline.cascade.validation": ("CascadeValidationFramework",),
    "pipeline.coordination": (
        "ConflictKind",
        "ConflictStrategy",
        "CoordinationState",
        "SyncProtocol",
    ),
    "pipeline.packets.events": (
        "EmergencyLevel",
        "EmergencyType",
        "MessageType",
        "PerformanceAlert",
        "RecoveryAction",
        "TradingState",
        "ValidationLevel",
        "ValidationType",
    ),
    "pipeline.packets.models": ("Superposition",),
    "pipeline.packets.vocabulary": ("Action", "OutcomeKind", "SuperpositionType", "Verdict"),
    "pipeline.rules": ("ValidationRule",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "Action",
    "CascadeMetrics",
    "CascadePerformanceMonitor",
    "CascadePerformanceReport",
    "CascadeState",
    "CascadeStatus",
    "CascadeValidationFramework",
    "ConflictKind",
    "ConflictStrategy",
    "CoordinationState",
    "EmergencyCascadeProtocols",
    "EmergencyLevel",
    "EmergencyType",
    "EvaluationMethod",
    "FlowOutcome",
    "MARLCoordinationEngine",
    "MessageType",
    "MetricType",
    "OutcomeKind",
    "PacketTrace",
    "PerformanceAlert",
    "PerformanceThreshold",
    "RealTimeMetrics",
    "RecoveryAction",
    "Superposition",
    "SuperpositionCascadeManager",
    "SuperpositionType",
    "SyncProtocol",
    "SystemStatus",
    "TradingState",
    "ValidationLevel",
    "ValidationRule",
    "ValidationType",
    "Verdict",
    "cascade_manager",
    "coordination_engine",
    "emergency_protocols",
    "performance_monitor",
    "validation_framework",
    "whole_round",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
