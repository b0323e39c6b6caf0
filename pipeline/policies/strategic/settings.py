"""Settings of the strategic agents."""

from dataclasses import dataclass

from pipeline.errors import ConfigurationError

__all__ = ["StrategicSettings"]

_REGIMES = 5


@dataclass(frozen=True, slots=True)
class StrategicSettings:
    """What the strategic agents are tuned by; the defaults suit bars of about one minute.

    Attributes:
        width: Bars per window.
        ambiguity: What BUY and SELL each keep of an agent's undecided mass, 0 to 1/3.
        mlmi_weight: Weight of the mlmi agent in the mixture; 0 leaves it out.
        nwrqk_weight: Weight of the nwrqk agent.
        regime_weight: Weight of the regime agent.
        mlmi_gate: Factor on mlmi's weight per regime (WARMUP, TREND_UP, TREND_DOWN, RANGE,
            HIGH_VOLATILITY).
        nwrqk_gate: The same for nwrqk.
        neighbours: k of the nearest-neighbour vote.
        horizon_bars: How far ahead the return lies that labels a past bar.
        fast_period: Bars of the fast relative strength index.
        slow_period: Bars of the slow one; earlier bars of the window are no candidates.
        feature_scales: Factors on the features fast RSI, slow RSI and momentum in the distance.
        distance_floor: Squared distance at which a neighbour's vote is halved.
        kernel_length_bars: l of the rational quadratic kernel.
        kernel_alpha: alpha of the kernel; large is close to a Gaussian.
        slope_bars: Bars over which the slope of the kernel estimate is taken.
        slope_gain: Score per unit of slope (volatilities per bar).
        value_gain: Score per unit of distance between price and estimate (volatilities).
        volatility_decay: Decay per bar of the squared returns in the volatility forecast.
        high_volatility_ratio: Volatility now / over the window from which it counts as high.
        max_volatility: Volatility per bar (0.01 = 1 %) that always counts as high.
        trend_bars: Bars of the efficiency ratio.
        trend_threshold: Efficiency ratio (0 to 1) from which there is a trend.
        trend_gain: Score of the regime agent per unit of efficiency ratio in a trend.
        range_gain: Score of the regime agent per unit of pull towards the volume node in a range.
        high_volatility_gain: As `trend_gain`, while volatility is high.
        volume_bins: Price bins of the volume profile.
        node_share: Share of the largest bin from which a bin is a volume node, 0 to 1.
        season_sine: Amplitude of the sine of the time of day (UTC) in expected activity.
        season_cosine: Amplitude of the cosine. The defaults put the peak near 18:00 UTC, the
            middle of the American session.
        season_horizon_s: How far ahead the volatility forecast looks on the daily curve, seconds.
    """

    width: int = 48
    ambiguity: float = 0.15
    mlmi_weight: float = 1.0
    nwrqk_weight: float = 1.0
    regime_weight: float = 0.8
    mlmi_gate: tuple[float, ...] = (0.0, 0.8, 0.8, 1.2, 0.4)
    nwrqk_gate: tuple[float, ...] = (0.0, 1.3, 1.3, 0.7, 0.5)
    neighbours: int = 9
    horizon_bars: int = 3
    fast_period: int = 5
    slow_period: int = 14
    feature_scales: tuple[float, float, float] = (1.0, 2.0, 0.5)
    distance_floor: float = 0.01
    kernel_length_bars: float = 8.0
    kernel_alpha: float = 1.0
    slope_bars: int = 2
    slope_gain: float = 4.0
    value_gain: float = 0.2
    volatility_decay: float = 0.9
    high_volatility_ratio: float = 1.3
    max_volatility: float = 0.02
    trend_bars: int = 20
    trend_threshold: float = 0.35
    trend_gain: float = 1.2
    range_gain: float = 0.4
    high_volatility_gain: float = 0.4
    volume_bins: int = 12
    node_share: float = 0.7
    season_sine: float = -0.15
    season_cosine: float = 0.0
    season_horizon_s: float = 1800.0

    def __post_init__(self) -> None:
        candidates = self.width - 1 - self.horizon_bars - self.slow_period
        checks = {
            "1 <= fast_period <= slow_period": 1 <= self.fast_period <= self.slow_period,
            "1 <= neighbours <= width - 1 - horizon_bars - slow_period": (
                1 <= self.neighbours <= candidates
            ),
            "1 <= horizon_bars": self.horizon_bars >= 1,
            "1 <= slope_bars < width": 1 <= self.slope_bars < self.width,
            "1 <= trend_bars < width": 1 <= self.trend_bars < self.width,
            "0 <= ambiguity <= 1/3": 0.0 <= self.ambiguity <= 1.0 / 3.0,
            "0 < volatility_decay < 1": 0.0 < self.volatility_decay < 1.0,
            "kernel_length_bars, kernel_alpha, distance_floor > 0": (
                min(self.kernel_length_bars, self.kernel_alpha, self.distance_floor) > 0.0
            ),
            "volume_bins >= 1 and 0 <= node_share <= 1": (
                self.volume_bins >= 1 and 0.0 <= self.node_share <= 1.0
            ),
            "|season_sine| + |season_cosine| < 1": (
                abs(self.season_sine) + abs(self.season_cosine) < 1.0
            ),
            "no negative weight or gate, one gate per regime": (
                min(self.mlmi_weight, self.nwrqk_weight, self.regime_weight) >= 0.0
                and len(self.mlmi_gate) == len(self.nwrqk_gate) == _REGIMES
                and min(self.mlmi_gate + self.nwrqk_gate) >= 0.0
            ),
        }
        for rule, holds in checks.items():
            if not holds:
                raise ConfigurationError(f"Expected strategic settings with {rule}, was {self}")
