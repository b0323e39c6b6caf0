"""Distributions over an ordered ladder of named steps, for agents that bound and veto.

A ladder goes from mild to strict, as APPROVE to EMERGENCY_STOP. Such agents are never averaged:
the strictest step wins and the smallest bound holds. What they give as a distribution says how
near to its neighbours a step was chosen, so that a reader of the log sees close calls.
"""

import math
from collections.abc import Iterable, Sequence

__all__ = ["LEAST_CERTAINTY", "distribution", "margin_of", "strictest"]

LEAST_CERTAINTY = 0.55  # of the step chosen, so that it stays the most probable one


def distribution(ladder: Sequence[str], step: str, margin: float) -> dict[str, float]:
    """Return the distribution of an agent that chose `step`.

    P(step) = 0.55 + 0.45 m; the rest goes to the neighbours on the ladder, in equal parts.

    Args:
        ladder: Names of the steps, mild to strict; at least two.
        step: The one chosen.
        margin: m, how far the choice was from tipping; clipped to [0, 1], NaN counts as 0.
    """
    position = ladder.index(step)
    certain = LEAST_CERTAINTY + (1.0 - LEAST_CERTAINTY) * margin_of(margin)
    neighbours = [i for i in (position - 1, position + 1) if 0 <= i < len(ladder)]
    result = dict.fromkeys(ladder, 0.0)
    for neighbour in neighbours:
        result[ladder[neighbour]] = (1.0 - certain) / len(neighbours)
    result[step] = certain
    return result


def margin_of(value: float) -> float:
    """Return `value` clipped to [0, 1]; NaN is 0."""
    return 0.0 if math.isnan(value) else min(1.0, max(0.0, value))


def strictest(ladder: Sequence[str], steps: Iterable[str]) -> str:
    """Return the strictest of `steps`; the mildest of the ladder where there is none."""
    return ladder[max((ladder.index(step) for step in steps), default=0)]
