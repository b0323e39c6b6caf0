"""The tactical decision: whether to act now and at which price, from the last 60 bars."""

from pipeline.policies.tactical.decide import (
    AGENTS,
    REASONS,
    ReasonCode,
    StrategicContext,
    TacticalBatch,
    decide,
)
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
