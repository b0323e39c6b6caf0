"""What the tactical policy takes from the strategic one, and what it gives out."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pipeline.policies.actions import FloatArray, IntArray

__all__ = ["AGENTS", "REASONS", "ReasonCode", "StrategicContext", "TacticalBatch"]

AGENTS = ("fvg", "momentum", "entry")


class ReasonCode(IntEnum):
    """Why a row is HOLD; the first that applies. NONE on rows that are acted on."""

    NONE = 0
    WARMUP = 1  # too few bars, or broken ones
    NO_CONTEXT = 2  # the strategic stage is warming up, or its context is not finite
    NEUTRAL = 3  # HOLD is the most probable action by itself
    NO_ALIGNMENT = 4  # the strategic direction is another, or too faint to be one
    LOW_STRATEGIC_CONFIDENCE = 5
    LOW_CONFIDENCE = 6


REASONS = tuple(code.name for code in ReasonCode)


@dataclass(frozen=True, slots=True)
class StrategicContext:
    """What the tactical stage takes from the strategic one, one per row.

    Attributes:
        bias: [n], P(BUY) - P(SELL), in [-1, 1].
        confidence: [n], in [0, 1].
        regime: [n], a `RegimeCode`.
        volatility: [n], forecast per bar, a ratio.
    """

    bias: FloatArray
    confidence: FloatArray
    regime: npt.NDArray[np.int8]
    volatility: FloatArray


@dataclass(frozen=True, slots=True)
class TacticalBatch:
    """Tactical decisions, one per row.

    Attributes:
        distribution: [n, 3], columns as in `ACTIONS`. Where the gate withheld BUY or SELL, its
            probability stands on HOLD; what the agents thought is in `agents`.
        action: [n] int64, column of the action decided on.
        probability: [n], of that action.
        confidence: [n], of the distribution; equal to `probability`, as the action is its mode.
        coherence: [n], 1 - normalised entropy, in [0, 1].
        entry: [n], price to enter at; the close on HOLD; 0 while warming up.
        timing: [n], how timely an entry is, in (0, 1]; 0 while warming up.
        momentum: [n], return over `momentum_bars` bars, a ratio; 0 while warming up.
        volume_ratio: [n], recent volume / volume before; 1 while warming up.
        atr: [n], average true range in price units; 0 while warming up.
        reason: [n] int8, a `ReasonCode`.
        agents: [3, n, 3], distributions of the agents in the order of `AGENTS`.
        agent_confidence: [3, n].
        agent_coherence: [3, n].
    """

    distribution: FloatArray
    action: IntArray
    probability: FloatArray
    confidence: FloatArray
    coherence: FloatArray
    entry: FloatArray
    timing: FloatArray
    momentum: FloatArray
    volume_ratio: FloatArray
    atr: FloatArray
    reason: npt.NDArray[np.int8]
    agents: FloatArray
    agent_confidence: FloatArray
    agent_coherence: FloatArray
