"""The mixture of the strategic agents."""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.policies.actions import (
    BUY,
    SELL,
    FloatArray,
    IntArray,
    coherence,
    directional,
    hold_all,
    mix,
)
from pipeline.policies.indicators import columns
from pipeline.policies.strategic.features import features
from pipeline.policies.strategic.mlmi import mlmi_score
from pipeline.policies.strategic.nwrqk import nwrqk_score
from pipeline.policies.strategic.regime import RegimeCode, regime_score
from pipeline.policies.strategic.settings import StrategicSettings

__all__ = ["AGENTS", "StrategicBatch", "decide"]

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


def decide(
    windows: FloatArray, counts: IntArray, event_time_us: IntArray, settings: StrategicSettings
) -> StrategicBatch:
    """Decide on a batch of windows; a row's result does not depend on the rest of the batch.

    Each agent gives a distribution; they are mixed with weight = configured weight x the regime's
    gate x the agent's confidence. Rows with fewer than `width` bars, or with broken ones (not
    finite, a price not above 0), are WARMUP and all HOLD.

    Args:
        windows: [n, width, 5]: open, high, low, close, volume; latest bar last.
        counts: [n], bars in each window.
        event_time_us: [n], time of the last bar, microseconds since the Unix epoch, UTC.
        settings: See `StrategicSettings`.

    Raises:
        ConfigurationError: Windows of another width.
    """
    bars = columns(windows, counts, settings.width)
    shared = features(bars, event_time_us, settings)
    waiting = ~bars.ready

    scores = np.empty((len(AGENTS), len(windows)))
    scores[0] = mlmi_score(shared.returns, settings)
    scores[1] = nwrqk_score(bars.close, shared.volatility, settings)
    regime, scores[2] = regime_score(bars, shared, settings)
    regime[waiting] = RegimeCode.WARMUP

    agents = directional(scores, settings.ambiguity)
    hold_all(agents, waiting)
    agent_confidence = agents.max(axis=-1)
    mixed = mix(agents, _gates(settings)[:, regime] * agent_confidence)
    coherences = coherence(np.concatenate((agents, mixed[None])))
    return StrategicBatch(
        distribution=mixed,
        action=mixed.argmax(axis=-1),
        confidence=mixed.max(axis=-1),
        coherence=coherences[-1],
        signal_strength=mixed[:, BUY] - mixed[:, SELL],
        regime=regime,
        volatility=np.where(waiting, 0.0, shared.forecast),
        agents=agents,
        agent_confidence=agent_confidence,
        agent_coherence=coherences[:-1],
    )


@functools.lru_cache(maxsize=64)
def _gates(settings: StrategicSettings) -> FloatArray:
    """Weight per agent and regime."""
    ungated = (1.0,) * len(RegimeCode)
    rows = (
        (settings.mlmi_weight, settings.mlmi_gate),
        (settings.nwrqk_weight, settings.nwrqk_gate),
        (settings.regime_weight, ungated),
    )
    return np.array([[weight * factor for factor in gates] for weight, gates in rows])
