"""The execution decision: five agents, the strictest path, orders within the envelope.

1. Risk control looks once more at verdict, envelope, trading state and times.
2. Timing says how urgent it is, liquidity sourcing how much the market takes at which cost.
3. The execution monitor shrinks the slices where recent plans were dear.
4. Position fragmentation cuts the quantity into slices.
"""

import math
from dataclasses import dataclass

from pipeline.policies import ladder
from pipeline.policies.execution.control import CONTROL, Mandate, control
from pipeline.policies.execution.fragmentation import FRAGMENTATION, Slices, fragment
from pipeline.policies.execution.liquidity import (
    LIQUIDITY,
    expected_slippage,
    expected_volume,
    liquidity,
)
from pipeline.policies.execution.monitor import MONITOR, SymbolState, monitor
from pipeline.policies.execution.reasons import ExecutionReason
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.execution.timing import TIMING, timing_view
from pipeline.policies.execution.views import EXECUTE, HOLD, PATHS, REJECT, View

__all__ = ["AGENTS", "Conditions", "Plan", "Slice", "limit_price", "plan"]

AGENTS = (TIMING, LIQUIDITY, FRAGMENTATION, CONTROL, MONITOR)


@dataclass(frozen=True, slots=True)
class Conditions:
    """One row of `TimingBatch` as plain values, and the volatility.

    Attributes:
        urgency: 0 patient to 1 at once.
        market: Whether to send MARKET orders.
        window_ms: Over which slices are spread.
        half_spread: Share of the price.
        volatility: Of one bar.
    """

    urgency: float
    market: bool
    window_ms: int
    half_spread: float
    volatility: float


@dataclass(frozen=True, slots=True)
class Slice:
    """One order: units, limit price, and milliseconds after the plan was made."""

    quantity: float
    limit_price: float
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision.

    Attributes:
        path: One of `PATHS`; there are slices for EXECUTE and SLICE, and for those alone.
        slices: First to last.
        participation: All slices, share of the volume expected.
        slippage: Expected for the largest slice, share of the price.
        reasons: Closed list.
        views: One per agent that had something to look at.
    """

    path: str
    slices: tuple[Slice, ...]
    participation: float
    slippage: float
    reasons: tuple[ExecutionReason, ...]
    views: tuple[View, ...]


def plan(
    mandate: Mandate, conditions: Conditions, symbol: SymbolState, settings: ExecutionSettings
) -> Plan:
    """Return the plan for one flow.

    The slices' quantities are multiples of the lot and never sum to more than the envelope's.
    """
    veto = control(mandate, settings)
    if veto.path == REJECT:
        return _none(REJECT, veto.reasons, (veto,))
    volume = expected_volume(mandate.volume, symbol.volume)
    watch, scale = monitor(symbol, settings)
    sourced = liquidity(volume, conditions.half_spread, symbol, settings)
    largest = min(
        settings.maximum_participation * scale * volume,
        settings.maximum_child_notional / mandate.price,
    )
    slices = fragment(mandate.quantity, largest, conditions.urgency, settings)
    cost = _cost(slices, volume, conditions, settings)
    if sourced.path == EXECUTE and slices.lots and cost > settings.maximum_slippage:
        over = cost / settings.maximum_slippage - 1.0
        sourced = View(LIQUIDITY, HOLD, over, (ExecutionReason.SLIPPAGE_TOO_HIGH,))
    views = (timing_view(conditions.urgency, settings), sourced, slices.view, veto, watch)
    path = ladder.strictest(PATHS, (view.path for view in views))
    reasons = tuple(dict.fromkeys(reason for view in views for reason in view.reasons))
    if path == HOLD:
        return _none(path, reasons, views)
    orders = _orders(mandate, conditions, slices, cost, settings)
    participation = slices.total * settings.lot_size / volume
    return Plan(path, orders, participation, cost, reasons, views)


def limit_price(
    price: float, direction: int, slippage: float, settings: ExecutionSettings
) -> float:
    """Return the worst price to trade at: p (1 + d t), t a multiple of the expected slippage.

    Rounded to the tick away from `price`, so that rounding does not keep an order from trading.

    Args:
        price: p, reference price.
        direction: d, 1 to buy, -1 to sell.
        slippage: Expected, share of the price.
        settings: Multiple, bounds of t, tick.
    """
    wanted = settings.tolerance_multiple * slippage
    tolerance = min(settings.maximum_tolerance, max(settings.minimum_tolerance, wanted))
    limit = price * (1.0 + direction * tolerance)
    if settings.tick_size <= 0.0:
        return limit
    steps = limit / settings.tick_size
    whole = math.ceil(steps) if direction > 0 else math.floor(steps)
    # A price below one tick has no tick to round to.
    return round(whole * settings.tick_size, 10) if whole > 0 else limit


def _cost(
    slices: Slices, volume: float, conditions: Conditions, settings: ExecutionSettings
) -> float:
    largest = max(slices.lots, default=0) * settings.lot_size
    return expected_slippage(
        largest, volume, conditions.volatility, conditions.half_spread, settings
    )


def _orders(
    mandate: Mandate,
    conditions: Conditions,
    slices: Slices,
    cost: float,
    settings: ExecutionSettings,
) -> tuple[Slice, ...]:
    limit = limit_price(mandate.price, mandate.direction, cost, settings)
    gap_ms = conditions.window_ms // len(slices.lots)
    return tuple(
        Slice(lots * settings.lot_size, limit, index * gap_ms)
        for index, lots in enumerate(slices.lots)
    )


def _none(path: str, reasons: tuple[ExecutionReason, ...], views: tuple[View, ...]) -> Plan:
    return Plan(path, (), 0.0, 0.0, reasons, views)
