"""The tactical decision by the compiled kernel, where there is one."""

import functools
from typing import TYPE_CHECKING

import numpy as np

from pipeline.policies.actions import FloatArray, IntArray, coherence
from pipeline.policies.indicators import check_windows, wilder_weights
from pipeline.policies.kernels import compiled_module
from pipeline.policies.tactical.batch import AGENTS, StrategicContext, TacticalBatch
from pipeline.policies.tactical.fvg import fading
from pipeline.policies.tactical.settings import TacticalSettings

if TYPE_CHECKING:
    from pipeline.policies.tactical.kernel import Kernel

__all__ = ["decide", "kernel_of"]

_MIXED = len(AGENTS)  # where the mixture stands, behind the agents


@functools.lru_cache(maxsize=16)
def kernel_of(settings: TacticalSettings) -> "Kernel | None":
    """Return the kernel for some settings; None where it was not compiled."""
    module = compiled_module("tactical.kernel")
    if module is None:
        return None
    kernel: Kernel = module.Kernel(
        settings,
        wilder_weights(settings.width - 1, settings.atr_period),
        fading(settings.gap_max_age_bars, settings.gap_decay),
    )
    return kernel


def decide(
    windows: FloatArray, counts: IntArray, context: StrategicContext, settings: TacticalSettings
) -> TacticalBatch:
    """Decide on a batch of windows; see `pipeline.policies.tactical.decide`.

    Raises:
        ConfigurationError: Windows of another width.
    """
    check_windows(windows, counts, settings.width)
    kernel = kernel_of(settings)
    assert kernel is not None  # noqa: S101  # the caller asked
    n = len(windows)
    distributions, confidence = np.empty((n, _MIXED + 1, 3)), np.empty((n, _MIXED + 1))
    numbers = np.empty((5, n))
    action, reason = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int8)
    kernel.decide(
        np.ascontiguousarray(windows, dtype=np.float64),
        np.ascontiguousarray(counts, dtype=np.int64),
        np.array((context.bias, context.confidence, context.volatility), dtype=np.float64),
        np.ascontiguousarray(context.regime, dtype=np.int8),
        distributions,
        confidence,
        numbers,
        action,
        reason,
    )
    coherences = coherence(distributions)
    return TacticalBatch(
        distribution=distributions[:, _MIXED],
        action=action,
        probability=confidence[:, _MIXED],
        confidence=confidence[:, _MIXED],
        coherence=coherences[:, _MIXED],
        entry=numbers[0],
        timing=numbers[1],
        momentum=numbers[2],
        volume_ratio=numbers[3],
        atr=numbers[4],
        reason=reason,
        agents=distributions[:, :_MIXED].swapaxes(0, 1),
        agent_confidence=confidence[:, :_MIXED].T,
        agent_coherence=coherences[:, :_MIXED].T,
    )
