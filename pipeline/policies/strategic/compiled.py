"""The strategic decision by the compiled kernel, where there is one."""

import functools
from typing import TYPE_CHECKING

import numpy as np

from pipeline.policies.actions import FloatArray, IntArray, coherence
from pipeline.policies.indicators import check_windows, ewma_weights
from pipeline.policies.kernels import compiled_module
from pipeline.policies.strategic.arrays import gates
from pipeline.policies.strategic.batch import AGENTS, StrategicBatch
from pipeline.policies.strategic.features import season_factors, time_of_day
from pipeline.policies.strategic.mlmi import smoothing
from pipeline.policies.strategic.nwrqk import kernel_weights
from pipeline.policies.strategic.settings import StrategicSettings

if TYPE_CHECKING:
    from pipeline.policies.strategic.kernel import Kernel

__all__ = ["decide", "kernel_of"]

_MIXED = len(AGENTS)  # where the mixture stands, behind the agents


@functools.lru_cache(maxsize=16)
def kernel_of(settings: StrategicSettings) -> "Kernel | None":
    """Return the kernel for some settings; None where it was not compiled."""
    module = compiled_module("strategic.kernel")
    if module is None:
        return None
    length = settings.width - 1
    decays, corrections = smoothing(length, settings.fast_period, settings.slow_period)
    kernel: Kernel = module.Kernel(
        settings,
        gates(settings),
        decays.ravel(),
        corrections,
        kernel_weights(
            settings.width - settings.slope_bars,
            settings.kernel_length_bars,
            settings.kernel_alpha,
        ),
        ewma_weights(length, settings.volatility_decay),
        season_factors(settings.season_sine, settings.season_cosine, settings.season_horizon_s),
    )
    return kernel


def decide(
    windows: FloatArray, counts: IntArray, event_time_us: IntArray, settings: StrategicSettings
) -> StrategicBatch:
    """Decide on a batch of windows; see `pipeline.policies.strategic.decide`.

    Raises:
        ConfigurationError: Windows of another width.
    """
    check_windows(windows, counts, settings.width)
    kernel = kernel_of(settings)
    assert kernel is not None  # noqa: S101  # the caller asked
    n = len(windows)
    distributions, confidence = np.empty((n, _MIXED + 1, 3)), np.empty((n, _MIXED + 1))
    numbers = np.empty((2, n))
    action, regime = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int8)
    kernel.decide(
        np.ascontiguousarray(windows, dtype=np.float64),
        np.ascontiguousarray(counts, dtype=np.int64),
        *time_of_day(event_time_us),
        distributions,
        confidence,
        numbers,
        action,
        regime,
    )
    coherences = coherence(distributions)
    return StrategicBatch(
        distribution=distributions[:, _MIXED],
        action=action,
        confidence=confidence[:, _MIXED],
        coherence=coherences[:, _MIXED],
        signal_strength=numbers[0],
        regime=regime,
        volatility=numbers[1],
        agents=distributions[:, :_MIXED].swapaxes(0, 1),
        agent_confidence=confidence[:, :_MIXED].T,
        agent_coherence=coherences[:, :_MIXED].T,
    )
