"""The risk decision: views of four agents, the strictest verdict, the smallest size.

1. Position sizing says how much to open, and adds what closes a position on the other side.
2. Stop/target bounds the loss at the stop.
3. The risk monitor and the portfolio agent bound the rest.
4. The strictest verdict wins, the smallest bound holds; rounding to lots goes down.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.policies import ladder
from pipeline.policies.risk.book import QUANTUM, Exposure
from pipeline.policies.risk.monitor import Moments, Order, monitor, value_at_risk
from pipeline.policies.risk.portfolio import portfolio
from pipeline.policies.risk.reasons import RiskReason
from pipeline.policies.risk.settings import RiskSettings
from pipeline.policies.risk.views import APPROVE, REDUCE_SIZE, REJECT, VERDICTS, View, judge

__all__ = ["AGENTS", "Assessment", "Signal", "assess"]

SIZING = "position_sizing"
STOP = "stop_target"
AGENTS = (SIZING, STOP, "risk_monitor", "portfolio")

_ROUNDING = 1e-9  # lots; a whole lot must not be lost to rounding


@dataclass(frozen=True, slots=True)
class Signal:
    """An order that a signal asks for.

    Attributes:
        direction: 1 to buy, -1 to sell.
        price: Reference price, > 0.
        share: Position to open, share of equity, from `SizingBatch.share`.
        edge: Whether the Kelly stake is positive.
        volatile: Whether volatility and true range are known.
        stop_distance: Share of the price.
        average_volume: Of a bar, units.
        stress: Fast over slow volatility.
        reducing: Whether only what reduces the position may go.
    """

    direction: int
    price: float
    share: float
    edge: bool
    volatile: bool
    stop_distance: float
    average_volume: float
    stress: float
    reducing: bool = False


@dataclass(frozen=True, slots=True)
class Assessment:
    """The decision.

    Attributes:
        verdict: One of `VERDICTS`.
        quantity: Units, a multiple of the lot; 0 unless APPROVE or REDUCE_SIZE.
        reasons: Closed list; with APPROVE only why it closes without opening.
        score: 0 calm to 1 worst: the largest use of a limit.
        value_at_risk: Of the book before the order, currency.
        views: One per agent that had something to look at.
        reducing: Whether all of the quantity reduces the position, so that nothing opens even
            after other flows in flight are filled.
    """

    verdict: str
    quantity: float
    reasons: tuple[RiskReason, ...]
    score: float
    value_at_risk: float
    views: tuple[View, ...]
    reducing: bool = False


def assess(signal: Signal, exposure: Exposure, risk: Moments, settings: RiskSettings) -> Assessment:
    """Return the decision on a signal; equity must be positive.

    Limits hold with the order's whole notional counted at once, whatever part of it, or of other
    flows, is filled.
    """
    at_risk = value_at_risk(risk.book)
    sizing, order = _sized(signal, exposure, settings)
    if order is None:
        score = _score(exposure, at_risk, settings)
        return Assessment(REJECT, 0.0, sizing.reasons, score, at_risk, (sizing,))
    views = (
        sizing,
        _stop(order, exposure, settings),
        monitor(order, exposure, risk, settings),
        portfolio(order, exposure, risk, settings),
    )
    verdict = ladder.strictest(VERDICTS, (view.verdict for view in views))
    reasons = _unique(reason for view in views for reason in view.reasons)
    quantity = 0.0
    if verdict in (APPROVE, REDUCE_SIZE):
        quantity = _quantity(order, exposure, min(view.bound for view in views), settings)
        if quantity == 0.0:
            verdict = REJECT
            reasons = _unique((*reasons, RiskReason.SIZE_BELOW_MINIMUM))
    score = 1.0 if verdict == VERDICTS[-1] else _score(exposure, at_risk, settings)
    reducing = 0.0 < quantity <= exposure.closable * (1.0 + _ROUNDING)
    return Assessment(verdict, quantity, reasons, score, at_risk, views, reducing)


def _sized(signal: Signal, exposure: Exposure, settings: RiskSettings) -> tuple[View, Order | None]:
    closing = exposure.closable * signal.price
    opening = 0.0 if signal.reducing else signal.share * exposure.equity
    requested = closing + opening
    least = settings.minimum_notional
    if 0.0 < closing < least:
        least = closing  # the rest of a position may always be closed
    if requested < least or requested <= 0.0:
        return View(SIZING, REJECT, 0.0, 1.0 - requested / least, _unsized(signal)), None
    order = Order(
        direction=signal.direction,
        price=signal.price,
        requested=requested,
        closing=closing,
        least=least,
        stop_distance=signal.stop_distance,
        average_volume=signal.average_volume,
        stress=signal.stress,
    )
    reasons = () if opening > 0.0 else _unsized(signal)
    return View(SIZING, APPROVE, requested, 1.0 - least / requested, reasons), order


def _unsized(signal: Signal) -> tuple[RiskReason, ...]:
    if signal.reducing:
        return (RiskReason.TRADING_REDUCING,)
    if not signal.volatile:
        return (RiskReason.NO_VOLATILITY,)
    return (RiskReason.SIZE_BELOW_MINIMUM if signal.edge else RiskReason.NO_EDGE,)


def _stop(order: Order, exposure: Exposure, settings: RiskSettings) -> View:
    """Bound the loss of the whole position, were it stopped out; what closes always passes."""
    if order.stop_distance > settings.maximum_stop_distance:
        reason, bound = RiskReason.STOP_TOO_WIDE, 0.0
    elif order.stop_distance > 0.0:
        most = settings.maximum_stop_risk * exposure.equity / order.stop_distance
        reason, bound = RiskReason.STOP_RISK, most - exposure.toward
    else:
        reason, bound = RiskReason.STOP_RISK, math.inf
    return judge(STOP, [(reason, max(bound, order.closing))], order.requested, order.least)


def _quantity(order: Order, exposure: Exposure, bound: float, settings: RiskSettings) -> float:
    """Return the units that stay within `bound` once reserved; 0 if they are not worth an order.

    A reservation is rounded up to `QUANTUM`, which the bound must cover too.
    """
    lot = settings.lot_size
    closing = math.floor(exposure.closable / lot + _ROUNDING)
    lots = math.floor((bound - 2.0 * QUANTUM) / (order.price * lot))
    if bound >= order.closing:
        lots = max(lots, closing)
    if lots * lot * order.price >= settings.minimum_notional:
        return lots * lot
    # Too small to open anything, but the rest of a position may always be closed.
    return closing * lot if 0 < closing <= lots else 0.0


def _score(exposure: Exposure, at_risk: float, settings: RiskSettings) -> float:
    equity = exposure.equity
    uses = (
        exposure.drawdown / settings.drawdown_limit,
        at_risk / (settings.maximum_value_at_risk * equity),
        exposure.total / (settings.maximum_gross * equity),
        exposure.total * settings.margin_rate / (settings.maximum_margin_use * equity),
        exposure.toward / (settings.maximum_symbol * equity),
        exposure.net / (settings.maximum_net * equity),
    )
    return ladder.margin_of(max(uses))


def _unique(reasons: Iterable[RiskReason]) -> tuple[RiskReason, ...]:
    return tuple(dict.fromkeys(reasons))
