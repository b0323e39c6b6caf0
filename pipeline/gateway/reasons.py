"""The closed list of reasons that the gateway itself puts on an order event."""

from enum import StrEnum

__all__ = ["GatewayReason"]


class GatewayReason(StrEnum):
    """Why the gateway did not send a child order, or ended a flow.

    Reasons of a venue stand beside them as the venue gave them.
    """

    NOT_APPROVED = "NOT_APPROVED"
    ABOVE_ENVELOPE = "ABOVE_ENVELOPE"
    SIDE_MISMATCH = "SIDE_MISMATCH"
    INVALID_QUANTITY = "INVALID_QUANTITY"
    INVALID_PRICE = "INVALID_PRICE"
    NO_REFERENCE_PRICE = "NO_REFERENCE_PRICE"
    FOREIGN_ORDER_ID = "FOREIGN_ORDER_ID"
    DUPLICATE_ORDER_ID = "DUPLICATE_ORDER_ID"
    NO_ORDERS = "NO_ORDERS"
    NOT_EXECUTED = "NOT_EXECUTED"
    UNSIGNED = "UNSIGNED"
    SANDBOX = "SANDBOX"
    TRADING_HALTED = "TRADING_HALTED"
    TRADING_REDUCING = "TRADING_REDUCING"
    ISOLATED = "ISOLATED"
    RECONCILIATION_BREAK = "RECONCILIATION_BREAK"
    DEADLINE_PASSED = "DEADLINE_PASSED"
