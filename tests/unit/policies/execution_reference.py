"""Plain loops that say again what the agents of the execution stage compute, one case at a time."""

import math

from pipeline.policies.execution import ExecutionSettings


def timing_one(
    bar: tuple[float, float, float],
    confidence: float,
    volatility: float,
    clock: tuple[int, int, int],
    settings: ExecutionSettings,
) -> tuple[float, bool, int, float]:
    """Return urgency, whether to send MARKET orders, window and half spread of one plan."""
    high, low, close = bar
    accepted, deadline, now = clock
    total = deadline - accepted
    used = 1.0 if total <= 0 and now > accepted else (now - accepted) / max(1, total)
    used = max(0.0, min(1.0, used))
    urgent = settings.confidence_weight * confidence + settings.budget_weight * used
    urgent += settings.volatility_weight * volatility / (volatility + settings.reference_volatility)
    urgent = max(0.0, min(1.0, urgent))
    left_ms = (deadline - now) // 1000 - settings.reserve_ms
    window = int(settings.delay_share * (1.0 - urgent) * left_ms) if left_ms > 0 else 0
    spread = settings.spread_share * (high - low) / close
    return (
        urgent,
        urgent >= settings.market_urgency,
        window,
        max(spread, settings.minimum_spread) / 2,
    )


def weights_one(count: int, aversion: float) -> list[float]:
    """Return Almgren and Chriss' shares by hyperbolic functions, as the paper writes them."""
    if aversion == 0.0:
        return [1.0 / count] * count
    kappa_tau = math.acosh(1.0 + aversion / 2.0)
    ratio = 2.0 * math.sinh(kappa_tau / 2.0) / math.sinh(kappa_tau * count)
    return [ratio * math.cosh(kappa_tau * (count - j + 0.5)) for j in range(1, count + 1)]


def slippage_one(
    quantity: float, volume: float, volatility: float, half: float, settings: ExecutionSettings
) -> float:
    """Return half the spread and the square-root impact."""
    return float(half + settings.impact_coefficient * volatility * (quantity / volume) ** 0.5)


def split_one(lots: int, weights: list[float], most: int) -> list[int]:
    """Share lots out one at a time: the rounded-down shares first, the rest from the front."""
    shares = [min(most, int(lots * weight)) for weight in weights]
    while sum(shares) < lots:
        for index, share in enumerate(shares):
            if share < most:
                shares[index] += 1
                break
    return [share for share in shares if share > 0]
