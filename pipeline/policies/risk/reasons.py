"""The closed list of reasons of the risk stage, and what is recommended for each."""

from collections.abc import Iterable
from enum import StrEnum

__all__ = ["Recommendation", "RiskReason", "recommend"]


class RiskReason(StrEnum):
    """Why an order was reduced, delayed or refused."""

    # Gates: something that is needed is missing or wrong, so the answer is no.
    DEADLINE_PASSED = "DEADLINE_PASSED"
    DUPLICATE_FLOW = "DUPLICATE_FLOW"  # this flow was approved before
    EQUITY_EXHAUSTED = "EQUITY_EXHAUSTED"
    FUTURE_EVENT = "FUTURE_EVENT"  # bar or acceptance ahead of the clock
    MISSING_REFERENCE_PRICE = "MISSING_REFERENCE_PRICE"
    NO_DIRECTION = "NO_DIRECTION"  # neither BUY nor SELL
    NOT_FINITE = "NOT_FINITE"
    PRICE_OUT_OF_BAND = "PRICE_OUT_OF_BAND"  # entry too far from the bar's close
    STALE_ACCEPTANCE = "STALE_ACCEPTANCE"
    STALE_EVENT = "STALE_EVENT"
    SUPERSEDED = "SUPERSEDED"  # a newer bar of the symbol is known
    TRADING_HALTED = "TRADING_HALTED"
    TRADING_REDUCING = "TRADING_REDUCING"  # only what reduces a position may go
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    # Throttle.
    REPEATED_ORDERS = "REPEATED_ORDERS"  # this one trips it
    THROTTLE_TRIPPED = "THROTTLE_TRIPPED"  # tripped before, until somebody resets it
    # Position sizing.
    NO_EDGE = "NO_EDGE"
    NO_VOLATILITY = "NO_VOLATILITY"
    SIZE_BELOW_MINIMUM = "SIZE_BELOW_MINIMUM"
    # Stop and target.
    STOP_RISK = "STOP_RISK"
    STOP_TOO_WIDE = "STOP_TOO_WIDE"
    # Risk monitor.
    DRAWDOWN_LIMIT = "DRAWDOWN_LIMIT"
    DRAWDOWN_WARNING = "DRAWDOWN_WARNING"
    GROSS_LIMIT = "GROSS_LIMIT"
    LIQUIDITY_LIMIT = "LIQUIDITY_LIMIT"
    MARGIN_LIMIT = "MARGIN_LIMIT"
    NET_LIMIT = "NET_LIMIT"
    ORDERS_IN_FLIGHT = "ORDERS_IN_FLIGHT"
    STRESS = "STRESS"
    SYMBOL_LIMIT = "SYMBOL_LIMIT"
    VALUE_AT_RISK = "VALUE_AT_RISK"
    # Portfolio.
    CONCENTRATION_LIMIT = "CONCENTRATION_LIMIT"
    CORRELATED_BOOK = "CORRELATED_BOOK"
    POSITION_COUNT = "POSITION_COUNT"


class Recommendation(StrEnum):
    """What a person, or a later order, can do about a reason."""

    CHECK_CONFIGURATION = "CHECK_CONFIGURATION"
    DIVERSIFY = "DIVERSIFY"
    REDUCE_EXPOSURE = "REDUCE_EXPOSURE"
    REFRESH_DATA = "REFRESH_DATA"
    RESET_THROTTLE = "RESET_THROTTLE"
    RESUME_TRADING = "RESUME_TRADING"
    STOP_TRADING = "STOP_TRADING"
    WAIT_FOR_FILLS = "WAIT_FOR_FILLS"
    WAIT_FOR_SIGNAL = "WAIT_FOR_SIGNAL"


_ADVICE: dict[Recommendation, tuple[RiskReason, ...]] = {
    Recommendation.CHECK_CONFIGURATION: (
        RiskReason.UNKNOWN_ACCOUNT,
        RiskReason.UNKNOWN_INSTRUMENT,
        RiskReason.FUTURE_EVENT,
    ),
    Recommendation.DIVERSIFY: (
        RiskReason.CONCENTRATION_LIMIT,
        RiskReason.CORRELATED_BOOK,
        RiskReason.SYMBOL_LIMIT,
    ),
    Recommendation.REDUCE_EXPOSURE: (
        RiskReason.DRAWDOWN_WARNING,
        RiskReason.GROSS_LIMIT,
        RiskReason.LIQUIDITY_LIMIT,
        RiskReason.MARGIN_LIMIT,
        RiskReason.NET_LIMIT,
        RiskReason.POSITION_COUNT,
        RiskReason.STOP_RISK,
        RiskReason.STRESS,
        RiskReason.VALUE_AT_RISK,
    ),
    Recommendation.REFRESH_DATA: (
        RiskReason.PRICE_OUT_OF_BAND,
        RiskReason.DEADLINE_PASSED,
        RiskReason.DUPLICATE_FLOW,
        RiskReason.MISSING_REFERENCE_PRICE,
        RiskReason.NOT_FINITE,
        RiskReason.STALE_ACCEPTANCE,
        RiskReason.STALE_EVENT,
        RiskReason.SUPERSEDED,
    ),
    Recommendation.RESET_THROTTLE: (RiskReason.REPEATED_ORDERS, RiskReason.THROTTLE_TRIPPED),
    Recommendation.RESUME_TRADING: (RiskReason.TRADING_HALTED, RiskReason.TRADING_REDUCING),
    Recommendation.STOP_TRADING: (RiskReason.DRAWDOWN_LIMIT, RiskReason.EQUITY_EXHAUSTED),
    Recommendation.WAIT_FOR_FILLS: (RiskReason.ORDERS_IN_FLIGHT,),
    Recommendation.WAIT_FOR_SIGNAL: (
        RiskReason.NO_DIRECTION,
        RiskReason.NO_EDGE,
        RiskReason.NO_VOLATILITY,
        RiskReason.SIZE_BELOW_MINIMUM,
        RiskReason.STOP_TOO_WIDE,
    ),
}
_FOR = {reason: advice for advice, reasons in _ADVICE.items() for reason in reasons}


def recommend(reasons: Iterable[RiskReason]) -> tuple[Recommendation, ...]:
    """Return the recommendations for `reasons`, each once, in alphabetical order."""
    return tuple(sorted({_FOR[reason] for reason in reasons}))
