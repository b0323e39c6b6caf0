# cython: language_level=3
"""What the compiled policies share: numpy's operations on one row, to the last bit.

Each function does what the numpy function of its name, or the function of
`pipeline.policies.actions`, does to one row: the same operations in the same order, none of them
fused (the build says `-ffp-contract=off`).
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport fabs

# numpy/core/src/umath/loops_utils.h.src: numpy sums blocks of so many values eight at a time.
cdef enum:
    BLOCK = 128
    AGENTS = 3
    ACTIONS = 3
    BUY = 0
    HOLD = 1
    SELL = 2


cdef inline void* items_of(
    object array, Py_ssize_t count, Py_ssize_t size, bint writable
) except? NULL:
    """Return where the items of a contiguous array begin; the caller keeps the array alive."""
    cdef Py_buffer view
    cdef Py_ssize_t length
    PyObject_GetBuffer(array, &view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    length = view.len
    PyBuffer_Release(&view)
    if length != count * size:
        raise ValueError(f"Expected an array of {count * size} bytes, was {length}")
    return view.buf


cdef inline const double* numbers_in(object array, Py_ssize_t count) except? NULL:
    return <const double*>items_of(array, count, sizeof(double), False)


cdef inline double* numbers_out(object array, Py_ssize_t count) except? NULL:
    return <double*>items_of(array, count, sizeof(double), True)


cdef inline int copy(object array, double* numbers, Py_ssize_t count) except -1:
    cdef const double* given = numbers_in(array, count)
    cdef Py_ssize_t i
    for i in range(count):
        numbers[i] = given[i]
    return 0


cdef inline double maximum(double first, double second) noexcept nogil:
    return first if first >= second or first != first else second


cdef inline double minimum(double first, double second) noexcept nogil:
    return first if first <= second or first != first else second


cdef inline double clip(double value, double lowest, double highest) noexcept nogil:
    return minimum(maximum(value, lowest), highest)


cdef inline double squash(double value) noexcept nogil:
    return value / (1.0 + fabs(value))


cdef inline double total(const double* values, Py_ssize_t count) noexcept nogil:
    """Sum in numpy's pairwise order (Higham, "The Accuracy of Floating Point Summation", 1993)."""
    cdef double part[8]
    cdef double found
    cdef Py_ssize_t i, j, whole
    if count < 8:
        found = 0.0
        for i in range(count):
            found += values[i]
        return found
    if count > BLOCK:
        whole = count // 2
        whole -= whole % 8
        return total(values, whole) + total(values + whole, count - whole)
    for j in range(8):
        part[j] = values[j]
    whole = count - count % 8
    for i in range(8, whole, 8):
        for j in range(8):
            part[j] += values[i + j]
    found = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]))
    for i in range(whole, count):
        found += values[i]
    return found


cdef inline double weighted(
    const double* values, const double* weights, double* products, Py_ssize_t count
) noexcept nogil:
    """Return the weighted sum; `products` is room for as many numbers."""
    cdef Py_ssize_t i
    for i in range(count):
        products[i] = values[i] * weights[i]
    return total(products, count)


cdef inline int favourite(const double* distribution) noexcept nogil:
    """Return the most probable action; ties go to the first."""
    cdef int best = 0
    if distribution[1] > distribution[best]:
        best = 1
    if distribution[2] > distribution[best]:
        best = 2
    return best


cdef inline double largest(const double* distribution) noexcept nogil:
    return maximum(maximum(distribution[0], distribution[1]), distribution[2])


cdef inline void hold(double* distribution) noexcept nogil:
    distribution[BUY] = distribution[SELL] = 0.0
    distribution[HOLD] = 1.0


cdef inline void directional(double score, double ambiguity, double* distribution) noexcept nogil:
    cdef double undecided = 1.0 - fabs(score)
    cdef double floor = ambiguity * undecided
    distribution[BUY] = maximum(score, 0.0) + floor
    distribution[HOLD] = undecided - 2.0 * floor
    distribution[SELL] = maximum(-score, 0.0) + floor


cdef inline void mix(
    double (*parts)[ACTIONS], const double* weights, double* mixed
) noexcept nogil:
    cdef double weight = weights[0]
    cdef int agent, action
    for action in range(ACTIONS):
        mixed[action] = weights[0] * parts[0][action]
    for agent in range(1, AGENTS):
        weight += weights[agent]
        for action in range(ACTIONS):
            mixed[action] += weights[agent] * parts[agent][action]
    if weight <= 0.0:
        hold(mixed)
        return
    for action in range(ACTIONS):
        mixed[action] /= weight


cdef inline bint sound(const double* bars, Py_ssize_t width) noexcept nogil:
    """Say whether a window can be decided on; see `pipeline.policies.indicators.columns`."""
    cdef double lowest = bars[0], highest = bars[0], least = bars[4], most = bars[4], value
    cdef Py_ssize_t i
    cdef int field
    for i in range(width):
        for field in range(4):
            value = bars[5 * i + field]
            if value != value:
                return False
            lowest = minimum(lowest, value)
            highest = maximum(highest, value)
        value = bars[5 * i + 4]
        if value != value:
            return False
        least = minimum(least, value)
        most = maximum(most, value)
    return (
        lowest >= 1e-200 and highest <= 1e200 and highest <= 1e4 * lowest
        and least >= 0.0 and most <= 1e18
    )
