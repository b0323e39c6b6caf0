"""The parameters that the execution stage decides by."""

from dataclasses import dataclass, fields

from pipeline.errors import ConfigurationError

__all__ = ["ExecutionSettings"]

_MAY_BE_ZERO = frozenset(
    {
        "impact_coefficient",
        "maximum_clock_lead_us",
        "minimum_spread",
        "reserve_ms",
        "risk_aversion",
        "tick_size",
    }
)
_MOST_CHILDREN = 256  # what an `Execution` can hold
_SHARES = ("confidence_weight", "budget_weight", "volatility_weight", "market_urgency")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSettings:
    """Parameters; prices, spreads and slippage as shares of the price unless said otherwise.

    Attributes:
        confidence_weight: Part of the signal's confidence in the urgency.
        budget_weight: Part of the time budget used up.
        volatility_weight: Part of the volatility.
        reference_volatility: Volatility of one bar that counts as half of the most.
        market_urgency: Urgency from which orders go as MARKET.
        reserve_ms: Part of the remaining budget left to the gateway, milliseconds.
        delay_share: Part of the rest over which a patient plan spreads its slices.
        maximum_participation: Largest slice, share of the volume expected.
        minimum_volume: Least volume expected, units; below it the flow is held.
        spread_share: Part of a bar's range that counts as spread.
        minimum_spread: Least spread assumed.
        maximum_spread: Spread above which the flow is held.
        spread_multiple: The same in averages of the symbol's own spread.
        spread_bars: Bars from which on that average counts.
        impact_coefficient: Of the square-root law.
        maximum_slippage: Expected slippage above which the flow is held.
        maximum_child_notional: Largest order, currency: no single order may be a big mistake.
        maximum_children: Most orders of one plan.
        risk_aversion: (kappa tau)^2 of the schedule at urgency 1; 0 makes equal slices.
        monitor_memory: Weight of the past in the monitor's averages.
        monitor_slippage: Average slippage above which slices shrink.
        monitor_scale: To which part they shrink.
        minimum_tolerance: Least distance of a limit from the reference price.
        maximum_tolerance: Largest one.
        tolerance_multiple: Limit distance in expected slippages.
        lot_size: Quantities are multiples of it, units.
        tick_size: Limits are multiples of it, price units; 0: any price.
        maximum_event_age_us: Oldest bar that may be acted on, microseconds.
        maximum_clock_lead_us: How far a bar may be ahead of the clock, microseconds.
    """

    confidence_weight: float = 0.5
    budget_weight: float = 0.3
    volatility_weight: float = 0.2
    reference_volatility: float = 0.001
    market_urgency: float = 0.7
    reserve_ms: int = 10
    delay_share: float = 0.25
    maximum_participation: float = 0.10
    minimum_volume: float = 1.0
    spread_share: float = 0.1
    minimum_spread: float = 1e-4
    maximum_spread: float = 0.005
    spread_multiple: float = 4.0
    spread_bars: int = 20
    impact_coefficient: float = 0.7
    maximum_slippage: float = 0.005
    maximum_child_notional: float = 25_000.0
    maximum_children: int = 8
    risk_aversion: float = 2.0
    monitor_memory: float = 0.9
    monitor_slippage: float = 3e-4
    monitor_scale: float = 0.5
    minimum_tolerance: float = 5e-4
    maximum_tolerance: float = 0.01
    tolerance_multiple: float = 2.0
    lot_size: float = 1.0
    tick_size: float = 0.01
    maximum_event_age_us: int = 2_000_000
    maximum_clock_lead_us: int = 1_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0.0 if field.name in _MAY_BE_ZERO else 1e-300
            most = 1.0 if field.name in _SHARES else 1e18
            if not least <= value <= most:
                sign = ">=" if least == 0.0 else ">"
                raise ConfigurationError(
                    f"Expected a number {sign} 0 and <= {most:g} for execution setting"
                    f" {field.name}, was {value}"
                )
        if self.monitor_memory >= 1.0 or self.maximum_children > _MOST_CHILDREN:
            raise ConfigurationError(
                "Expected monitor_memory < 1 and maximum_children <= 256,"
                f" was {self.monitor_memory} and {self.maximum_children}"
            )
