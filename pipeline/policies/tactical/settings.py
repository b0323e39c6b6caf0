"""Settings of the tactical agents."""

from dataclasses import dataclass

from pipeline.errors import ConfigurationError

__all__ = ["TacticalSettings"]


@dataclass(frozen=True, slots=True)
class TacticalSettings:
    """What the tactical agents are tuned by; the defaults suit bars of about one minute.

    Attributes:
        width: Bars per window.
        ambiguity: What BUY and SELL each keep of an agent's undecided mass, 0 to 1/3.
        fvg_weight: Weight of the fvg agent in the mixture; 0 leaves it out.
        momentum_weight: Weight of the momentum agent.
        entry_weight: Weight of the entry agent.
        min_bias: Size of the strategic P(BUY) - P(SELL) from which it counts as a direction.
        min_confidence: Probability of BUY or SELL from which it is acted on.
        min_strategic_confidence: Strategic confidence below which nothing is acted on.
        high_volatility_margin: Added to `min_confidence` while the regime is HIGH_VOLATILITY.
        atr_period: Bars of the average true range.
        gap_min_atr: Smallest fair-value gap that counts, in ATR.
        gap_max_age_bars: Oldest fair-value gap that counts.
        gap_decay: Decay of a gap's strength per bar of age.
        gap_reach_atr: Distance from the price at which a gap's strength is halved, in ATR.
        gap_gain: Score per unit of difference between bullish and bearish strength.
        momentum_bars: Bars of the momentum and of the recent volume.
        volume_bars: Bars before those, that recent volume is compared with.
        momentum_gain: Score per unit of momentum (volatilities over `momentum_bars`).
        volume_influence: How much of the momentum score depends on the volume ratio, 0 to 1.
        max_volume_factor: Upper bound of the factor that volume puts on the momentum score.
        value_bars: Bars of the volume-weighted average price.
        entry_gain: Score of the entry agent per unit of strategic bias.
        free_extension_atr: How far beyond the average price an entry is still timely, in ATR.
        pullback_atr: How far behind the close the entry price waits at most, in ATR.
    """

    width: int = 60
    ambiguity: float = 0.15
    fvg_weight: float = 0.7
    momentum_weight: float = 1.0
    entry_weight: float = 1.0
    min_bias: float = 0.2
    min_confidence: float = 0.55
    min_strategic_confidence: float = 0.45
    high_volatility_margin: float = 0.1
    atr_period: int = 14
    gap_min_atr: float = 0.1
    gap_max_age_bars: int = 30
    gap_decay: float = 0.95
    gap_reach_atr: float = 2.0
    gap_gain: float = 1.2
    momentum_bars: int = 5
    volume_bars: int = 20
    momentum_gain: float = 1.2
    volume_influence: float = 0.5
    max_volume_factor: float = 1.5
    value_bars: int = 20
    entry_gain: float = 1.5
    free_extension_atr: float = 1.5
    pullback_atr: float = 0.25

    def __post_init__(self) -> None:
        checks = {
            "1 <= atr_period < width": 1 <= self.atr_period < self.width,
            "1 <= gap_max_age_bars <= width - 3": 1 <= self.gap_max_age_bars <= self.width - 3,
            "1 <= momentum_bars, 1 <= volume_bars, their sum < width": (
                min(self.momentum_bars, self.volume_bars) >= 1
                and self.momentum_bars + self.volume_bars < self.width
            ),
            "1 <= value_bars <= width": 1 <= self.value_bars <= self.width,
            "0 <= ambiguity <= 1/3": 0.0 <= self.ambiguity <= 1.0 / 3.0,
            "min_bias, min_confidence, min_strategic_confidence in 0 to 1": all(
                0.0 <= limit <= 1.0
                for limit in (self.min_bias, self.min_confidence, self.min_strategic_confidence)
            ),
            "0 < gap_decay <= 1 and gap_reach_atr > 0": (
                0.0 < self.gap_decay <= 1.0 and self.gap_reach_atr > 0.0
            ),
            "0 <= volume_influence <= 1 <= max_volume_factor": (
                0.0 <= self.volume_influence <= 1.0 <= self.max_volume_factor
            ),
            "no negative weight, margin, gap_min_atr, free_extension_atr or pullback_atr": (
                min(
                    self.fvg_weight,
                    self.momentum_weight,
                    self.entry_weight,
                    self.high_volatility_margin,
                    self.gap_min_atr,
                    self.free_extension_atr,
                    self.pullback_atr,
                )
                >= 0.0
            ),
        }
        for rule, holds in checks.items():
            if not holds:
                raise ConfigurationError(f"Expected tactical settings with {rule}, was {self}")
