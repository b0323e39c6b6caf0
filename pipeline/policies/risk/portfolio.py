"""The portfolio agent: concentration, correlation with the book, number of positions."""

import math

from pipeline.policies.risk.book import Exposure
from pipeline.policies.risk.monitor import Moments, Order
from pipeline.policies.risk.reasons import RiskReason
from pipeline.policies.risk.settings import RiskSettings
from pipeline.policies.risk.views import Bound, View, judge

__all__ = ["PORTFOLIO", "correlation", "portfolio"]

PORTFOLIO = "portfolio"


def correlation(direction: int, weight: float, risk: Moments) -> float:
    """Return the correlation of an order with the rest of the book, in [-1, 1].

    The rest is the book without the order's symbol: with w its weight, cov(rest, s) = cross -
    w own and var(rest) = book - 2 w cov(rest, s) - w^2 own. 0 where either has no variance.

    Args:
        direction: 1 to buy, -1 to sell.
        weight: w, signed notional of the order's symbol in the book, currency.
        risk: Moments of the whole book.
    """
    shared = risk.cross - weight * risk.own
    rest = risk.book - 2.0 * weight * shared - weight * weight * risk.own
    # A rest that is small beside the book is what rounding left of none.
    if rest <= 1e-12 * risk.book or risk.own <= 0.0:
        return 0.0
    return max(-1.0, min(1.0, direction * shared / math.sqrt(rest * risk.own)))


def portfolio(order: Order, exposure: Exposure, risk: Moments, settings: RiskSettings) -> View:
    """Return the portfolio agent's view of an order.

    Concentration is the sum of squared shares of equity over the symbols, Herfindahl's index with
    equity for the total (Hirschman, "The Paternity of an Index", 1964): its bound solves
    others_squared + (toward + x)^2 = limit equity^2. What reduces a position always passes.
    """
    bounds = [
        _concentration(exposure, settings),
        _correlated(order, exposure, risk, settings),
        _count(exposure, settings),
    ]
    closable = [(reason, max(bound, order.closing)) for reason, bound in bounds]
    return judge(PORTFOLIO, closable, order.requested, order.least)


def _concentration(exposure: Exposure, settings: RiskSettings) -> Bound:
    square = settings.maximum_concentration * exposure.equity * exposure.equity
    side = math.sqrt(max(0.0, square - exposure.others_squared))
    return RiskReason.CONCENTRATION_LIMIT, side - exposure.toward


def _correlated(order: Order, exposure: Exposure, risk: Moments, settings: RiskSettings) -> Bound:
    small = exposure.others < settings.correlated_gross * exposure.equity
    if small or correlation(order.direction, exposure.weight, risk) <= settings.maximum_correlation:
        return RiskReason.CORRELATED_BOOK, math.inf
    kept = order.closing + settings.correlated_scale * order.opening
    return RiskReason.CORRELATED_BOOK, kept


def _count(exposure: Exposure, settings: RiskSettings) -> Bound:
    full = not exposure.held and exposure.positions >= settings.maximum_positions
    return RiskReason.POSITION_COUNT, 0.0 if full else math.inf
