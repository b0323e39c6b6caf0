"""The risk monitor: drawdown, value at risk, exposure, margin, stress, liquidity, open flows."""

import math
from dataclasses import dataclass

from pipeline.policies.actions import FloatArray
from pipeline.policies.kernels import compiled_module
from pipeline.policies.risk.book import Exposure
from pipeline.policies.risk.reasons import RiskReason
from pipeline.policies.risk.settings import RiskSettings
from pipeline.policies.risk.views import DELAY, EMERGENCY_STOP, Bound, View, judge

__all__ = [
    "MONITOR",
    "Z_5_PERCENT",
    "Moments",
    "Order",
    "moments",
    "moments_of_arrays",
    "monitor",
    "value_at_risk",
]

MONITOR = "risk_monitor"
Z_5_PERCENT = 1.6448536269514722  # 95 % quantile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of the limits.

    Attributes:
        direction: 1 to buy, -1 to sell.
        price: Reference price.
        requested: Notional asked for, what closes included, currency.
        closing: Part of it that reduces the position, currency.
        least: Smallest notional worth an order, currency.
        stop_distance: Share of the price.
        average_volume: Of a bar, units.
        stress: Fast over slow volatility.
    """

    direction: int
    price: float
    requested: float
    closing: float
    least: float
    stop_distance: float
    average_volume: float
    stress: float

    @property
    def opening(self) -> float:
        """Part of the notional that adds exposure, currency."""
        return self.requested - self.closing


@dataclass(frozen=True, slots=True)
class Moments:
    """Second moments of one bar's profit, were all flows filled.

    Attributes:
        book: Variance of the book, currency squared.
        cross: Covariance of the book with one unit of notional of the order's symbol, currency.
        own: Variance of that unit.
    """

    book: float
    cross: float
    own: float


def moments(
    scaled: FloatArray, volatility: FloatArray, weights: FloatArray, position: int
) -> Moments:
    """Return the moments of a book from its history of scaled returns.

    With z the scaled returns and u = w sigma: book = mean((z u)^2), and so on, means over the
    steps around 0 (RiskMetrics). A symbol whose history is short or sparse has a mean square of z
    below 1; the missing part is added as if it were uncorrelated, so that risk that was not
    seen is not taken for none.

    Args:
        scaled: [steps, k], from `Market.history`.
        volatility: [k], sigma, of one bar.
        weights: [k], w, signed notional, currency.
        position: Column of the order's symbol.
    """
    rows = compiled_module("rows")
    if rows is None:
        return moments_of_arrays(scaled, volatility, weights, position)
    return Moments(*rows.moments(scaled, volatility, weights, position))


def moments_of_arrays(
    scaled: FloatArray, volatility: FloatArray, weights: FloatArray, position: int
) -> Moments:
    """Return `moments` by whole arrays: what the compiled code has to equal."""
    steps = len(scaled)
    profit = (scaled * (weights * volatility)).sum(axis=1)
    unit = scaled[:, position] * volatility[position]
    missing = 1.0 - (scaled * scaled).sum(axis=0) / steps
    missing = missing.clip(min=0.0) * volatility * volatility
    unseen = float(missing[position])
    return Moments(
        book=float((profit * profit).sum()) / steps + float((weights * weights * missing).sum()),
        cross=float((profit * unit).sum()) / steps + float(weights[position]) * unseen,
        own=float((unit * unit).sum()) / steps + unseen,
    )


def value_at_risk(variance: float) -> float:
    """Return the loss that one bar exceeds with 5 % probability: 1.645 standard deviations.

    Parametric, mean 0 (J.P. Morgan, "RiskMetrics Technical Document", 1996).
    """
    return Z_5_PERCENT * math.sqrt(max(0.0, variance))


def monitor(order: Order, exposure: Exposure, risk: Moments, settings: RiskSettings) -> View:
    """Return the monitor's view of an order.

    What reduces a position passes all limits but the net one, which it can break (closing the
    short side of a hedged book). Beyond the drawdown limit nothing else passes.
    """
    if exposure.orders >= settings.maximum_open_orders:
        return View(MONITOR, DELAY, 0.0, 1.0, (RiskReason.ORDERS_IN_FLIGHT,))
    if exposure.drawdown >= settings.drawdown_limit and order.closing < order.least:
        over = exposure.drawdown / settings.drawdown_limit - 1.0
        return View(MONITOR, EMERGENCY_STOP, 0.0, over, (RiskReason.DRAWDOWN_LIMIT,))
    bounds = [
        _drawdown(order, exposure.drawdown, settings),
        *_exposures(exposure, settings),
        (RiskReason.VALUE_AT_RISK, _value_at_risk_bound(order, exposure.equity, risk, settings)),
        *_market(order, settings),
    ]
    closable = [(reason, max(bound, order.closing)) for reason, bound in bounds]
    net = (RiskReason.NET_LIMIT, settings.maximum_net * exposure.equity - exposure.net)
    return judge(MONITOR, [*closable, net], order.requested, order.least)


def _drawdown(order: Order, drawdown: float, settings: RiskSettings) -> Bound:
    """Shrink what opens in a straight line from the warning (all of it) to the limit (nothing)."""
    if drawdown >= settings.drawdown_limit:
        return RiskReason.DRAWDOWN_LIMIT, order.closing
    span = settings.drawdown_limit - settings.drawdown_warning
    kept = min(1.0, (settings.drawdown_limit - drawdown) / span)
    return RiskReason.DRAWDOWN_WARNING, _kept(order, kept)


def _exposures(exposure: Exposure, settings: RiskSettings) -> list[Bound]:
    equity, toward = exposure.equity, exposure.toward
    margin_gross = settings.maximum_margin_use / settings.margin_rate
    return [
        (RiskReason.SYMBOL_LIMIT, settings.maximum_symbol * equity - toward),
        (RiskReason.GROSS_LIMIT, settings.maximum_gross * equity - exposure.others - toward),
        (RiskReason.MARGIN_LIMIT, margin_gross * equity - exposure.others - toward),
    ]


def _market(order: Order, settings: RiskSettings) -> list[Bound]:
    calm = order.stress <= settings.stress_ratio
    liquid = settings.maximum_volume_share * order.average_volume * order.price
    return [
        (
            RiskReason.STRESS,
            math.inf if calm else _kept(order, settings.stress_ratio / order.stress),
        ),
        (RiskReason.LIQUIDITY_LIMIT, liquid),
    ]


def _kept(order: Order, share: float) -> float:
    """Return the bound that leaves a share of what opens; exactly all of it for 1."""
    return math.inf if share >= 1.0 else order.closing + share * order.opening


def _value_at_risk_bound(
    order: Order, equity: float, risk: Moments, settings: RiskSettings
) -> float:
    """Return the largest x with book + 2 d cross x + own x^2 <= max(book, (limit / 1.645)^2).

    So a book over its limit takes what does not make it worse.
    """
    allowed = settings.maximum_value_at_risk * equity / Z_5_PERCENT
    slope = order.direction * risk.cross
    spare = max(0.0, allowed * allowed - risk.book)
    if risk.own <= 0.0:
        return math.inf
    return (math.sqrt(slope * slope + risk.own * spare) - slope) / risk.own
