"""The closed list of reasons of the execution stage."""

from enum import StrEnum

__all__ = ["ExecutionReason"]


class ExecutionReason(StrEnum):
    """Why a flow has no orders, or other ones than asked for."""

    # Risk control: vetoes.
    DEADLINE_PASSED = "DEADLINE_PASSED"
    DIRECTION_MISMATCH = "DIRECTION_MISMATCH"  # envelope and signal disagree
    EMPTY_ENVELOPE = "EMPTY_ENVELOPE"
    FUTURE_EVENT = "FUTURE_EVENT"
    INVALID_ENVELOPE = "INVALID_ENVELOPE"  # stop and target not on their sides of the price
    MISSING_BAR = "MISSING_BAR"
    MISSING_REFERENCE_PRICE = "MISSING_REFERENCE_PRICE"
    NOT_APPROVED = "NOT_APPROVED"
    NOT_FINITE = "NOT_FINITE"
    STALE_EVENT = "STALE_EVENT"
    TRADING_HALTED = "TRADING_HALTED"
    TRADING_REDUCING = "TRADING_REDUCING"  # the order does not only reduce a position
    # Market conditions: the flow is held.
    NO_LIQUIDITY = "NO_LIQUIDITY"
    SLIPPAGE_TOO_HIGH = "SLIPPAGE_TOO_HIGH"
    WIDE_SPREAD = "WIDE_SPREAD"
    # Changes to the orders.
    MONITOR_THROTTLED = "MONITOR_THROTTLED"  # recent plans were dear, so slices shrink
    PARTICIPATION_CAP = "PARTICIPATION_CAP"  # more than the slices allowed can take
    SLICED = "SLICED"
    URGENT = "URGENT"
