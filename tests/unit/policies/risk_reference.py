"""Plain loops that say again what the agents of the risk stage compute, one case at a time."""

import math
from collections.abc import Sequence

from pipeline.policies.risk.monitor import Moments, Order
from pipeline.policies.risk.settings import RiskSettings


def size_one(
    price: float,
    atr: float,
    probability: float,
    volatility: float,
    direction: int,
    high_volatility: bool,
    second_of_day: int,
    limits: RiskSettings,
) -> dict[str, float]:
    """Return stop, target and sizes of one signal."""
    away = limits.stop_multiple * atr
    stop = max(0.0, price - away if direction > 0 else price + away)
    reach = limits.target_multiple * atr
    target = max(0.0, price + reach if direction > 0 else price - reach)
    by_volatility = by_kelly = 0.0
    if price > 0 and atr > 0 and volatility > 0:
        by_volatility = min(limits.maximum_order, limits.target_bar_risk / volatility)
        won_per_lost = limits.target_multiple / limits.stop_multiple
        best = probability - (1 - probability) / won_per_lost
        stake = min(limits.kelly_cap, limits.kelly_fraction * best) if best > 0 else 0.0
        by_kelly = min(limits.maximum_order, stake / (away / price))
    share = min(by_volatility, by_kelly)
    if high_volatility:
        share *= limits.high_volatility_scale
    opened, closes = limits.session_open_s, limits.session_close_s
    just_open = opened <= second_of_day < opened + limits.edge_s
    nearly_closed = closes - limits.edge_s <= second_of_day < closes
    if just_open or nearly_closed:
        share *= limits.edge_scale
    return {
        "stop": stop,
        "target": target,
        "stop_distance": away / price,
        "volatility_share": by_volatility,
        "kelly_share": by_kelly,
        "share": share,
    }


def covariance(first: Sequence[float], second: Sequence[float], steps: int, same: bool) -> float:
    """Return mean(z_i z_j); at least 1 for one and the same symbol."""
    mean = sum(a * b for a, b in zip(first, second, strict=True)) / steps
    return max(1.0, mean) if same else mean


def moments_one(
    scaled: Sequence[Sequence[float]],
    volatility: Sequence[float],
    weights: Sequence[float],
    position: int,
) -> Moments:
    """Return the moments from the full covariance matrix, element by element."""
    steps, count = len(scaled), len(weights)
    columns = [[row[j] for row in scaled] for j in range(count)]
    sigma = [
        [
            covariance(columns[i], columns[j], steps, i == j) * volatility[i] * volatility[j]
            for j in range(count)
        ]
        for i in range(count)
    ]
    book = sum(weights[i] * weights[j] * sigma[i][j] for i in range(count) for j in range(count))
    cross = sum(weights[i] * sigma[i][position] for i in range(count))
    return Moments(book, cross, sigma[position][position])


def monitor_one(order: Order, exposure: object, risk: Moments, limits: RiskSettings) -> float:
    """Return the largest notional that the monitor's limits leave, by trying from below.

    Takes the order in 4,000 steps and returns the largest step that keeps every limit, or only
    closes; the drawdown and stress scales are applied to what opens.
    """
    best = 0.0
    for step in range(1, 4001):
        notional = order.requested * step / 4000
        closes = notional <= order.closing * (1 + 1e-12)
        if _net_holds(notional, exposure, limits) and (
            closes or _limits_hold(notional, order, exposure, risk, limits)
        ):
            best = notional
    return best


def _net_holds(notional: float, exposure: object, limits: RiskSettings) -> bool:
    return bool(exposure.net + notional <= limits.maximum_net * exposure.equity)  # type: ignore[attr-defined]  # any exposure


def _limits_hold(
    notional: float, order: Order, exposure: object, risk: Moments, limits: RiskSettings
) -> bool:
    held: float = exposure.toward + notional  # type: ignore[attr-defined]  # any exposure
    equity: float = exposure.equity  # type: ignore[attr-defined]  # the same
    others: float = exposure.others  # type: ignore[attr-defined]  # the same
    fall: float = exposure.drawdown  # type: ignore[attr-defined]  # the same
    signed = order.direction * notional
    variance = risk.book + 2 * signed * risk.cross + signed * signed * risk.own
    # At the bound itself the variance is what rounding makes of the limit.
    at_risk = 1.6448536269514722 * math.sqrt(max(0.0, variance)) * (1 - 1e-12)
    before = 1.6448536269514722 * math.sqrt(risk.book)
    opened = notional - order.closing
    slope = (limits.drawdown_limit - fall) / (limits.drawdown_limit - limits.drawdown_warning)
    calm = min(1.0, limits.stress_ratio / order.stress)
    return (
        held <= limits.maximum_symbol * equity
        and others + held <= limits.maximum_gross * equity
        and (others + held) * limits.margin_rate <= limits.maximum_margin_use * equity
        and at_risk <= max(before, limits.maximum_value_at_risk * equity)
        and notional <= limits.maximum_volume_share * order.average_volume * order.price
        and opened <= max(0.0, min(1.0, slope)) * (order.requested - order.closing)
        and opened <= calm * (order.requested - order.closing)
    )
