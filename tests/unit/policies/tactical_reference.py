"""The tactical agents once more, one row at a time in plain Python, straight from the formulas."""

import itertools
import math
from dataclasses import dataclass

from pipeline.policies.tactical import TacticalSettings
from tests.unit.policies.strategic_reference import Row, distribution_of, mixture


@dataclass(frozen=True)
class Gap:
    """An open gap: the edge that faces the price, its way from the close, age and mitigation."""

    level: float
    distance: float
    age: int
    mitigation: float


@dataclass(frozen=True)
class Context:
    """Strategic context of one row."""

    bias: float
    confidence: float
    regime: str
    volatility: float


@dataclass(frozen=True)
class Decision:
    """What the reference says on one row."""

    scores: tuple[float, float, float]
    distribution: tuple[float, float, float]
    action: str
    reason: str
    entry: float
    momentum: float
    volume_ratio: float
    atr: float


def average_true_range(row: Row, period: int) -> float:
    """Wilder's recursion, bar by bar."""
    ranges = []
    for before, bar in itertools.pairwise(row):
        high, low, close = bar[1], bar[2], before[3]
        ranges.append(max(high - low, abs(high - close), abs(low - close)))
    value = math.fsum(ranges[:period]) / period
    for true_range in ranges[period:]:
        value += (true_range - value) / period
    return value


def bullish_gap(row: Row, atr: float, s: TacticalSettings) -> Gap | None:
    """The open bullish gap nearest to the close; the youngest of several."""
    close, found = row[-1][3], None
    for third in range(len(row) - 1, 1, -1):
        age = len(row) - 1 - third
        bottom, top = row[third - 2][1], row[third][2]
        if age > s.gap_max_age_bars or top <= bottom or top - bottom < s.gap_min_atr * atr:
            continue
        reached = min([bar[2] for bar in row[third + 1 :]], default=top)
        level = min(top, reached)
        if level <= bottom:
            continue
        distance = max(close - level, 0.0)
        if found is None or distance < found.distance:
            found = Gap(level, distance, age, (top - level) / (top - bottom))
    return found


def bearish_gap(row: Row, atr: float, s: TacticalSettings) -> Gap | None:
    """The open bearish gap nearest to the close; the youngest of several."""
    close, found = row[-1][3], None
    for third in range(len(row) - 1, 1, -1):
        age = len(row) - 1 - third
        top, bottom = row[third - 2][2], row[third][1]
        if age > s.gap_max_age_bars or top <= bottom or top - bottom < s.gap_min_atr * atr:
            continue
        reached = max([bar[1] for bar in row[third + 1 :]], default=bottom)
        level = max(bottom, reached)
        if level >= top:
            continue
        distance = max(level - close, 0.0)
        if found is None or distance < found.distance:
            found = Gap(level, distance, age, (level - bottom) / (top - bottom))
    return found


def strength(gap: Gap | None, atr: float, s: TacticalSettings) -> float:
    """How much an open gap counts."""
    if gap is None:
        return 0.0
    fading: float = s.gap_decay**gap.age
    return (1.0 - gap.mitigation) * fading / (1.0 + gap.distance / (s.gap_reach_atr * atr))


def fvg(row: Row, atr: float, s: TacticalSettings) -> float:
    """Score of the fvg agent."""
    up, down = bullish_gap(row, atr, s), bearish_gap(row, atr, s)
    return max(-1.0, min(1.0, s.gap_gain * (strength(up, atr, s) - strength(down, atr, s))))


def volume_ratio(row: Row, s: TacticalSettings) -> float:
    """Recent volume against the volume before."""
    volumes = [bar[4] for bar in row]
    recent = volumes[-s.momentum_bars :]
    before = volumes[-s.momentum_bars - s.volume_bars : -s.momentum_bars]
    if sum(before) == 0.0:
        return 1.0
    return (math.fsum(recent) / len(recent)) / (math.fsum(before) / len(before))


def momentum(row: Row, volatility: float, s: TacticalSettings) -> float:
    """Score of the momentum agent."""
    move = row[-1][3] / row[-1 - s.momentum_bars][3] - 1.0
    x = s.momentum_gain * move / (volatility * math.sqrt(s.momentum_bars))
    factor = 1.0 + s.volume_influence * (volume_ratio(row, s) - 1.0)
    factor = max(0.0, min(s.max_volume_factor, factor))
    return max(-1.0, min(1.0, factor * x / (1.0 + abs(x))))


def timing(row: Row, atr: float, direction: int, s: TacticalSettings) -> float:
    """How timely an entry is."""
    above = below = 0.0
    for _, high, low, close, volume in row[-s.value_bars :]:
        above += (high + low + close) / 3.0 * volume
        below += volume
    extension = direction * (row[-1][3] - above / below) / atr
    late = max(extension - s.free_extension_atr, 0.0)
    return 1.0 / (1.0 + late**2)


def entry(row: Row, atr: float, action: str, s: TacticalSettings) -> float:
    """Entry price of an action."""
    close = row[-1][3]
    if action == "HOLD":
        return close
    direction = 1 if action == "BUY" else -1
    gap = bullish_gap(row, atr, s) if direction > 0 else bearish_gap(row, atr, s)
    reach = s.pullback_atr * atr
    if gap is not None and gap.distance <= reach:
        return close - direction * gap.distance
    return close - direction * (1.0 - timing(row, atr, direction, s)) * reach


def gate(
    mixed: tuple[float, float, float], context: Context, s: TacticalSettings
) -> tuple[str, str]:
    """Action and reason."""
    favourite = ("BUY", "HOLD", "SELL")[mixed.index(max(mixed))]
    if favourite == "HOLD":
        return "HOLD", "NEUTRAL"
    towards = context.bias if favourite == "BUY" else -context.bias
    if towards < s.min_bias or towards <= 0.0:
        return "HOLD", "NO_ALIGNMENT"
    if context.confidence < s.min_strategic_confidence:
        return "HOLD", "LOW_STRATEGIC_CONFIDENCE"
    wild = context.regime == "HIGH_VOLATILITY"
    if max(mixed) < s.min_confidence + (s.high_volatility_margin if wild else 0.0):
        return "HOLD", "LOW_CONFIDENCE"
    return favourite, "NONE"


def decide(row: Row, context: Context, s: TacticalSettings) -> Decision:
    """The whole decision on one full row with a context."""
    atr = average_true_range(row, s.atr_period)
    direction = 1 if context.bias >= 0 else -1
    lean = max(-1.0, min(1.0, s.entry_gain * context.bias))
    scores = (
        fvg(row, atr, s),
        momentum(row, context.volatility, s),
        lean * timing(row, atr, direction, s),
    )
    parts = [distribution_of(score, s.ambiguity) for score in scores]
    mixed = mixture(parts, [s.fvg_weight, s.momentum_weight, s.entry_weight])
    action, reason = gate(mixed, context, s)
    buy, hold, sell = mixed
    if reason not in {"NONE", "NEUTRAL"}:
        if buy == max(mixed):
            buy, hold = 0.0, hold + buy
        elif sell == max(mixed):
            sell, hold = 0.0, hold + sell
    move = row[-1][3] / row[-1 - s.momentum_bars][3] - 1.0
    price = entry(row, atr, action, s)
    ratio = volume_ratio(row, s)
    return Decision(scores, (buy, hold, sell), action, reason, price, move, ratio, atr)
