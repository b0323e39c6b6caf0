"""Superposition maths: categorical distributions over named actions.

A distribution is finite, non-negative and sums to 1 within 1e-6. Its confidence is the probability
of the chosen action, its coherence 1 - H(p) / log(n), with Shannon's entropy H (Shannon, "A
Mathematical Theory of Communication", 1948): 1 for a certain action, 0 for a uniform distribution.
Risk is an envelope and a veto; it is never mixed with direction.
"""

import math
from collections.abc import Iterable, Mapping

from pipeline.errors import InvalidPacket
from pipeline.packets.models import Superposition

__all__ = ["TOLERANCE", "check", "chosen", "coherence", "mix", "superpose"]

TOLERANCE = 1e-6


def check(distribution: Mapping[str, float], source: str = "distribution") -> None:
    """Check that `distribution` is one.

    Raises:
        InvalidPacket: Empty, not finite, negative, or not summing to 1 within 1e-6.
    """
    if not distribution:
        raise InvalidPacket(f"Expected at least one action in {source}, was none")
    for action, probability in distribution.items():
        if not math.isfinite(probability) or probability < 0.0:
            raise InvalidPacket(
                f"Expected a finite probability >= 0 for {action} in {source}, was {probability}"
            )
    total = math.fsum(distribution.values())
    if abs(total - 1.0) > TOLERANCE:
        raise InvalidPacket(f"Expected probabilities of {source} to sum to 1, was {total}")


def chosen(distribution: Mapping[str, float]) -> str:
    """Return the most probable action; ties go to the action first in alphabetical order."""
    return min(distribution, key=lambda action: (-distribution[action], action))


def coherence(distribution: Mapping[str, float]) -> float:
    """Return 1 - normalised entropy, in [0, 1]; 1 where there is only one action."""
    if len(distribution) <= 1:
        return 1.0
    entropy = -math.fsum(p * math.log(p) for p in distribution.values() if p > 0.0)
    return min(1.0, max(0.0, 1.0 - entropy / math.log(len(distribution))))


def superpose(source: str, distribution: Mapping[str, float]) -> Superposition:
    """Return the superposition of a source, its confidence and coherence worked out.

    Raises:
        InvalidPacket: If `distribution` is none.
    """
    check(distribution, source)
    best = distribution[chosen(distribution)]
    return Superposition(source, dict(distribution), best, coherence(distribution))


def mix(source: str, parts: Iterable[Superposition]) -> Superposition:
    """Return the mixture of superpositions over the same actions, weighted by confidence.

    Raises:
        InvalidPacket: No part, or parts over different actions.
    """
    views = list(parts)
    actions = set(views[0].distribution) if views else set()
    if not actions or any(set(view.distribution) != actions for view in views):
        names = [sorted(view.distribution) for view in views]
        raise InvalidPacket(f"Expected parts of {source} over the same actions, was {names}")
    total = math.fsum(view.confidence for view in views)
    mixed = {
        action: math.fsum(view.confidence * view.distribution[action] for view in views) / total
        for action in sorted(actions)
    }
    return superpose(source, mixed)
