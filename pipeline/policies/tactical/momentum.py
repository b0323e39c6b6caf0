"""Agent momentum: the last few bars' move, and whether volume stands behind it."""

import numpy as np

from pipeline.policies.actions import FloatArray, clip, squash
from pipeline.policies.tactical.settings import TacticalSettings

__all__ = ["momentum", "momentum_score", "volume_ratio"]

_MIN_VOLATILITY = 1e-9


def momentum(close: FloatArray, settings: TacticalSettings) -> FloatArray:
    """Return the return over the last `momentum_bars` bars, a ratio ([n, W] to [n])."""
    return close[:, -1] / close[:, -1 - settings.momentum_bars] - 1.0


def volume_ratio(volume: FloatArray, settings: TacticalSettings) -> FloatArray:
    """Return mean recent volume / mean volume of the `volume_bars` before ([n, W] to [n]).

    1 where there was no volume before to compare with.
    """
    recent = volume[:, -settings.momentum_bars :].sum(axis=-1) / settings.momentum_bars
    start = -settings.momentum_bars - settings.volume_bars
    before = volume[:, start : -settings.momentum_bars].sum(axis=-1) / settings.volume_bars
    known = before > 0.0
    ratio: FloatArray = np.where(known, recent / np.where(known, before, 1.0), 1.0)
    return ratio


def momentum_score(
    move: FloatArray, ratio: FloatArray, volatility: FloatArray, settings: TacticalSettings
) -> FloatArray:
    """Return the direction that the move speaks for, in [-1, 1] ([n]).

    x / (1 + |x|) with x = momentum_gain * move / (volatility * sqrt(bars)), the move measured by
    what a random walk of that volatility would do (time-series momentum: Moskowitz, Ooi and
    Pedersen, 2012), times a factor 1 + volume_influence * (ratio - 1) kept in
    [0, max_volume_factor]: moves on rising volume carry further (Karpoff, "The Relation Between
    Price Changes and Trading Volume", 1987).

    Args:
        move: [n], from `momentum`.
        ratio: [n], from `volume_ratio`.
        volatility: [n], forecast per bar, a ratio.
        settings: See `TacticalSettings`.
    """
    unit = np.maximum(volatility, _MIN_VOLATILITY) * settings.momentum_bars**0.5
    factor = 1.0 + settings.volume_influence * (ratio - 1.0)
    factor = clip(factor, 0.0, settings.max_volume_factor)
    return clip(factor * squash(settings.momentum_gain * (move / unit)), -1.0, 1.0)
