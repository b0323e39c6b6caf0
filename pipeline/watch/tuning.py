"""Which gathering time and round size to try next, and which to use, from what was measured; pure.

p99 is taken for a smooth function of both, with noise: a Gaussian process is fitted to its
logarithm (Rasmussen and Williams 2006, algorithm 2.1, as scikit-learn has it; Matern kernel with
nu = 2.5 and white noise). The setting to try next is the one with the highest expected improvement
(Mockus 1978; Jones, Schonlau and Welch 1998, equation 15) over the lowest mean predicted for what
was measured: the lowest value measured would be luck as much as merit (Picheny, Wagner and
Ginsbourger 2013, section 3). The speed of a machine that changes from run to run counts as noise,
so it makes the recommendation more cautious, never bolder.

Needs scikit-learn, the extra `forecast`; it is imported when a process is fitted.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.settings.model import MOST_GATHERED, Settings

__all__ = [
    "MOST_MORE_ERRORS",
    "ROUNDS",
    "SURE",
    "Bounds",
    "Observation",
    "Recommendation",
    "Setting",
    "bounds_of",
    "default_of",
    "next_setting",
    "recommend",
]

Floats = NDArray[np.float64]

ROUNDS: Final = (50, 2000)
"""Round sizes within bounds. Below, the fixed costs of a round are shared by so few that load makes
a backlog; above, a single round of a backlog takes longer than packets have."""

SURE: Final = 0.95
"""Least probability that a setting is better than the default, for it to be recommended; of the
best of n settings 1 - (1 - SURE) / n is asked for."""

MOST_MORE_ERRORS: Final = 0.01
"""By how much more of its packets a setting may fail than the default, and still be recommended:
who lets packets expire has a low p99 of the others."""

_SPREAD = 3  # settings that are spread over the bounds before the process has a say
_GATHER_STEPS = 31
_ROUND_STEPS = 13
# Eleven runs of one setting lay between 94 and 128 ms (README): a deviation of a tenth. Half of it
# is the least that is believed: a process on few points takes all for signal, and is too sure.
_LEAST_NOISE = 0.05
_MOST_NOISE = 2.0  # of the variance of all observations
_TWO_SIDED_95 = 1.96
_LEAST_VARIANCE = 1e-9
_RESTARTS = 1

Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """What is tuned.

    Attributes:
        gather_ms: Milliseconds, as in `Settings`.
        round_max_records: As in `Settings`.
    """

    gather_ms: int
    round_max_records: int

    def __str__(self) -> str:
        return f"gather {self.gather_ms} ms, rounds of {self.round_max_records}"


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        time: When it ended, microseconds since 1970.
        mode: Which processes ran: single, paired or processes.
        rate: Packets a second offered.
        timeout_ms: Time that packets had.
        gather_ms: What it was run with.
        round_max_records: The same.
        p99_ms: 99th percentile of the latency.
        cpu_us: The workers' CPU per packet, microseconds.
        error_rate: Share of packets that failed.
    """

    time: int
    mode: str
    rate: Positive
    timeout_ms: int
    gather_ms: Count
    round_max_records: Annotated[int, msgspec.Meta(ge=1)]
    p99_ms: Positive
    cpu_us: Share
    error_rate: Share

    @property
    def setting(self) -> Setting:
        """What it was run with."""
        return Setting(self.gather_ms, self.round_max_records)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where settings are safe.

    Attributes:
        most_gather_ms: The longest gathering time; the shortest is 0.
        least_round: Smallest round size.
        most_round: Largest.
    """

    most_gather_ms: int
    least_round: int = ROUNDS[0]
    most_round: int = ROUNDS[1]

    def holds(self, setting: Setting) -> bool:
        """Say whether a setting is within."""
        return self.clipped(setting) == setting

    def clipped(self, setting: Setting) -> Setting:
        """Return the setting within that is next to the one given."""
        return Setting(
            min(max(setting.gather_ms, 0), self.most_gather_ms),
            min(max(setting.round_max_records, self.least_round), self.most_round),
        )

    def grid(self) -> list[Setting]:
        """Return the settings that may be tried: evenly spaced, rounds by their ratio."""
        waits = np.linspace(0, self.most_gather_ms, _GATHER_STEPS).round().astype(int)
        sizes = np.geomspace(self.least_round, self.most_round, _ROUND_STEPS).round().astype(int)
        return [
            Setting(int(wait), int(size)) for wait in np.unique(waits) for size in np.unique(sizes)
        ]

    def places(self, settings: Sequence[Setting]) -> Floats:
        """Return where settings lie, both from 0 to 1."""
        span = math.log(self.most_round / self.least_round)
        return np.array(
            [
                (
                    each.gather_ms / max(1, self.most_gather_ms),
                    math.log(each.round_max_records / self.least_round) / span,
                )
                for each in settings
            ],
            dtype=np.float64,
        )


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to use.

    Attributes:
        setting: That.
        p99_ms: Its predicted p99.
        least_ms: Where p99 lies at least, with 95 %.
        most_ms: Where it lies at most.
        challenger: The best measured setting beside the default; None where each fails too often.
        better: Probability that the challenger is better than the default.
        reason: Why this one, in a sentence.
    """

    setting: Setting
    p99_ms: float
    least_ms: float
    most_ms: float
    challenger: Setting | None
    better: float
    reason: str


def bounds_of(settings: Settings) -> Bounds:
    """Return the bounds where packets have the time that settings give them.

    Longer than `Settings.gather_s` takes nobody waits, so there is nothing to try beyond.
    """
    return Bounds(math.floor(MOST_GATHERED * settings.cascade_timeout_ms))


def default_of(bounds: Bounds) -> Setting:
    """Return the fixed default, as far as it is within bounds."""
    fields = Settings.model_fields
    fixed = (fields["gather_ms"].default, fields["round_max_records"].default)
    return bounds.clipped(Setting(*fixed))


def next_setting(
    observations: Sequence[Observation], bounds: Bounds, default: Setting, seed: int
) -> Setting:
    """Return the setting to try next: the default, then settings far apart, then by the process.

    Args:
        observations: What was measured; those out of bounds do not count.
        bounds: Where to look.
        default: The fixed default, within bounds.
        seed: Decides among equals; the same observations and seed give the same setting.
    """
    known = _within(observations, bounds)
    measured = _measured(known)
    if default not in measured:
        return default
    grid = bounds.grid()
    if len(measured) < _SPREAD:
        gaps = bounds.places(grid)[:, None, :] - bounds.places(measured)[None, :, :]
        worth = np.linalg.norm(gaps, axis=2).min(axis=1)
    else:
        worth = _expected_improvement(known, bounds, measured, grid, seed)
    best = np.flatnonzero(np.isclose(worth, worth.max(), rtol=1e-9, atol=0.0))
    return grid[int(np.random.default_rng([seed, len(known)]).choice(best))]


def recommend(
    observations: Sequence[Observation], bounds: Bounds, default: Setting, seed: int = 0
) -> Recommendation:
    """Return the setting to use: a measured one that is surely better, else the default.

    Args:
        observations: What was measured; those out of bounds do not count.
        bounds: Where settings are safe.
        default: The fixed default, within bounds.
        seed: Of the search for the process's parameters.

    Raises:
        ValueError: If the default was not measured: then nothing can be better than it.
    """
    known = _within(observations, bounds)
    measured = _measured(known)
    if default not in measured:
        raise ValueError(f"Expected an observation of the default ({default}), was none")
    errors = {each: _errors(known, each) for each in measured}
    rivals = [
        each for each in measured
        if each != default and errors[each] <= errors[default] + MOST_MORE_ERRORS
    ]  # fmt: skip
    settings = [default, *rivals]
    means, covariance = _Surface(known, bounds, seed).joint(settings)
    if not rivals:
        reason = "No other setting was measured that fails as seldom as the default."
        return _recommendation(default, means[0], covariance[0, 0], None, 0.0, reason)
    best = 1 + int(np.argmin(means[1:]))
    spread = covariance[0, 0] + covariance[best, best] - 2.0 * covariance[0, best]
    better = _normal(float(means[0] - means[best]) / math.sqrt(max(float(spread), _LEAST_VARIANCE)))
    wanted = 1.0 - (1.0 - SURE) / len(rivals)  # Bonferroni: the best of many is lucky more often
    at = best if better >= wanted else 0
    reason = f"{settings[best]} is better than the default with a probability of {better:.3f}"
    reason += "." if at else f", and {wanted:.3f} is asked for of the best of {len(rivals)}."
    return _recommendation(
        settings[at], means[at], covariance[at, at], settings[best], better, reason
    )


def _recommendation(
    setting: Setting,
    mean: float,
    variance: float,
    challenger: Setting | None,
    better: float,
    reason: str,
) -> Recommendation:
    wide = _TWO_SIDED_95 * math.sqrt(max(float(variance), 0.0))
    middle, least, most = (math.exp(float(mean) + each) for each in (0.0, -wide, wide))
    return Recommendation(setting, middle, least, most, challenger, better, reason)


def _within(observations: Sequence[Observation], bounds: Bounds) -> list[Observation]:
    return [each for each in observations if bounds.holds(each.setting)]


def _measured(observations: Sequence[Observation]) -> list[Setting]:
    return sorted({each.setting for each in observations})


def _errors(observations: Sequence[Observation], setting: Setting) -> float:
    return float(np.mean([each.error_rate for each in observations if each.setting == setting]))


def _expected_improvement(
    observations: Sequence[Observation],
    bounds: Bounds,
    measured: Sequence[Setting],
    grid: Sequence[Setting],
    seed: int,
) -> Floats:
    """Return (m - mean) * cdf(z) + deviation * pdf(z) with z = (m - mean) / deviation."""
    surface = _Surface(observations, bounds, seed)
    means, deviations = surface.spread(grid)
    gain = surface.joint(measured)[0].min() - means
    z = gain / deviations
    below = np.array([_normal(float(each)) for each in z])
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    improvement: Floats = gain * below + deviations * density
    return improvement


class _Surface:
    """What is believed of log p99, without the noise of a single run.

    Args:
        observations: What was measured, within bounds.
        bounds: Where.
        seed: Of the search for the process's parameters.
    """

    def __init__(self, observations: Sequence[Observation], bounds: Bounds, seed: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
        from threadpoolctl import threadpool_limits

        logs = np.log([each.p99_ms for each in observations])
        self._bounds = bounds
        self._level = float(logs.mean())
        self._scale = max(float(logs.std()), _LEAST_NOISE)
        floor = (_LEAST_NOISE / self._scale) ** 2
        kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern((0.5, 0.5), (0.2, 10.0), nu=2.5)
        kernel += WhiteKernel(max(floor, 0.1), (floor, _MOST_NOISE))
        self._process = GaussianProcessRegressor(
            kernel, n_restarts_optimizer=_RESTARTS, random_state=seed
        )
        places = bounds.places([each.setting for each in observations])
        # Matrices this small are slower by several threads, many times so on a busy machine.
        with threadpool_limits(1), warnings.catch_warnings():
            # A parameter at its bound is what few points give, and what the bounds are for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(places, (logs - self._level) / self._scale)
        self._noise = float(self._process.kernel_.k2.noise_level)

    def joint(self, settings: Sequence[Setting]) -> tuple[Floats, Floats]:
        """Return means and covariance."""
        places = self._bounds.places(settings)
        means, covariance = self._process.predict(places, return_cov=True)
        covariance -= self._noise * np.eye(len(settings))
        return means * self._scale + self._level, covariance * self._scale**2

    def spread(self, settings: Sequence[Setting]) -> tuple[Floats, Floats]:
        """Return means and standard deviations."""
        means, deviations = self._process.predict(self._bounds.places(settings), return_std=True)
        latent = np.sqrt(np.maximum(deviations**2 - self._noise, _LEAST_VARIANCE))
        return means * self._scale + self._level, latent * self._scale


def _normal(z: float) -> float:
    """Return the probability that a standard normal variable is below z."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
