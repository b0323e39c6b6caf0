"""Whether a series is going to pass a limit, when, and how sure that is; pure.

First the trend test of `pipeline.watch.trends` decides whether the series goes anywhere: a line can
be laid through any noise. Then a line is fitted by Bayesian ridge regression (MacKay 1992, as
scikit-learn has it), whose prediction is normal with a known deviation, that of the noise and that
of the line itself, which grows with the distance. A breach is foreseen where the limit is passed
within the horizon with a probability of at least `SURE`.

Needs scikit-learn, the extra `forecast`; it is imported at the first forecast.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigurationError
from pipeline.watch.trends import Trend, TrendDirection, trend_of

__all__ = ["SURE", "Forecast", "forecast", "require_forecasts"]

Floats = NDArray[np.float64]

SURE: Final = 0.9
"""Least probability of a breach that is told of."""

_STEPS = 61


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a series will do.

    Attributes:
        limit: The limit, in the unit of the series.
        breach_s: Seconds until the line passes the limit; within the horizon.
        probability: That the series is past the limit at the end of the horizon, 0 to 1.
        expected: What the series is expected to be then.
        trend: What it has done.
    """

    limit: float
    breach_s: float
    probability: float
    expected: float
    trend: Trend


def require_forecasts() -> None:
    """Check that forecasts can be made here.

    Raises:
        ConfigurationError: If scikit-learn is not installed.
    """
    try:
        import sklearn.linear_model  # noqa: F401  # whether it is there
    except ImportError as error:
        raise ConfigurationError(
            "Expected scikit-learn for forecasts and tuning, was not installed. Install the extra:"
            " pip install 'marl-cascade[forecast]'."
        ) from error


def forecast(
    times_s: Floats, values: Floats, limit: float, horizon_s: float, *, below: bool = False
) -> Forecast | None:
    """Return the breach of a limit that is to be expected; None where there is none.

    Args:
        times_s: Moments, seconds, ascending; the last one is now.
        values: Values, as many.
        limit: The limit.
        horizon_s: How far to look ahead, seconds.
        below: Whether values under the limit are bad.
    """
    trend = trend_of(times_s, values)
    towards = TrendDirection.FALLING if below else TrendDirection.RISING
    if trend.direction is not towards:
        return None
    span_s = max(float(times_s[-1] - times_s[0]), 1e-9)
    ahead_s = np.linspace(0.0, horizon_s, _STEPS)
    means, deviations = _predicted((times_s - times_s[-1]) / span_s, values, ahead_s / span_s)
    past = means <= limit if below else means >= limit
    if past[0] or not past.any():  # it is there already, or does not get there
        return None
    sign = -1.0 if below else 1.0
    distance = sign * (float(means[-1]) - limit) / max(float(deviations[-1]), 1e-12)
    probability = 0.5 * math.erfc(-distance / math.sqrt(2.0))
    if probability < SURE:
        return None
    return Forecast(limit, float(ahead_s[past.argmax()]), probability, float(means[-1]), trend)


def _predicted(times: Floats, values: Floats, ahead: Floats) -> tuple[Floats, Floats]:
    """Return means and standard deviations of a line's predictions."""
    from sklearn.linear_model import BayesianRidge

    scale = max(float(np.abs(values).max(initial=0.0)), 1e-12)
    line = BayesianRidge()
    line.fit(times[:, None], values / scale)
    means, deviations = line.predict(ahead[:, None], return_std=True)
    return means * scale, deviations * scale
