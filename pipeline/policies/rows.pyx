# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled helpers of the policies: bar windows, coherence from logarithms, moments of a book.

They do what `windows`, `actions` and `risk.monitor` do with whole arrays, to the last bit.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport isfinite
from libc.string cimport memcpy

from pipeline.policies.arithmetic cimport (
    ACTIONS,
    clip,
    items_of,
    maximum,
    numbers_in,
    numbers_out,
    total,
)

cdef enum:
    FIELDS = 5


cdef const double* finite_bars(bars, Py_ssize_t count) except? NULL:
    cdef const double* given = numbers_in(bars, FIELDS * count)
    cdef Py_ssize_t i
    for i in range(FIELDS * count):
        if not isfinite(given[i]):
            raise ArithmeticError("Expected finite numbers")
    return given


def gather(list symbols, bars, dict slots, rings, heads, counts, Py_ssize_t width, windows, sizes):
    """Fill in the window that ends at each new bar, and the number of bars in it.

    All arrays are contiguous; whole numbers are int64.

    Args:
        symbols: n symbols, repeats allowed.
        bars: [n, 5], the new bars.
        slots: Slot of each symbol that has a history; slot 0 has none.
        rings: [m, width, 5], bars by slot.
        heads: [m], place of the oldest bar in each ring.
        counts: [m], bars in each ring.
        width: Bars per window.
        windows: [n, width, 5], to be filled.
        sizes: [n], to be filled.

    Raises:
        ArithmeticError: A number that is not finite.
        ValueError: An array of another size.
    """
    cdef Py_ssize_t count = len(symbols), capacity = len(heads), row, slot, room, before, tail
    cdef const double* given = finite_bars(bars, count)
    cdef const double* ring = numbers_in(rings, capacity * width * FIELDS)
    cdef const long long* oldest = <const long long*>items_of(heads, capacity, 8, False)
    cdef const long long* known = <const long long*>items_of(counts, capacity, 8, False)
    cdef double* out = numbers_out(windows, count * width * FIELDS)
    cdef long long* size = <long long*>items_of(sizes, count, 8, True)
    cdef double* window
    cdef dict latest = {}
    for row in range(count):
        symbol = symbols[row]
        window = out + row * width * FIELDS
        before = latest.get(symbol, -1)
        if before >= 0:  # the window before, moved on by a bar
            memcpy(window, out + (before * width + 1) * FIELDS, (width - 1) * FIELDS * sizeof(double))
            size[row] = min(size[before] + 1, width)
        else:
            slot = slots.get(symbol, 0)
            room = (oldest[slot] + 1) % width  # the oldest bar but one
            tail = min(width - room, width - 1)
            memcpy(
                window,
                ring + (slot * width + room) * FIELDS,
                tail * FIELDS * sizeof(double),
            )
            memcpy(
                window + tail * FIELDS,
                ring + slot * width * FIELDS,
                (width - 1 - tail) * FIELDS * sizeof(double),
            )
            size[row] = min(known[slot] + 1, width)
        memcpy(window + (width - 1) * FIELDS, given + row * FIELDS, FIELDS * sizeof(double))
        latest[symbol] = row


def push(Py_ssize_t slot, bar, rings, heads, counts, Py_ssize_t width):
    """Put a bar of five finite numbers in the place of a ring's oldest; see `gather`.

    Raises:
        ArithmeticError: Not five finite numbers; nothing is changed.
        ValueError: An array of another size.
    """
    cdef Py_ssize_t capacity = len(heads), field
    cdef double* ring = numbers_out(rings, capacity * width * FIELDS)
    cdef long long* oldest = <long long*>items_of(heads, capacity, 8, True)
    cdef long long* known = <long long*>items_of(counts, capacity, 8, True)
    cdef double values[FIELDS]
    if len(bar) != FIELDS or not 0 <= slot < capacity:
        raise ArithmeticError("Expected five numbers")
    for field in range(FIELDS):
        values[field] = bar[field]
        if not isfinite(values[field]):
            raise ArithmeticError("Expected finite numbers")
    memcpy(ring + (slot * width + oldest[slot]) * FIELDS, values, sizeof(values))
    oldest[slot] = (oldest[slot] + 1) % width
    known[slot] = min(known[slot] + 1, width)


def coherence(distributions, logarithms, double most, coherences):
    """Fill in 1 - entropy / `most` of each distribution, in [0, 1].

    Args:
        distributions: n distributions over three actions.
        logarithms: Of each of their numbers.
        most: The largest entropy there can be.
        coherences: n numbers.

    Raises:
        ValueError: An array of another size.
    """
    cdef Py_ssize_t count = coherences.size, i
    cdef const double* chance = numbers_in(distributions, ACTIONS * count)
    cdef const double* log = numbers_in(logarithms, ACTIONS * count)
    cdef double* out = numbers_out(coherences, count)
    cdef double entropy
    for i in range(count):
        entropy = -(chance[0] * log[0] + chance[1] * log[1] + chance[2] * log[2])
        out[i] = clip(1.0 - entropy / most, 0.0, 1.0)
        chance += ACTIONS
        log += ACTIONS


def moments(scaled, volatility, weights, Py_ssize_t position):
    """Return the variance of a book, its covariance with a unit of a symbol, that unit's variance.

    Args:
        scaled: [steps, k], returns in units of their volatility.
        volatility: [k].
        weights: [k].
        position: Column of the symbol.

    Raises:
        ValueError: An array of another size, or no such column.
    """
    cdef Py_ssize_t steps = len(scaled), columns = len(weights)
    cdef const double* history = numbers_in(scaled, steps * columns)
    cdef const double* sigma = numbers_in(volatility, columns)
    cdef const double* weight = numbers_in(weights, columns)
    cdef double* room
    if not 0 <= position < columns:
        raise ValueError(f"Expected a column from 0 to {columns - 1}, was {position}")
    room = <double*>PyMem_Malloc(3 * (steps + columns) * sizeof(double))
    if room == NULL:
        raise MemoryError
    try:
        return moments_of(history, sigma, weight, steps, columns, position, room)
    finally:
        PyMem_Free(room)


cdef (double, double, double) moments_of(
    const double* history, const double* sigma, const double* weight, Py_ssize_t steps,
    Py_ssize_t columns, Py_ssize_t position, double* room,
) noexcept nogil:
    cdef double* profit = room
    cdef double* unit = room + steps
    cdef double* products = room + 2 * steps  # of steps or columns, whichever are summed
    cdef double* missing = room + 3 * steps + columns
    cdef double* stakes = room + 3 * steps + 2 * columns
    cdef double book, cross, own, unseen, unseen_book
    cdef Py_ssize_t step, i
    for i in range(columns):
        stakes[i] = weight[i] * sigma[i]
    for step in range(steps):
        for i in range(columns):
            products[i] = history[step * columns + i] * stakes[i]
        profit[step] = total(products, columns)
        unit[step] = history[step * columns + position] * sigma[position]
    unseen_returns(history, steps, columns, products, missing)
    for i in range(columns):
        missing[i] = missing[i] * sigma[i] * sigma[i]
        products[i] = weight[i] * weight[i] * missing[i]
    unseen_book = total(products, columns)
    unseen = missing[position]
    for step in range(steps):
        products[step] = profit[step] * profit[step]
    book = total(products, steps) / steps + unseen_book
    for step in range(steps):
        products[step] = profit[step] * unit[step]
    cross = total(products, steps) / steps + weight[position] * unseen
    for step in range(steps):
        products[step] = unit[step] * unit[step]
    own = total(products, steps) / steps + unseen
    return book, cross, own


cdef void unseen_returns(
    const double* history, Py_ssize_t steps, Py_ssize_t columns, double* products, double* missing
) noexcept nogil:
    """1 less the mean square of each column, at least 0."""
    cdef Py_ssize_t step, i
    for i in range(columns):
        missing[i] = 0.0
    if columns == 1:  # numpy sums a single column in pairs, several row by row
        for step in range(steps):
            products[step] = history[step] * history[step]
        missing[0] = total(products, steps)
    else:
        for step in range(steps):
            for i in range(columns):
                missing[i] += history[step * columns + i] * history[step * columns + i]
    for i in range(columns):
        missing[i] = maximum(1.0 - missing[i] / steps, 0.0)
