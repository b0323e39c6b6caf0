"""The execution decision: which orders carry out what risk let through."""

from pipeline.policies.execution.control import Mandate, control
from pipeline.policies.execution.decision import (
    AGENTS,
    Conditions,
    Plan,
    Slice,
    limit_price,
    plan,
)
from pipeline.policies.execution.fragmentation import fragment, schedule_weights, split_lots
from pipeline.policies.execution.liquidity import expected_slippage, impact, liquidity
from pipeline.policies.execution.monitor import ExecutionState, SymbolState, monitor
from pipeline.policies.execution.reasons import ExecutionReason
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.execution.timing import TimingBatch, half_spread, schedule, urgency
from pipeline.policies.execution.views import PATHS, View

__all__ = [
    "AGENTS",
    "PATHS",
    "Conditions",
    "ExecutionReason",
    "ExecutionSettings",
    "ExecutionState",
    "Mandate",
    "Plan",
    "Slice",
    "SymbolState",
    "TimingBatch",
    "View",
    "control",
    "expected_slippage",
    "fragment",
    "half_spread",
    "impact",
    "limit_price",
    "liquidity",
    "monitor",
    "plan",
    "schedule",
    "schedule_weights",
    "split_lots",
    "urgency",
]
