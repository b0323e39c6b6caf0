"""The strategic agents once more, one row at a time in plain Python, straight from the formulas."""

import itertools
import math
from dataclasses import dataclass

from pipeline.policies.strategic import StrategicSettings

Row = list[list[float]]
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Decision:
    """What the reference says on one row."""

    scores: tuple[float, float, float]
    distribution: tuple[float, float, float]
    coherence: float
    regime: str
    volatility: float


def distribution_of(score: float, ambiguity: float) -> tuple[float, float, float]:
    """BUY, HOLD, SELL of a score."""
    undecided = 1.0 - abs(score)
    buy = (score if score > 0 else 0.0) + ambiguity * undecided
    sell = (-score if score < 0 else 0.0) + ambiguity * undecided
    return buy, 1.0 - buy - sell, sell


def mixture(
    parts: list[tuple[float, float, float]], weights: list[float]
) -> tuple[float, float, float]:
    """Mixture with weight x confidence, all HOLD where nothing weighs."""
    full = [weight * max(part) for part, weight in zip(parts, weights, strict=True)]
    total = math.fsum(full)
    if total == 0.0:
        return 0.0, 1.0, 0.0
    buy, hold, sell = (
        math.fsum(w * part[column] for w, part in zip(full, parts, strict=True)) / total
        for column in range(3)
    )
    return buy, hold, sell


def coherence_of(distribution: tuple[float, float, float]) -> float:
    """1 - normalised entropy."""
    entropy = -math.fsum(p * math.log(p) for p in distribution if p > 0.0)
    return 1.0 - entropy / math.log(3)


def relative_strength(returns: list[float], at: int, period: int) -> tuple[float, float, float]:
    """RSI at a return, and the averages of signed and of absolute returns up to it."""
    gain = loss = weight = 0.0
    for i in range(at + 1):
        share = (1.0 - 1.0 / period) ** (at - i)
        gain += share * max(returns[i], 0.0)
        loss += share * max(-returns[i], 0.0)
        weight += share
    moved = gain + loss
    return (gain / moved if moved > 0 else 0.5), (gain - loss) / weight, moved / weight


def momentum_features(returns: list[float], at: int, s: StrategicSettings) -> list[float]:
    """The scaled features of one bar."""
    fast, net, _ = relative_strength(returns, at, s.fast_period)
    slow, _, activity = relative_strength(returns, at, s.slow_period)
    momentum = net / activity if activity > 0 else 0.0
    return [
        scale * value for scale, value in zip(s.feature_scales, (fast, slow, momentum), strict=True)
    ]


def mlmi(close: list[float], s: StrategicSettings) -> float:
    """Vote of the nearest neighbours."""
    returns = [after / before - 1.0 for before, after in itertools.pairwise(close)]
    now = momentum_features(returns, len(returns) - 1, s)
    votes = []
    for at in range(s.slow_period, len(returns) - s.horizon_bars):
        then = momentum_features(returns, at, s)
        distance = math.fsum((a - b) ** 2 for a, b in zip(now, then, strict=True))
        change = close[at + 1 + s.horizon_bars] - close[at + 1]
        votes.append((distance, (change > 0) - (change < 0)))
    limit = sorted(distance for distance, _ in votes)[s.neighbours - 1]
    chosen = [(1.0 / (d + s.distance_floor), label) for d, label in votes if d <= limit]
    return math.fsum(w * label for w, label in chosen) / math.fsum(w for w, _ in chosen)


def kernel_estimate(close: list[float], bars: int, s: StrategicSettings) -> float:
    """Nadaraya-Watson estimate at the last of `close`, over its last `bars`."""
    above = below = 0.0
    for lag in range(bars):
        squares = lag * lag / (2.0 * s.kernel_alpha * s.kernel_length_bars**2)
        kernel = (1.0 + squares) ** -s.kernel_alpha
        above += kernel * close[len(close) - 1 - lag]
        below += kernel
    return above / below


def nwrqk(close: list[float], volatility: float, s: StrategicSettings) -> float:
    """Slope of the estimate and the price's distance from it, squashed."""
    bars = len(close) - s.slope_bars
    now = kernel_estimate(close, bars, s)
    before = kernel_estimate(close[: -s.slope_bars], bars, s)
    unit = volatility * close[-1]
    slope = (now - before) / s.slope_bars / unit
    x = s.slope_gain * slope + s.value_gain * (close[-1] - now) / unit
    return x / (1.0 + abs(x))


def volatilities(close: list[float], s: StrategicSettings) -> tuple[float, float]:
    """Exponentially weighted and plain root mean square returns."""
    squares = [(after / before - 1.0) ** 2 for before, after in itertools.pairwise(close)]
    above = below = 0.0
    for age, square in enumerate(reversed(squares)):
        above += s.volatility_decay**age * square
        below += s.volatility_decay**age
    return (
        max(math.sqrt(above / below), 1e-9),
        max(math.sqrt(math.fsum(squares) / len(squares)), 1e-9),
    )


def activity(time_us: float, s: StrategicSettings) -> float:
    """Expected activity at a time of day."""
    angle = 2.0 * math.pi * (time_us % DAY_US) / DAY_US
    return 1.0 + s.season_sine * math.sin(angle) + s.season_cosine * math.cos(angle)


def node_way(row: Row, s: StrategicSettings) -> float:
    """Relative way from the close to the nearest volume node."""
    typical = [(high + low + close) / 3.0 for _, high, low, close, _ in row]
    bottom, top, last = min(typical), max(typical), row[-1][3]
    step = (top - bottom) / s.volume_bins
    profile = [0.0] * s.volume_bins
    for price, bar in zip(typical, row, strict=True):
        place = int((price - bottom) / step) if step > 0 else 0
        profile[min(place, s.volume_bins - 1)] += bar[4]
    if max(profile) == 0.0:
        return 0.0
    nodes = [
        bottom + step * (place + 0.5) - last
        for place, volume in enumerate(profile)
        if volume >= s.node_share * max(profile)
    ]
    return min(nodes, key=abs) / last


def regime(row: Row, time_us: int, s: StrategicSettings) -> tuple[str, float]:
    """Regime and the score of its agent."""
    close = [bar[3] for bar in row]
    volatility, baseline = volatilities(close, s)
    recent = close[-s.trend_bars - 1 :]
    way = math.fsum(abs(b - a) for a, b in itertools.pairwise(recent))
    ratio = (recent[-1] - recent[0]) / way if way > 0 else 0.0
    relative_limit = s.high_volatility_ratio * activity(time_us, s) * baseline
    if volatility > relative_limit or volatility > s.max_volatility:
        return "HIGH_VOLATILITY", max(-1.0, min(1.0, s.high_volatility_gain * ratio))
    if abs(ratio) >= s.trend_threshold:
        name = "TREND_UP" if ratio > 0 else "TREND_DOWN"
        return name, max(-1.0, min(1.0, s.trend_gain * ratio))
    x = node_way(row, s) / (volatility * math.sqrt(s.trend_bars))
    return "RANGE", s.range_gain * x / (1.0 + abs(x))


def decide(row: Row, time_us: int, s: StrategicSettings) -> Decision:
    """The whole decision on one full row."""
    close = [bar[3] for bar in row]
    volatility, _ = volatilities(close, s)
    name, pull = regime(row, time_us, s)
    names = ("WARMUP", "TREND_UP", "TREND_DOWN", "RANGE", "HIGH_VOLATILITY")
    place = names.index(name)
    scores = (mlmi(close, s), nwrqk(close, volatility, s), pull)
    weights = [
        s.mlmi_weight * s.mlmi_gate[place],
        s.nwrqk_weight * s.nwrqk_gate[place],
        s.regime_weight,
    ]
    mixed = mixture([distribution_of(score, s.ambiguity) for score in scores], weights)
    later = activity(time_us + s.season_horizon_s * 1e6, s)
    forecast = volatility * later / activity(time_us, s)
    return Decision(scores, mixed, coherence_of(mixed), name, forecast)
