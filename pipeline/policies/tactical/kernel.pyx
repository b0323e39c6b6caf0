# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The tactical decision, compiled: row by row what the agents' modules do with whole arrays.

Equal to the last bit to what those modules decide; see `pipeline.policies.strategic.kernel`, of
which all that is said there holds here.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport INFINITY, fabs

from pipeline.policies.arithmetic cimport (
    ACTIONS,
    AGENTS,
    BUY,
    HOLD,
    SELL,
    clip,
    copy,
    directional,
    favourite,
    hold,
    items_of,
    largest,
    maximum,
    minimum,
    mix,
    numbers_in,
    numbers_out,
    sound,
    squash,
    total,
    weighted,
)

cdef enum:
    WARMUP = 0  # regimes
    HIGH_VOLATILITY = 4
    ACTED_ON = 0  # reasons
    WINDOW_WARMUP = 1
    NO_CONTEXT = 2
    NEUTRAL = 3
    NO_ALIGNMENT = 4
    LOW_STRATEGIC_CONFIDENCE = 5
    LOW_CONFIDENCE = 6

cdef double LEAST_VOLATILITY = 1e-9


cdef struct Context:
    double bias
    double confidence
    double volatility
    int regime
    bint informed


cdef struct Gap:
    double distance
    double mitigation
    Py_ssize_t age


cdef struct Row:
    double entry
    double timing
    double momentum
    double volume_ratio
    double atr
    int action
    int reason


cdef class Kernel:
    """Decides by one set of settings; see `pipeline.policies.tactical.decide`.

    Args:
        settings: The settings.
        wilder_weights: [width - 1], of the average true range.
        fading: [gap_max_age_bars + 1], of a gap's strength.
    """

    cdef Py_ssize_t width, ages, momentum_bars, volume_bars, value_bars
    cdef double ambiguity, min_bias, min_confidence, min_strategic_confidence
    cdef double high_volatility_margin, gap_min_atr, gap_reach_atr, gap_gain
    cdef double momentum_gain, momentum_root, volume_influence, max_volume_factor
    cdef double entry_gain, free_extension_atr, pullback_atr
    cdef double agent_weights[AGENTS]
    cdef double* room
    cdef double* wilder_weights
    cdef double* fading
    cdef double* values
    cdef double* terms
    cdef double* typical

    def __init__(self, settings, wilder_weights, fading):
        self.width = settings.width
        self.ages = settings.gap_max_age_bars + 1
        self.momentum_bars = settings.momentum_bars
        self.momentum_root = settings.momentum_bars**0.5
        self.volume_bars = settings.volume_bars
        self.value_bars = settings.value_bars
        self.ambiguity = settings.ambiguity
        self.min_bias = settings.min_bias
        self.min_confidence = settings.min_confidence
        self.min_strategic_confidence = settings.min_strategic_confidence
        self.high_volatility_margin = settings.high_volatility_margin
        self.gap_min_atr = settings.gap_min_atr
        self.gap_reach_atr = settings.gap_reach_atr
        self.gap_gain = settings.gap_gain
        self.momentum_gain = settings.momentum_gain
        self.volume_influence = settings.volume_influence
        self.max_volume_factor = settings.max_volume_factor
        self.entry_gain = settings.entry_gain
        self.free_extension_atr = settings.free_extension_atr
        self.pullback_atr = settings.pullback_atr
        self.agent_weights[0] = settings.fvg_weight
        self.agent_weights[1] = settings.momentum_weight
        self.agent_weights[2] = settings.entry_weight
        self.lay_out()
        copy(wilder_weights, self.wilder_weights, self.width - 1)
        copy(fading, self.fading, self.ages)

    cdef int lay_out(self) except -1:
        """Divide one piece of memory among all arrays; each has room for a window."""
        cdef Py_ssize_t width = self.width
        if self.room != NULL:
            return 0
        self.room = <double*>PyMem_Malloc(5 * width * sizeof(double))
        if self.room == NULL:
            raise MemoryError
        self.wilder_weights = self.room
        self.fading = self.room + width
        self.values = self.room + 2 * width
        self.terms = self.room + 3 * width
        self.typical = self.room + 4 * width
        return 0

    def __dealloc__(self):
        PyMem_Free(self.room)

    def decide(
        self, windows, counts, context, regime, distributions, confidence, numbers, action, reason
    ):
        """Decide on each window.

        All arrays are contiguous; whole numbers are int64 but for regime and reason, int8.

        Args:
            windows: [n, width, 5].
            counts: [n].
            context: [3, n], the strategic bias, confidence and volatility.
            regime: [n].
            distributions: [n, 4, 3], to be filled: the agents', then the mixture.
            confidence: [n, 4], to be filled: of each distribution.
            numbers: [5, n], to be filled: entry, timing, momentum, volume ratio, true range.
            action: [n], to be filled.
            reason: [n], to be filled.

        Raises:
            ValueError: An array of another size.
        """
        cdef Py_ssize_t count = len(windows), i
        cdef const double* bars = numbers_in(windows, 5 * self.width * count)
        cdef const long long* known = <const long long*>items_of(counts, count, 8, False)
        cdef const double* strategic = numbers_in(context, 3 * count)
        cdef const signed char* regimes = <const signed char*>items_of(regime, count, 1, False)
        cdef double* mixtures = numbers_out(distributions, 4 * ACTIONS * count)
        cdef double* sure = numbers_out(confidence, 4 * count)
        cdef double* found = numbers_out(numbers, 5 * count)
        cdef long long* actions = <long long*>items_of(action, count, 8, True)
        cdef signed char* reasons = <signed char*>items_of(reason, count, 1, True)
        cdef Row row
        for i in range(count):
            row = self.row(
                bars + 5 * self.width * i, known[i] >= self.width,
                informed(
                    strategic[i], strategic[count + i], strategic[2 * count + i], regimes[i]
                ),
                <double (*)[ACTIONS]>(mixtures + 4 * ACTIONS * i), sure + 4 * i,
            )
            found[i] = row.entry
            found[count + i] = row.timing
            found[2 * count + i] = row.momentum
            found[3 * count + i] = row.volume_ratio
            found[4 * count + i] = row.atr
            actions[i] = row.action
            reasons[i] = row.reason

    cdef Row row(
        self, const double* bars, bint full, Context above, double (*distributions)[ACTIONS],
        double* confidence,
    ) noexcept nogil:
        cdef int agent
        cdef double weights[AGENTS]
        cdef double* mixed = distributions[AGENTS]
        cdef Gap gaps[2]
        cdef Row found
        cdef bint ready = full and sound(bars, self.width)
        if ready:
            found = self.agents(bars, above, gaps, distributions)
        else:
            found.entry = found.timing = found.momentum = found.atr = 0.0
            found.volume_ratio = 1.0
            for agent in range(AGENTS):
                hold(distributions[agent])
        for agent in range(AGENTS):
            confidence[agent] = largest(distributions[agent])
            weights[agent] = self.agent_weights[agent] * confidence[agent]
        mix(distributions, weights, mixed)
        found.action = favourite(mixed)
        found.reason = self.reason(mixed, found.action, ready, above)
        if found.reason != ACTED_ON and found.action != HOLD:
            mixed[HOLD] += mixed[found.action]
            mixed[found.action] = 0.0
            found.action = HOLD
        confidence[AGENTS] = largest(mixed)
        if ready:
            found.entry = self.entry(bars, found, gaps, above)
        return found

    cdef int reason(
        self, const double* mixed, int best, bint ready, Context above
    ) noexcept nogil:
        """The first reason to hold."""
        cdef double bias = above.bias if best == BUY else -above.bias
        cdef double limit = self.min_confidence + self.high_volatility_margin * (
            above.regime == HIGH_VOLATILITY
        )
        if not ready:
            return WINDOW_WARMUP
        if not above.informed:
            return NO_CONTEXT
        if best == HOLD:
            return NEUTRAL
        if bias < self.min_bias or bias <= 0.0:
            return NO_ALIGNMENT
        if above.confidence < self.min_strategic_confidence:
            return LOW_STRATEGIC_CONFIDENCE
        return LOW_CONFIDENCE if largest(mixed) < limit else ACTED_ON

    cdef Row agents(
        self, const double* bars, Context above, Gap* gaps, double (*distributions)[ACTIONS]
    ) noexcept nogil:
        """Fill in the agents' distributions and the gaps; return what they looked at."""
        cdef Row found
        cdef double close = bars[5 * (self.width - 1) + 3], lean = 1.0 if above.bias >= 0.0 else -1.0
        cdef double leaning
        found.atr = self.true_range(bars)
        gaps[0] = self.nearest_gap(bars, found.atr, 1.0, 2, 1)
        gaps[1] = self.nearest_gap(bars, found.atr, -1.0, 1, 2)
        found.momentum = close / bars[5 * (self.width - 1 - self.momentum_bars) + 3] - 1.0
        found.volume_ratio = self.volume_ratio(bars)
        found.timing = self.timeliness(bars, found.atr, lean)
        leaning = clip(self.entry_gain * above.bias, -1.0, 1.0) * found.timing
        directional(self.gap_score(gaps, found.atr), self.ambiguity, distributions[0])
        directional(self.momentum_score(found, above.volatility), self.ambiguity, distributions[1])
        directional(leaning, self.ambiguity, distributions[2])
        return found

    cdef double true_range(self, const double* bars) noexcept nogil:
        cdef Py_ssize_t i
        cdef double before
        for i in range(1, self.width):
            before = bars[5 * (i - 1) + 3]
            self.values[i - 1] = (
                maximum(bars[5 * i + 1], before) - minimum(bars[5 * i + 2], before)
            )
        return weighted(self.values, self.wilder_weights, self.terms, self.width - 1)

    cdef Gap nearest_gap(
        self, const double* bars, double atr, double sign, int lower, int upper
    ) noexcept nogil:
        """The open gap nearest to the price: bullish, or bearish as that of the negatives.

        Args:
            bars: The window.
            atr: Average true range.
            sign: 1 for bullish gaps, -1 for bearish ones.
            lower: Column of the lower price of a bar after the sign, low or high.
            upper: Column of the upper one.
        """
        cdef Gap found
        cdef Py_ssize_t age, at
        cdef double close = bars[5 * (self.width - 1) + 3] * sign
        cdef double least = self.gap_min_atr * atr
        cdef double later = INFINITY, top, size, edge, mitigation, distance
        found.age = 0
        found.mitigation = 0.0
        found.distance = INFINITY
        for age in range(self.ages):
            at = self.width - 1 - age
            top = sign * bars[5 * at + lower]
            size = top - sign * bars[5 * (at - 2) + upper]
            edge = minimum(top, later)
            if size > 0.0 and size >= least:
                mitigation = (top - edge) / size
                distance = maximum(close - edge, 0.0)
                if mitigation < 1.0 and distance < found.distance:
                    found.distance = distance
                    found.mitigation = mitigation
                    found.age = age
            later = minimum(later, top)
        return found

    cdef double gap_score(self, const Gap* gaps, double atr) noexcept nogil:
        cdef double reach = self.gap_reach_atr * (atr if atr > 0.0 else 1.0)
        cdef double strength[2]
        cdef int side
        for side in range(2):
            strength[side] = (
                (1.0 - gaps[side].mitigation) * self.fading[gaps[side].age]
                / (1.0 + gaps[side].distance / reach)
            )
        return clip(self.gap_gain * (strength[0] - strength[1]), -1.0, 1.0)

    cdef double volume_ratio(self, const double* bars) noexcept nogil:
        cdef Py_ssize_t i, first = self.width - self.momentum_bars - self.volume_bars
        cdef double recent, before
        for i in range(first, self.width):
            self.values[i - first] = bars[5 * i + 4]
        recent = total(self.values + self.volume_bars, self.momentum_bars) / self.momentum_bars
        before = total(self.values, self.volume_bars) / self.volume_bars
        return recent / before if before > 0.0 else 1.0

    cdef double timeliness(self, const double* bars, double atr, double lean) noexcept nogil:
        cdef double close = bars[5 * (self.width - 1) + 3], extension, late
        extension = lean * (close - self.average_price(bars)) / (atr if atr > 0.0 else INFINITY)
        late = maximum(extension - self.free_extension_atr, 0.0)
        return 1.0 / (1.0 + late * late)

    cdef double average_price(self, const double* bars) noexcept nogil:
        cdef Py_ssize_t i, at, first = self.width - self.value_bars
        cdef double volume
        for i in range(self.value_bars):
            at = 5 * (first + i)
            self.typical[i] = (bars[at + 1] + bars[at + 2] + bars[at + 3]) / 3.0
            self.values[i] = bars[at + 4]
        volume = total(self.values, self.value_bars)
        if volume > 0.0:
            return weighted(self.typical, self.values, self.terms, self.value_bars) / volume
        return total(self.typical, self.value_bars) / self.value_bars

    cdef double momentum_score(self, Row found, double volatility) noexcept nogil:
        cdef double unit = maximum(volatility, LEAST_VOLATILITY) * self.momentum_root
        cdef double factor = 1.0 + self.volume_influence * (found.volume_ratio - 1.0)
        factor = clip(factor, 0.0, self.max_volume_factor)
        return clip(factor * squash(self.momentum_gain * (found.momentum / unit)), -1.0, 1.0)

    cdef double entry(
        self, const double* bars, Row found, const Gap* gaps, Context above
    ) noexcept nogil:
        cdef double close = bars[5 * (self.width - 1) + 3], reach = self.pullback_atr * found.atr
        cdef double level, step, direction
        if found.action == HOLD:
            return close
        direction = 1.0 if above.bias >= 0.0 else -1.0
        level = gaps[0].distance if direction > 0.0 else gaps[1].distance
        step = level if level <= reach else (1.0 - found.timing) * reach
        # Half the price is a bound for markets so wild that the step would go below zero.
        return close - direction * minimum(step, 0.5 * close)


cdef Context informed(double bias, double confidence, double volatility, int regime) noexcept nogil:
    """What the strategic stage said, with nothing instead of what cannot be used."""
    cdef Context found
    found.confidence = confidence
    found.regime = regime
    found.informed = (
        regime != WARMUP and fabs(bias) <= 1.0 and 0.0 <= confidence <= 1.0
        and 0.0 <= volatility < INFINITY
    )
    found.bias = bias if found.informed else 0.0
    found.volatility = volatility if found.informed else 0.0
    return found
