"""The limits that the risk stage decides by."""

from dataclasses import dataclass, fields

from pipeline.errors import ConfigurationError

__all__ = ["RiskSettings"]

_MAY_BE_ZERO = frozenset(
    {
        "correlated_gross",
        "edge_s",
        "maximum_clock_lead_us",
        "minimum_notional",
        "session_close_s",
        "session_open_s",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskSettings:
    """Limits and multiples; shares are of equity unless said otherwise, times are UTC.

    Attributes:
        accounts: (name, cash before the first fill) of each account that may trade.
        symbols: Instruments that may be traded; None: any that has been seen long enough.
        minimum_bars: Bars of a symbol before it counts as known.
        maximum_event_age_us: Oldest bar that may be acted on, microseconds.
        maximum_acceptance_age_us: Oldest acceptance that may be acted on, microseconds.
        maximum_clock_lead_us: How far a bar or acceptance may be ahead of the clock, microseconds.
        price_band: Largest distance of entry and close, share of the close.
        target_bar_risk: Standard deviation of one bar that a new position may add, share.
        maximum_order: Largest new position of one order, share.
        kelly_fraction: Share of the Kelly stake. Small: the signal's probability is a share of
            votes, not a measured frequency, and many bets run at once.
        kelly_cap: Largest loss at the stop of one order, share.
        stop_multiple: Distance of the stop, in average true ranges.
        target_multiple: Distance of the target, in average true ranges.
        maximum_stop_distance: Widest stop, share of the price.
        maximum_stop_risk: Largest loss of one symbol's whole position at the stop, share.
        high_volatility_scale: Size in the regime HIGH_VOLATILITY.
        session_open_s: Start of the session, seconds of the day.
        session_close_s: Its end, seconds of the day.
        edge_s: Seconds after the start and before the end that count as edges.
        edge_scale: Size at the edges.
        drawdown_warning: Drawdown from which sizes shrink.
        drawdown_limit: Drawdown at which nothing is opened any more.
        maximum_symbol: Largest exposure in one symbol, reservations included, share.
        maximum_gross: Largest sum of all symbols' exposures, share.
        maximum_net: Largest net exposure to one side, share.
        maximum_value_at_risk: Largest 5 % one-bar loss of the portfolio, share.
        margin_rate: Margin for a unit of exposure.
        maximum_margin_use: Largest margin, share.
        maximum_volume_share: Largest order, share of the average volume of a bar.
        stress_ratio: Fast to slow volatility above which size shrinks by that ratio.
        maximum_open_orders: Most approved flows in flight for one symbol.
        maximum_concentration: Largest sum of squared shares of the symbols' exposures.
        maximum_correlation: Correlation with the rest of the book above which size shrinks.
        correlated_gross: Exposure of the rest above which correlation counts, share.
        correlated_scale: Size where the order is that correlated.
        maximum_positions: Most symbols with a position or an approved flow.
        minimum_notional: Smallest order, currency.
        lot_size: Quantities are multiples of it, units.
        throttle_orders: Same-direction approvals of a symbol within the window that are let
            through; one more trips the throttle.
        throttle_window_us: The window, microseconds of event time.
        history_bars: Bars of returns that VaR and correlation rest on.
    """

    accounts: tuple[tuple[str, float], ...] = (("main", 1_000_000.0),)
    symbols: tuple[str, ...] | None = None
    minimum_bars: int = 20
    maximum_event_age_us: int = 2_000_000
    maximum_acceptance_age_us: int = 1_000_000
    maximum_clock_lead_us: int = 1_000_000
    price_band: float = 0.05
    target_bar_risk: float = 2e-5
    maximum_order: float = 0.04
    kelly_fraction: float = 5e-4
    kelly_cap: float = 2e-4
    stop_multiple: float = 2.0
    target_multiple: float = 3.0
    maximum_stop_distance: float = 0.05
    maximum_stop_risk: float = 2.5e-4
    high_volatility_scale: float = 0.5
    session_open_s: int = 52_200
    session_close_s: int = 75_600
    edge_s: int = 900
    edge_scale: float = 0.5
    drawdown_warning: float = 0.10
    drawdown_limit: float = 0.20
    maximum_symbol: float = 0.05
    maximum_gross: float = 0.25
    maximum_net: float = 0.15
    maximum_value_at_risk: float = 2.5e-4
    margin_rate: float = 0.5
    maximum_margin_use: float = 0.25
    maximum_volume_share: float = 0.25
    stress_ratio: float = 2.0
    maximum_open_orders: int = 4
    maximum_concentration: float = 0.01
    maximum_correlation: float = 0.7
    correlated_gross: float = 0.05
    correlated_scale: float = 0.5
    maximum_positions: int = 50
    minimum_notional: float = 500.0
    lot_size: float = 1.0
    throttle_orders: int = 20
    throttle_window_us: int = 10_000_000
    history_bars: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float):
                _check(field.name, value)
        if self.drawdown_warning >= self.drawdown_limit:
            raise ConfigurationError(
                f"Expected drawdown_warning below drawdown_limit ({self.drawdown_limit}),"
                f" was {self.drawdown_warning}"
            )
        if len({name for name, _ in self.accounts}) < len(self.accounts) or not self.accounts:
            raise ConfigurationError(f"Expected each account once, was {self.accounts}")


def _check(name: str, value: float) -> None:
    least = 0.0 if name in _MAY_BE_ZERO else 1e-300
    if not least <= value < float("inf"):
        word = "a finite number >= 0" if name in _MAY_BE_ZERO else "a finite number > 0"
        raise ConfigurationError(f"Expected {word} for risk setting {name}, was {value}")
