"""Kinds of conflicts, and what becomes of terms."""

from typing import Any

import pytest

from pipeline.coordination.answers import Answer
from pipeline.coordination.conflicts import find_conflict, kind_of_term, settle_terms
from pipeline.coordination.resolution import Vote
from pipeline.coordination.vocabulary import ConflictKind


def vote(system: str, decision: str = "BUY", **terms: Any) -> Vote:
    """Return a vote with terms."""
    return Vote(system, Answer(decision=decision, terms=terms))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("quantity", ConflictKind.RESOURCE),
        ("max_quantity", ConflictKind.RESOURCE),
        ("risk_budget", ConflictKind.RESOURCE),
        ("delay_ms", ConflictKind.TIMING),
        ("horizon", ConflictKind.TIMING),
        ("hold_s", ConflictKind.TIMING),
        ("timeframe", ConflictKind.PARAMETER),
        ("stops", ConflictKind.PARAMETER),
    ],
)
def test_a_terms_kind_follows_from_its_name(name: str, kind: ConflictKind) -> None:
    """Units of time make timing, amounts make resources, all else are parameters."""
    assert kind is kind_of_term(name)


@pytest.mark.parametrize(
    ("terms", "kind"),
    [
        ({"quantity": (5, 9), "delay_ms": (1, 2), "timeframe": ("1m", "5m")}, "resource"),
        ({"quantity": (5, 5), "delay_ms": (1, 2), "timeframe": ("1m", "5m")}, "timing"),
        ({"quantity": (5, 5), "delay_ms": (1, 1), "timeframe": ("1m", "5m")}, "parameter"),
        ({"quantity": (5, "all")}, "parameter"),
    ],
)
def test_the_first_term_that_differs_gives_the_kind(
    terms: dict[str, tuple[Any, Any]], kind: str
) -> None:
    """In the order resource, timing, parameter."""
    votes = [
        vote("risk", **{name: values[0] for name, values in terms.items()}),
        vote("tactical", **{name: values[1] for name, values in terms.items()}),
    ]

    found = find_conflict(votes, None, {}, contested=False)

    assert found is not None
    assert (kind, ("risk", "tactical")) == (found.kind, found.systems)


def test_differing_decisions_are_a_general_conflict() -> None:
    """It names what each says, and the terms that differ beside."""
    votes = [vote("tactical", "SELL", quantity=1), vote("risk", "BUY", quantity=2)]

    found = find_conflict(votes, None, {}, contested=True)

    assert found is not None
    assert (ConflictKind.GENERAL, {"risk": "BUY", "tactical": "SELL"}, ("quantity",)) == (
        found.kind, found.positions, found.terms,
    )  # fmt: skip


def test_answers_that_agree_are_no_conflict() -> None:
    """Neither in decisions nor in terms; terms that only one names are none either."""
    votes = [vote("risk", quantity=5), vote("tactical", quantity=5, delay_ms=3)]

    assert find_conflict(votes, None, {}, contested=False) is None


def test_terms_settle_on_the_careful_side() -> None:
    """The least of a resource, the latest time, the parameter of whoever decided."""
    votes = [
        vote("tactical", quantity=9, delay_ms=5, timeframe="1m"),
        vote("risk", quantity=4, delay_ms=1, timeframe="5m"),
    ]

    assert {"quantity": 4, "delay_ms": 5, "timeframe": "1m"} == settle_terms(
        votes, None, {}, "tactical"
    )
    assert "5m" == settle_terms(votes, None, {}, "")["timeframe"]


def test_the_proposal_counts_where_an_answer_names_the_same_term() -> None:
    """decision_data is a term's value of whoever asks, and nothing else of it is a term."""
    proposal = Vote("strategic", Answer(decision="BUY"))
    data = {"quantity": 3, "strength": 0.8}
    votes = [vote("risk", quantity=5)]

    found = find_conflict(votes, proposal, data, contested=False)

    assert found is not None
    assert {"risk": 5, "strategic": 3} == found.positions
    assert {"quantity": 3} == settle_terms(votes, proposal, data, "")
