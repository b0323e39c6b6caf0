# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled helpers of all policies, row by row: bar windows, and coherence from logarithms.

They do what `pipeline.policies.windows` and `pipeline.policies.actions` do with whole arrays, to
the last bit.
"""

from libc.math cimport isfinite
from libc.string cimport memcpy

from pipeline.policies.arithmetic cimport ACTIONS, clip, items_of, numbers_in, numbers_out

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
