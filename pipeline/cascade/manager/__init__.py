"""SuperpositionCascadeManager: starts flows, watches them end, and embeds systems in this process.

- `manager`: the component.
- `injecting`, `flows`: from what is injected to how it ended.
- `asking`, `decisions`, `registered`: a user's callback as the policy of a stage.
- `embedded`, `emissions`: its worker in this process, and what that emitted.
- `health`, `systems`, `queues`: the state of the cascade.
"""

from pipeline.cascade.manager.asking import whole_round
from pipeline.cascade.manager.flows import FlowOutcome
from pipeline.cascade.manager.health import (
    CascadeMetrics,
    CascadeState,
    SystemHealth,
    SystemStatus,
)
from pipeline.cascade.manager.manager import CascadeStatus, SuperpositionCascadeManager

__all__ = [
    "CascadeMetrics",
    "CascadeState",
    "CascadeStatus",
    "FlowOutcome",
    "SuperpositionCascadeManager",
    "SystemHealth",
    "SystemStatus",
    "whole_round",
]
