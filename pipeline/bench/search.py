"""The highest rate that is sustained: up a ladder with short probes, then halving, then proof."""

import math
from collections.abc import Callable

__all__ = ["highest_sustained"]


def highest_sustained(
    probe: Callable[[float], bool],
    prove: Callable[[float], bool],
    *,
    start: float,
    factor: float = 1.5,
    precision: float = 1.08,
    least: float = 10.0,
    most: float = 50_000.0,
    attempts: int = 4,
) -> float | None:
    """Return the highest rate found that `prove` says yes to; None where there is none.

    Steps:
        1. From `start`, up (or down) by `factor` until probes turn from yes to no.
        2. Halve the ratio between the two until it is below `precision`.
        3. Prove the lower one; where that fails, go down by `precision` and prove again.

    Args:
        probe: Says after a short while whether a rate seems sustained.
        prove: Says after the full time whether it is.
        start: First rate.
        factor: Ratio of the ladder's rungs, above 1.
        precision: Ratio between yes and no at which to stop, above 1.
        least: Lowest rate to try.
        most: Highest rate to try.
        attempts: How often to prove.
    """
    # Step 1
    good, bad = _bracket(probe, start, factor, least, most)
    if good is None:
        return None
    # Step 2
    while bad is not None and bad / good > precision:
        middle = _round(math.sqrt(good * bad))
        if not good < middle < bad:
            break
        if probe(middle):
            good = middle
        else:
            bad = middle
    # Step 3
    for _ in range(attempts):
        if prove(good):
            return good
        good = _round(good / precision)
        if good < least:
            break
    return None


def _bracket(
    probe: Callable[[float], bool], start: float, factor: float, least: float, most: float
) -> tuple[float | None, float | None]:
    """Return (highest rate with a yes, lowest above it with a no); None where there is none."""
    rate = start
    if probe(rate):
        good = rate
        while good < most:
            rate = min(_round(good * factor), most)
            if not probe(rate):
                return good, rate
            good = rate
        return good, None
    bad = rate
    while bad / factor >= least:
        rate = _round(bad / factor)
        if probe(rate):
            return rate, bad
        bad = rate
    return None, bad


def _round(rate: float) -> float:
    """Return a rate with three digits: more would claim what no search finds."""
    digits = 2 - math.floor(math.log10(rate))
    return round(rate, digits)
