"""The mixture of the strategic agents over whole arrays: what the compiled kernel has to equal."""

import functools

import numpy as np

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
from pipeline.policies.strategic.batch import AGENTS, StrategicBatch
from pipeline.policies.strategic.features import features
from pipeline.policies.strategic.mlmi import mlmi_score
from pipeline.policies.strategic.nwrqk import nwrqk_score
from pipeline.policies.strategic.regime import RegimeCode, regime_score
from pipeline.policies.strategic.settings import StrategicSettings

__all__ = ["decide", "gates"]


def decide(
    windows: FloatArray, counts: IntArray, event_time_us: IntArray, settings: StrategicSettings
) -> StrategicBatch:
    """Decide on a batch of windows; see `pipeline.policies.strategic.decide`."""
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
    mixed = mix(agents, gates(settings)[:, regime] * agent_confidence)
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
def gates(settings: StrategicSettings) -> FloatArray:
    """Return the weight per agent and regime, [3, 5]."""
    ungated = (1.0,) * len(RegimeCode)
    rows = (
        (settings.mlmi_weight, settings.mlmi_gate),
        (settings.nwrqk_weight, settings.nwrqk_gate),
        (settings.regime_weight, ungated),
    )
    return np.array([[weight * factor for factor in gates] for weight, gates in rows])
