"""The mixture of the tactical agents, and the gate in front of BUY and SELL, over whole arrays.

What the compiled kernel has to equal.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.policies.actions import (
    BUY,
    HOLD,
    SELL,
    BoolArray,
    FloatArray,
    IntArray,
    coherence,
    directional,
    hold_all,
    mix,
)
from pipeline.policies.indicators import average_true_range, columns
from pipeline.policies.strategic.regime import RegimeCode
from pipeline.policies.tactical.batch import AGENTS, ReasonCode, StrategicContext, TacticalBatch
from pipeline.policies.tactical.entry import average_price, entry_price, entry_score, timeliness
from pipeline.policies.tactical.fvg import fvg_score, nearest_gaps
from pipeline.policies.tactical.momentum import momentum, momentum_score, volume_ratio
from pipeline.policies.tactical.settings import TacticalSettings

__all__ = ["decide"]


def decide(
    windows: FloatArray,
    counts: IntArray,
    context: StrategicContext,
    settings: TacticalSettings,
) -> TacticalBatch:
    """Decide on a batch of windows; see `pipeline.policies.tactical.decide`."""
    n = len(windows)
    bars = columns(windows, counts, settings.width)
    informed = _informed(context)
    bias = np.where(informed, context.bias, 0.0)
    volatility = np.where(informed, context.volatility, 0.0)
    close = bars.close[:, -1]
    lean = np.where(bias >= 0.0, 1.0, -1.0)

    atr = average_true_range(bars, settings.atr_period)
    gaps = nearest_gaps(bars, atr, settings)
    move = momentum(bars.close, settings)
    ratio = volume_ratio(bars.volume, settings)
    timing = timeliness(close, average_price(bars, settings), atr, lean, settings)
    scores = np.empty((len(AGENTS), n))
    scores[0] = fvg_score(gaps, atr, settings)
    scores[1] = momentum_score(move, ratio, volatility, settings)
    scores[2] = entry_score(bias, timing, settings)

    ready = bars.ready
    agents = directional(scores, settings.ambiguity)
    hold_all(agents, ~ready)
    agent_confidence = agents.max(axis=-1)
    mixed = mix(agents, _weights(settings) * agent_confidence)
    favourite = mixed.argmax(axis=-1)
    sides = _Sides(favourite, mixed.max(axis=-1), np.where(favourite == BUY, bias, -bias))
    reason = _reasons(sides, ready, informed, context, settings)
    acting = reason == ReasonCode.NONE
    _withhold(mixed, favourite, acting)
    action = np.where(acting, favourite, HOLD)
    coherences = coherence(np.concatenate((agents, mixed[None])))
    probability = mixed.max(axis=-1)
    direction = np.where(acting, lean, 0.0)
    entry = entry_price(close, settings.pullback_atr * atr, gaps, timing, direction)
    return TacticalBatch(
        distribution=mixed,
        action=action,
        probability=probability,
        confidence=probability,
        coherence=coherences[-1],
        entry=np.where(ready, entry, 0.0),
        timing=np.where(ready, timing, 0.0),
        momentum=np.where(ready, move, 0.0),
        volume_ratio=np.where(ready, ratio, 1.0),
        atr=np.where(ready, atr, 0.0),
        reason=reason,
        agents=agents,
        agent_confidence=agent_confidence,
        agent_coherence=coherences[:-1],
    )


def _weights(settings: TacticalSettings) -> FloatArray:
    weights = (settings.fvg_weight, settings.momentum_weight, settings.entry_weight)
    return np.array(weights)[:, None]


def _informed(context: StrategicContext) -> BoolArray:
    """Rows whose context can be used: out of warm-up, and every number sound."""
    informed: BoolArray = (
        (np.asarray(context.regime) != RegimeCode.WARMUP)
        & (np.abs(context.bias) <= 1.0)
        & (context.confidence >= 0.0)
        & (context.confidence <= 1.0)
        & (context.volatility >= 0.0)
        & (context.volatility < np.inf)
    )
    return informed


@dataclass(frozen=True, slots=True)
class _Sides:
    """The most probable action per row, its probability, and the strategic bias towards it."""

    favourite: IntArray
    probability: FloatArray
    bias: FloatArray


def _reasons(
    sides: _Sides,
    ready: BoolArray,
    informed: BoolArray,
    context: StrategicContext,
    settings: TacticalSettings,
) -> npt.NDArray[np.int8]:
    """The first reason to hold per row; written last to first, so the first one stays."""
    wild = np.asarray(context.regime) == RegimeCode.HIGH_VOLATILITY
    limit = settings.min_confidence + settings.high_volatility_margin * wild
    strategic_limit = settings.min_strategic_confidence
    reason = np.zeros(len(ready), dtype=np.int8)
    for code, rows in (
        (ReasonCode.LOW_CONFIDENCE, sides.probability < limit),
        (ReasonCode.LOW_STRATEGIC_CONFIDENCE, context.confidence < strategic_limit),
        (ReasonCode.NO_ALIGNMENT, (sides.bias < settings.min_bias) | (sides.bias <= 0.0)),
        (ReasonCode.NEUTRAL, sides.favourite == HOLD),
        (ReasonCode.NO_CONTEXT, ~informed),
        (ReasonCode.WARMUP, ~ready),
    ):
        reason[rows] = code
    return reason


def _withhold(mixed: FloatArray, favourite: IntArray, acting: BoolArray) -> None:
    """Move the favourite's probability to HOLD where it is not acted on, in place."""
    for side in (BUY, SELL):
        withheld = ~acting & (favourite == side)
        mixed[withheld, HOLD] += mixed[withheld, side]
        mixed[withheld, side] = 0.0
