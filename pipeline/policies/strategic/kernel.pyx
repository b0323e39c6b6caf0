# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The strategic decision, compiled: row by row what the agents' modules do with whole arrays.

Those modules are the definition, and what decides where there is no C compiler. The result is equal
to theirs to the last bit, so it does not matter to a log or its readers which of the two decided:
the same operations in the same order, sums in numpy's order, and what libraries round differently
(sine, cosine, logarithm) stays with numpy.

The lock of the interpreter is kept: a row takes microseconds, another thread that got the lock
could keep it for a millisecond, and the room for intermediate results is shared by all calls.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport INFINITY, fabs, sqrt

from pipeline.policies.arithmetic cimport (
    ACTIONS,
    AGENTS,
    BUY,
    SELL,
    clip,
    copy,
    directional,
    favourite,
    hold,
    items_of,
    largest,
    maximum,
    mix,
    numbers_in,
    numbers_out,
    sound,
    squash,
    total,
    weighted,
)

cdef enum:
    WARMUP = 0
    TREND_UP = 1
    TREND_DOWN = 2
    RANGE = 3
    HIGH_VOLATILITY = 4
    REGIMES = 5

cdef double LEAST_VOLATILITY = 1e-9


cdef void decay_sums(double* values, Py_ssize_t count, double decay) noexcept nogil:
    cdef Py_ssize_t shift = 1, i
    while shift < count:
        for i in range(count - 1, shift - 1, -1):  # downwards: what is added is of the step before
            values[i] += decay * values[i - shift]
        decay = decay * decay
        shift *= 2


cdef class Kernel:
    """Decides by one set of settings; see `pipeline.policies.strategic.decide`.

    Args:
        settings: The settings.
        gates: [3, 5], weight per agent and regime.
        decays: Per period of mlmi's smoothing, fast and slow.
        corrections: [width - 1], from sums to averages in mlmi's momentum.
        kernel_weights: [width - slope_bars], of nwrqk.
        volatility_weights: [width - 1].
        season: Factors of sine and cosine in the activity now and later.
    """

    cdef Py_ssize_t width, horizon, slow_period, candidates, neighbours, slope_bars, trend_bars, bins
    cdef double ambiguity, distance_floor, slope_gain, value_gain
    cdef double high_volatility_ratio, max_volatility, trend_threshold, trend_gain, trend_root
    cdef double range_gain, high_volatility_gain, node_share
    cdef double scales[3]
    cdef double decays[2]
    cdef double season[4]
    cdef double gates[AGENTS][REGIMES]
    cdef double* room
    cdef double* corrections
    cdef double* kernel_weights
    cdef double* volatility_weights
    cdef double* close
    cdef double* returns
    cdef double* sums
    cdef double* distances
    cdef double* nearest
    cdef double* votes
    cdef double* terms
    cdef double* typical
    cdef double* profile

    def __init__(
        self, settings, gates, decays, corrections, kernel_weights, volatility_weights, season
    ):
        cdef Py_ssize_t i, j
        self.width = settings.width
        self.horizon = settings.horizon_bars
        self.slow_period = settings.slow_period
        self.candidates = self.width - 1 - self.horizon - self.slow_period
        self.neighbours = settings.neighbours
        self.slope_bars = settings.slope_bars
        self.trend_bars = settings.trend_bars
        self.trend_root = settings.trend_bars**0.5
        self.bins = settings.volume_bins
        self.ambiguity = settings.ambiguity
        self.distance_floor = settings.distance_floor
        self.slope_gain = settings.slope_gain
        self.value_gain = settings.value_gain
        self.high_volatility_ratio = settings.high_volatility_ratio
        self.max_volatility = settings.max_volatility
        self.trend_threshold = settings.trend_threshold
        self.trend_gain = settings.trend_gain
        self.range_gain = settings.range_gain
        self.high_volatility_gain = settings.high_volatility_gain
        self.node_share = settings.node_share
        for i in range(3):
            self.scales[i] = settings.feature_scales[i]
        for i in range(2):
            self.decays[i] = decays[i]
        for i in range(4):
            self.season[i] = season[i]
        for i in range(AGENTS):
            for j in range(REGIMES):
                self.gates[i][j] = gates[i][j]
        self.lay_out()
        copy(corrections, self.corrections, self.width - 1)
        copy(volatility_weights, self.volatility_weights, self.width - 1)
        copy(kernel_weights, self.kernel_weights, self.width - self.slope_bars)

    cdef int lay_out(self) except -1:
        """Divide one piece of memory among all arrays; each has room for a window, or the bins."""
        cdef Py_ssize_t width = self.width
        if self.room != NULL:
            return 0
        self.room = <double*>PyMem_Malloc((15 * width + self.bins) * sizeof(double))
        if self.room == NULL:
            raise MemoryError
        self.corrections = self.room
        self.kernel_weights = self.room + width
        self.volatility_weights = self.room + 2 * width
        self.close = self.room + 3 * width
        self.returns = self.room + 4 * width
        self.sums = self.room + 5 * width  # four windows
        self.distances = self.room + 9 * width
        self.nearest = self.room + 10 * width
        self.votes = self.room + 11 * width
        self.terms = self.room + 12 * width
        self.typical = self.room + 13 * width
        self.profile = self.room + 15 * width
        return 0

    def __dealloc__(self):
        PyMem_Free(self.room)

    def decide(
        self, windows, counts, sine, cosine, distributions, confidence, numbers, action, regime
    ):
        """Decide on each window.

        All arrays are contiguous; whole numbers are int64 but for the regime, an int8.

        Args:
            windows: [n, width, 5].
            counts: [n].
            sine: [n], of the time of day.
            cosine: [n].
            distributions: [n, 4, 3], to be filled: the agents', then the mixture.
            confidence: [n, 4], to be filled: of each distribution.
            numbers: [2, n], to be filled: signal strength, volatility forecast.
            action: [n], to be filled.
            regime: [n], to be filled.

        Raises:
            ValueError: An array of another size.
        """
        cdef Py_ssize_t count = len(windows), i
        cdef const double* bars = numbers_in(windows, 5 * self.width * count)
        cdef const double* sines = numbers_in(sine, count)
        cdef const double* cosines = numbers_in(cosine, count)
        cdef const long long* known = <const long long*>items_of(counts, count, 8, False)
        cdef double* mixtures = numbers_out(distributions, 4 * ACTIONS * count)
        cdef double* sure = numbers_out(confidence, 4 * count)
        cdef double* found = numbers_out(numbers, 2 * count)
        cdef long long* actions = <long long*>items_of(action, count, 8, True)
        cdef signed char* regimes = <signed char*>items_of(regime, count, 1, True)
        for i in range(count):
            self.row(
                bars + 5 * self.width * i, known[i] >= self.width, sines[i], cosines[i],
                <double (*)[ACTIONS]>(mixtures + 4 * ACTIONS * i), sure + 4 * i,
                found + i, found + count + i, actions + i, regimes + i,
            )

    cdef void row(
        self, const double* bars, bint full, double sine, double cosine,
        double (*distributions)[ACTIONS], double* confidence, double* strength,
        double* volatility, long long* action, signed char* regime,
    ) noexcept nogil:
        cdef int agent
        cdef double weights[AGENTS]
        cdef double* mixed = distributions[AGENTS]
        regime[0] = WARMUP
        volatility[0] = 0.0
        if full and sound(bars, self.width):
            volatility[0] = self.agents(bars, sine, cosine, distributions, regime)
        else:
            for agent in range(AGENTS):
                hold(distributions[agent])
        for agent in range(AGENTS):
            confidence[agent] = largest(distributions[agent])
            weights[agent] = self.gates[agent][regime[0]] * confidence[agent]
        mix(distributions, weights, mixed)
        confidence[AGENTS] = largest(mixed)
        strength[0] = mixed[BUY] - mixed[SELL]
        action[0] = favourite(mixed)

    cdef double agents(
        self, const double* bars, double sine, double cosine,
        double (*distributions)[ACTIONS], signed char* regime,
    ) noexcept nogil:
        """Fill in the agents' distributions and the regime; return the volatility forecast."""
        cdef Py_ssize_t i, length = self.width - 1
        cdef double volatility, baseline, activity, later
        for i in range(self.width):
            self.close[i] = bars[5 * i + 3]
        for i in range(length):
            self.returns[i] = self.close[i + 1] / self.close[i] - 1.0
            self.votes[i] = self.returns[i] * self.returns[i]
        volatility = weighted(self.votes, self.volatility_weights, self.terms, length)
        volatility = maximum(sqrt(volatility), LEAST_VOLATILITY)
        baseline = maximum(sqrt(total(self.votes, length) / length), LEAST_VOLATILITY)
        activity = 1.0 + self.season[0] * sine + self.season[1] * cosine
        later = 1.0 + self.season[2] * sine + self.season[3] * cosine
        directional(self.mlmi(), self.ambiguity, distributions[0])
        directional(self.nwrqk(volatility), self.ambiguity, distributions[1])
        directional(
            self.regime(bars, volatility, baseline, activity, regime),
            self.ambiguity,
            distributions[2],
        )
        return volatility * (later / activity)

    cdef double mlmi(self) noexcept nogil:
        cdef Py_ssize_t i, j, length = self.width - 1
        cdef double last[3]
        cdef double here[3]
        cdef double difference, squared, after, kth
        self.smooth()
        self.features(length - 1, last)
        for i in range(self.candidates):
            self.features(self.slow_period + i, here)
            squared = 0.0
            for j in range(3):
                difference = self.scales[j] * (here[j] - last[j])
                squared += difference * difference
            self.distances[i] = squared
        kth = self.kth_distance()
        for i in range(self.candidates):
            after = 1.0
            for j in range(self.horizon):
                after *= 1.0 + self.returns[self.slow_period + 1 + i + j]
            squared = self.distances[i]
            self.votes[i] = (1.0 if squared <= kth else 0.0) / (squared + self.distance_floor)
            after -= 1.0
            self.terms[i] = self.votes[i] * ((after > 0.0) - (after < 0.0))
        return total(self.terms, self.candidates) / total(self.votes, self.candidates)

    cdef void smooth(self) noexcept nogil:
        """Sums of gains and losses: fast gains, fast losses, slow gains, slow losses."""
        cdef Py_ssize_t i, length = self.width - 1, width = self.width
        cdef double gain
        for i in range(length):
            gain = maximum(self.returns[i], 0.0)
            self.sums[i] = self.sums[2 * width + i] = gain
            self.sums[width + i] = self.sums[3 * width + i] = gain - self.returns[i]
        for i in range(4):
            decay_sums(self.sums + i * width, length, self.decays[i // 2])

    cdef void features(self, Py_ssize_t i, double* found) noexcept nogil:
        cdef Py_ssize_t width = self.width
        cdef double fast_net = self.sums[i] - self.sums[width + i]
        cdef double fast_all = self.sums[i] + self.sums[width + i]
        cdef double slow_net = self.sums[2 * width + i] - self.sums[3 * width + i]
        cdef double slow_all = self.sums[2 * width + i] + self.sums[3 * width + i]
        if fast_all <= 0.0:
            fast_all = 1.0
        if slow_all <= 0.0:
            slow_all = 1.0
        found[0] = 0.5 * (fast_net / fast_all)
        found[1] = 0.5 * (slow_net / slow_all)
        found[2] = fast_net / slow_all * self.corrections[i]

    cdef double kth_distance(self) noexcept nogil:
        """The `neighbours`-th smallest distance, by insertion: both numbers are small."""
        cdef Py_ssize_t i, at, known = 0
        cdef double distance
        for i in range(self.candidates):
            distance = self.distances[i]
            if known == self.neighbours:
                if distance >= self.nearest[known - 1]:
                    continue
                known -= 1
            at = known
            while at > 0 and self.nearest[at - 1] > distance:
                self.nearest[at] = self.nearest[at - 1]
                at -= 1
            self.nearest[at] = distance
            known += 1
        return self.nearest[self.neighbours - 1]

    cdef double nwrqk(self, double volatility) noexcept nogil:
        cdef Py_ssize_t length = self.width - self.slope_bars
        cdef double now, before, last = self.close[self.width - 1], unit, slope, value
        now = weighted(self.close + self.slope_bars, self.kernel_weights, self.terms, length)
        before = weighted(self.close, self.kernel_weights, self.terms, length)
        unit = volatility * last
        slope = (now - before) / (self.slope_bars * unit)
        value = (last - now) / unit
        return squash(self.slope_gain * slope + self.value_gain * value)

    cdef double regime(
        self, const double* bars, double volatility, double baseline, double activity,
        signed char* regime,
    ) noexcept nogil:
        cdef double ratio = self.efficiency_ratio()
        cdef double unit
        if volatility > self.high_volatility_ratio * activity * baseline or volatility > self.max_volatility:
            regime[0] = HIGH_VOLATILITY
            return clip(self.high_volatility_gain * ratio, -1.0, 1.0)
        if fabs(ratio) >= self.trend_threshold:
            regime[0] = TREND_UP if ratio > 0.0 else TREND_DOWN
            return clip(self.trend_gain * ratio, -1.0, 1.0)
        regime[0] = RANGE
        unit = volatility * self.trend_root
        return self.range_gain * squash(self.node_distance(bars) / unit)

    cdef double efficiency_ratio(self) noexcept nogil:
        cdef const double* recent = self.close + (self.width - 1 - self.trend_bars)
        cdef double way
        cdef Py_ssize_t i
        for i in range(self.trend_bars):
            self.terms[i] = fabs(recent[i + 1] - recent[i])
        way = total(self.terms, self.trend_bars)
        return (recent[self.trend_bars] - recent[0]) / (way if way > 0.0 else 1.0)

    cdef double node_distance(self, const double* bars) noexcept nogil:
        cdef Py_ssize_t i, place, best = 0
        cdef double bottom, top, step, most = 0.0, reach, shortest = INFINITY, way = 0.0, nearest = 0.0
        cdef double close = self.close[self.width - 1]
        for i in range(self.width):
            self.typical[i] = (bars[5 * i + 1] + bars[5 * i + 2] + bars[5 * i + 3]) / 3.0
        bottom = top = self.typical[0]
        for i in range(self.width):
            bottom = min(bottom, self.typical[i])
            top = max(top, self.typical[i])
        step = (top - bottom) / self.bins
        for i in range(self.bins):
            self.profile[i] = 0.0
        for i in range(self.width):
            place = <Py_ssize_t>((self.typical[i] - bottom) / (step if step > 0.0 else 1.0))
            self.profile[min(place, self.bins - 1)] += bars[5 * i + 4]
        for i in range(self.bins):
            most = maximum(self.profile[i], most)
        if not most > 0.0:
            return 0.0 / close
        for i in range(self.bins):
            if self.profile[i] >= self.node_share * most:
                way = (bottom + step * (i + 0.5)) - close
                if fabs(way) < shortest:
                    shortest = fabs(way)
                    nearest = way
        return nearest / close
