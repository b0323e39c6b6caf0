"""What answers contradict each other in, and what becomes of the terms that they name.

A term is a value by name: of an answer's `terms`, and of `decision_data` where an answer names it
too. Its kind follows from the name:

- timing: a unit of time at the end (`_us`, `_ms`, `_s`), or `timing`, `delay`, `deadline`,
  `horizon`. The latest stands.
- resource: `quantity`, `size`, `capital`, `exposure`, `margin`, `budget`, alone or with `max_` in
  front or as the last word. The least stands.
- parameter: any other, and any that is no number. The value of whoever decided stands, else that
  of the highest rank.

The kind of a conflict is `general` where decisions differ, else that of the first term that does,
in the order resource, timing, parameter.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from pipeline.coordination.resolution import Vote, rank
from pipeline.coordination.vocabulary import ConflictKind

__all__ = ["Conflict", "find_conflict", "kind_of_term", "settle_terms"]

_UNITS = ("_us", "_ms", "_s")
_TIMES = frozenset({"timing", "delay", "deadline", "horizon"})
_RESOURCES = frozenset({"quantity", "size", "capital", "exposure", "margin", "budget"})
_ORDER = (ConflictKind.RESOURCE, ConflictKind.TIMING, ConflictKind.PARAMETER)


class Conflict(Struct, frozen=True):
    """A contradiction between answers.

    Attributes:
        kind: What in.
        systems: Who takes part, by rank.
        positions: What each says: its decision, or its value of the term.
        terms: Names of the terms that differ, sorted.
    """

    kind: ConflictKind
    systems: tuple[str, ...]
    positions: dict[str, Any]
    terms: tuple[str, ...] = ()


def kind_of_term(name: str) -> ConflictKind:
    """Return the kind of a term."""
    lower = name.lower()
    if lower in _TIMES or lower.endswith(_UNITS):
        return ConflictKind.TIMING
    if lower.removeprefix("max_").rsplit("_", 1)[-1] in _RESOURCES:
        return ConflictKind.RESOURCE
    return ConflictKind.PARAMETER


def find_conflict(
    votes: Sequence[Vote], proposal: Vote | None, data: Mapping[str, Any], *, contested: bool
) -> Conflict | None:
    """Return what the answers contradict each other in; None where they do not.

    Args:
        votes: The answers.
        proposal: What was proposed.
        data: The request's `decision_data`.
        contested: Whether the decisions contradict each other.
    """
    named = _named(votes, proposal, data)
    differing = sorted(name for name, values in named.items() if _differ(list(values.values())))
    if contested:
        positions = {vote.system_id: vote.decision for vote in _all(votes, proposal)}
        return _conflict(ConflictKind.GENERAL, positions, differing)
    for kind in _ORDER:
        first = next((name for name in differing if _kind(name, named[name]) is kind), None)
        if first is not None:
            return _conflict(kind, named[first], differing)
    return None


def settle_terms(
    votes: Sequence[Vote], proposal: Vote | None, data: Mapping[str, Any], decided_by: str
) -> dict[str, Any]:
    """Return the value that stands of each term; see the module."""
    return {
        name: _settled(_kind(name, values), values, decided_by)
        for name, values in sorted(_named(votes, proposal, data).items())
    }


def _all(votes: Sequence[Vote], proposal: Vote | None) -> list[Vote]:
    voters = {vote.system_id for vote in votes}
    extra = [proposal] if proposal is not None and proposal.system_id not in voters else []
    return sorted([*votes, *extra], key=lambda vote: rank(vote.system_id))


def _named(
    votes: Sequence[Vote], proposal: Vote | None, data: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the values of each term by system, systems by rank."""
    found: dict[str, dict[str, Any]] = {}
    for vote in sorted(votes, key=lambda vote: rank(vote.system_id)):
        for name, value in vote.answer.terms.items():
            found.setdefault(name, {})[vote.system_id] = value
    if proposal is not None:
        for name in found.keys() & data.keys():
            found[name].setdefault(proposal.system_id, data[name])
    return found


def _kind(name: str, values: Mapping[str, Any]) -> ConflictKind:
    return kind_of_term(name) if all(map(_is_number, values.values())) else ConflictKind.PARAMETER


def _settled(kind: ConflictKind, values: Mapping[str, Any], decided_by: str) -> Any:
    if kind is ConflictKind.RESOURCE:
        return min(values.values())
    if kind is ConflictKind.TIMING:
        return max(values.values())
    return values[decided_by] if decided_by in values else values[min(values, key=rank)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124  # NaN


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _conflict(kind: ConflictKind, positions: Mapping[str, Any], terms: Sequence[str]) -> Conflict:
    return Conflict(kind, tuple(positions), dict(positions), tuple(terms))
