"""What the strategic policy gives out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.policies.actions import FloatArray, IntArray

__all__ = ["AGENTS", "StrategicBatch"]

AGENTS = ("mlmi", "nwrqk", "regime")


@dataclass(frozen=True, slots=True)
class StrategicBatch:
    """Strategic decisions, one per row.

    Attributes:
        distribution: [n, 3], columns as in `ACTIONS`.
        action: [n] int64, column of the most probable action; ties go to the first.
        confidence: [n], probability of that action.
        coherence: [n], 1 - normalised entropy, in [0, 1].
        signal_strength: [n], P(BUY) - P(SELL), in [-1, 1].
        regime: [n] int8, a `RegimeCode`.
        volatility: [n], forecast per bar as a ratio (0.001 = 0.1 %); 0 while warming up.
        agents: [3, n, 3], distributions of the agents in the order of `AGENTS`.
        agent_confidence: [3, n].
        agent_coherence: [3, n].
    """

    distribution: FloatArray
    action: IntArray
    confidence: FloatArray
    coherence: FloatArray
    signal_strength: FloatArray
    regime: npt.NDArray[np.int8]
    volatility: FloatArray
    agents: FloatArray
    agent_confidence: FloatArray
    agent_coherence: FloatArray
