"""Timing, and the spread a bar lets expect: what needs no memory, for a whole round at once.

Only operations that IEEE 754 rounds exactly, element by element, so that a row's result is the
same to the last bit in whatever round it comes.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.policies.actions import BoolArray, FloatArray, IntArray
from pipeline.policies.execution.reasons import ExecutionReason
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.execution.views import EXECUTE, View

__all__ = [
    "TIMING",
    "TimingBatch",
    "expected_half_spread",
    "half_spread",
    "schedule",
    "timing_view",
    "urgency",
]

TIMING = "timing"


@dataclass(frozen=True, slots=True)
class TimingBatch:
    """When and how to send, one row per plan.

    Attributes:
        urgency: [n], 0 patient to 1 at once.
        market: [n], whether to send MARKET orders.
        window_ms: [n] int64, over which slices are spread; 0 where there is no time left.
        half_spread: [n], share of the price.
    """

    urgency: FloatArray
    market: BoolArray
    window_ms: IntArray
    half_spread: FloatArray


def urgency(
    confidence: FloatArray, used: FloatArray, volatility: FloatArray, settings: ExecutionSettings
) -> FloatArray:
    """Return how urgent it is to send, in [0, 1].

    u = w_c confidence + w_b used + w_v sigma / (sigma + sigma_0): a sure signal decays, a budget
    runs out, and waiting costs the more the more prices move (Almgren and Chriss, "Optimal
    Execution of Portfolio Transactions", 2000, for the trade-off).

    Args:
        confidence: [n], of the signal, in [0, 1].
        used: [n], share of the time budget that is gone.
        volatility: [n], sigma, of one bar.
        settings: Weights and sigma_0.
    """
    moving = volatility / (volatility + settings.reference_volatility)
    total = (
        settings.confidence_weight * confidence
        + settings.budget_weight * np.minimum(np.maximum(used, 0.0), 1.0)
        + settings.volatility_weight * moving
    )
    return np.minimum(np.maximum(total, 0.0), 1.0)


def half_spread(
    high: FloatArray, low: FloatArray, close: FloatArray, settings: ExecutionSettings
) -> FloatArray:
    """Return half the spread that a bar's range lets expect, share of the price.

    s = max(least, share (high - low) / close): highs are mostly buys and lows mostly sales, so
    the range holds the spread (Corwin and Schultz, "A Simple Way to Estimate Bid-Ask Spreads from
    Daily High and Low Prices", 2012); a fixed share of it stands in for their two-bar estimator.

    Args:
        high: [n].
        low: [n].
        close: [n], > 0.
        settings: Share and least spread.
    """
    spread = np.maximum(settings.spread_share * (high - low) / close, settings.minimum_spread)
    return 0.5 * spread


def expected_half_spread(
    high: float, low: float, close: float, settings: ExecutionSettings
) -> float:
    """Return `half_spread` of one bar."""
    return 0.5 * max(settings.spread_share * (high - low) / close, settings.minimum_spread)


def schedule(
    bars: FloatArray,
    confidence: FloatArray,
    volatility: FloatArray,
    clock: IntArray,
    settings: ExecutionSettings,
) -> TimingBatch:
    """Return when and how to send each plan.

    Args:
        bars: [n, 3], high, low, close.
        confidence: [n], of the signal.
        volatility: [n], of one bar.
        clock: [n, 3], accepted at, deadline, now; microseconds since the Unix epoch, UTC.
        settings: Parameters.
    """
    accepted, deadline, now = clock[:, 0], clock[:, 1], clock[:, 2]
    total = np.maximum(deadline - accepted, 1).astype(np.float64)
    used = (now - accepted).astype(np.float64) / total
    urgent = urgency(confidence, used, volatility, settings)
    free_ms = np.maximum((deadline - now) // 1000 - settings.reserve_ms, 0)
    patience = settings.delay_share * (1.0 - urgent)
    window = np.floor(patience * free_ms.astype(np.float64)).astype(np.int64)
    spread = half_spread(bars[:, 0], bars[:, 1], bars[:, 2], settings)
    return TimingBatch(urgent, urgent >= settings.market_urgency, window, spread)


def timing_view(urgent: float, settings: ExecutionSettings) -> View:
    """Return the timing agent's view: it is for sending at once, the more urgent the surer."""
    reasons = (ExecutionReason.URGENT,) if urgent >= settings.market_urgency else ()
    return View(TIMING, EXECUTE, urgent, reasons)
