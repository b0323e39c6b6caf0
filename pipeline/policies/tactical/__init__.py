"""The tactical decision: whether to act now and at which price, from the last 60 bars."""

from pipeline.policies.tactical.batch import (
    AGENTS,
    REASONS,
    ReasonCode,
    StrategicContext,
    TacticalBatch,
)
from pipeline.policies.tactical.decide import decide
from pipeline.policies.tactical.settings import TacticalSettings

__all__ = [
    "AGENTS",
    "REASONS",
    "ReasonCode",
    "StrategicContext",
    "TacticalBatch",
    "TacticalSettings",
    "decide",
]
