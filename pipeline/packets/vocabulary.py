"""The enumerations of the packets, spelled as in `schemas/`."""

from enum import IntEnum, StrEnum

__all__ = [
    "Action",
    "FlowState",
    "OrderEventKind",
    "OrderType",
    "OutcomeKind",
    "Priority",
    "Regime",
    "Side",
    "SuperpositionType",
    "Verdict",
]


class SuperpositionType(StrEnum):
    """What a packet carries."""

    STRATEGIC_SIGNAL = "STRATEGIC_SIGNAL"
    TACTICAL_SIGNAL = "TACTICAL_SIGNAL"
    RISK_ASSESSMENT = "RISK_ASSESSMENT"
    EXECUTION_PLAN = "EXECUTION_PLAN"
    CONTEXT_UPDATE = "CONTEXT_UPDATE"
    EMERGENCY_SIGNAL = "EMERGENCY_SIGNAL"


class OutcomeKind(StrEnum):
    """How a flow ended; every accepted packet has exactly one."""

    EXECUTED = "executed"
    HELD = "held"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SHED = "shed"
    DEAD_LETTERED = "dead_lettered"


class Action(StrEnum):
    """Actions of the strategic and tactical stages."""

    BUY = "BUY"
    HOLD = "HOLD"
    SELL = "SELL"


class Regime(StrEnum):
    """Volatility and trend state of a symbol."""

    WARMUP = "WARMUP"
    TREND_UP = "TREND_UP"
    TREND_DOWN = "TREND_DOWN"
    RANGE = "RANGE"
    HIGH_VOLATILITY = "HIGH_VOLATILITY"


class Verdict(StrEnum):
    """Decision of the risk stage."""

    APPROVE = "APPROVE"
    REDUCE_SIZE = "REDUCE_SIZE"
    DELAY = "DELAY"
    REJECT = "REJECT"
    EMERGENCY_STOP = "EMERGENCY_STOP"


class Side(StrEnum):
    """Side of an order; NONE where there is no order."""

    BUY = "BUY"
    SELL = "SELL"
    NONE = "NONE"


class OrderType(StrEnum):
    """Type of a child order."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"


class OrderEventKind(StrEnum):
    """What happened to a child order or, where client_order_id is empty, to its flow."""

    SUBMITTING = "SUBMITTING"
    FILLED = "FILLED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    HALTED = "HALTED"
    DEAD_LETTERED = "DEAD_LETTERED"


class FlowState(StrEnum):
    """State of an approved flow at the gateway; all but OPEN are final."""

    OPEN = "OPEN"
    FILLED = "FILLED"
    PARTIAL = "PARTIAL"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    HALTED = "HALTED"
    DEAD_LETTERED = "DEAD_LETTERED"


class Priority(IntEnum):
    """Priority of a packet; higher goes first."""

    NORMAL = 1
    HIGH = 2
    EMERGENCY = 3
