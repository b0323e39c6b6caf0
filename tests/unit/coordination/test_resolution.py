"""From answers to a decision: each strategy's rule, risk's veto, and ties."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.coordination.answers import Answer
from pipeline.coordination.resolution import HOLD, Vote, rank, resolve, strictest
from pipeline.coordination.vocabulary import ConflictStrategy

PRIORITY = ConflictStrategy.PRIORITY_BASED
PERFORMANCE = ConflictStrategy.PERFORMANCE_BASED
CONSENSUS = ConflictStrategy.CONSENSUS_BASED
HIERARCHY = ConflictStrategy.HIERARCHICAL

DECISIONS = ["BUY", "SELL", "HOLD", "APPROVE", "REDUCE_SIZE", "DELAY", "REJECT", "EMERGENCY_STOP"]
SYSTEMS = ["risk", "strategic", "tactical", "execution", "alpha", "beta"]


def vote(system: str, decision: str, score: float | None = None, **fields: Any) -> Vote:
    """Return a vote."""
    return Vote(system, Answer(decision=decision, **fields), score)


VOTES = st.lists(
    st.builds(
        lambda system, decision, confidence, priority, score: vote(
            system, decision, score, confidence=confidence, priority=priority
        ),
        st.sampled_from(SYSTEMS),
        st.sampled_from(DECISIONS),
        st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 1.0]),
        st.integers(1, 3),
        st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each.system_id,
)
PROPOSALS = st.none() | st.sampled_from([vote("desk", "BUY"), vote("strategic", "SELL")])


@given(VOTES, PROPOSALS, st.sampled_from(ConflictStrategy), st.randoms())
def test_the_order_of_answers_never_matters(
    votes: list[Vote], proposal: Vote | None, strategy: ConflictStrategy, random: Any
) -> None:
    """Whoever answers first gains nothing by it: all ties have one end."""
    shuffled = list(votes)
    random.shuffle(shuffled)

    assert resolve(strategy, votes, proposal) == resolve(strategy, shuffled, proposal)


@given(VOTES, PROPOSALS, st.sampled_from(ConflictStrategy))
def test_a_blocking_verdict_always_ends_in_hold(
    votes: list[Vote], proposal: Vote | None, strategy: ConflictStrategy
) -> None:
    """Risk can veto under every strategy, whatever the others say."""
    others = [each for each in votes if each.system_id != "risk"]
    for verdict in ("REJECT", "DELAY", "EMERGENCY_STOP", "HOLD"):
        found = resolve(strategy, [*others, vote("risk", verdict)], proposal)
        assert (HOLD, True) == (found.decision, found.resolved)


@given(VOTES, st.sampled_from(ConflictStrategy))
def test_a_decision_is_one_that_was_given_or_hold(
    votes: list[Vote], strategy: ConflictStrategy
) -> None:
    """No rule makes a decision up."""
    assert resolve(strategy, votes).decision in {HOLD, *(each.decision for each in votes)}


def test_risk_ranks_above_strategy() -> None:
    """The order of systems is risk, strategic, tactical, execution, then others by name."""
    expected = ["risk", "strategic", "tactical", "execution", "alpha", "beta"]

    assert expected == sorted(set(SYSTEMS), key=rank)


def test_priority_takes_risk_then_the_highest_priority_then_rank() -> None:
    """Each criterion decides where those before it do not."""
    risk = vote("risk", "SELL")
    urgent, plain = vote("execution", "BUY", priority=3), vote("strategic", "SELL", priority=1)

    assert "SELL" == resolve(PRIORITY, [urgent, risk]).decision
    assert "BUY" == resolve(PRIORITY, [urgent, plain]).decision
    tied = resolve(PRIORITY, [vote("tactical", "BUY"), vote("strategic", "SELL")])
    assert ("SELL", "strategic") == (tied.decision, tied.decided_by)


def test_hierarchy_lets_lower_systems_stop_but_not_turn() -> None:
    """The highest rank sets the direction; HOLD below stops it, another direction does not."""
    top = vote("strategic", "BUY", priority=1)

    turned = resolve(HIERARCHY, [top, vote("tactical", "SELL", priority=3)])
    stopped = resolve(HIERARCHY, [top, vote("execution", "HOLD")])

    assert ("BUY", "strategic") == (turned.decision, turned.decided_by)
    assert ("HOLD", "execution") == (stopped.decision, stopped.decided_by)


def test_performance_takes_the_best_score_and_never_an_unknown_one() -> None:
    """The best announced score wins; ties go by rank; without any score priority decides."""
    found = resolve(
        PERFORMANCE, [vote("strategic", "BUY", 0.7), vote("beta", "SELL", 0.9), vote("alpha", "X")]
    )
    tied = resolve(PERFORMANCE, [vote("beta", "SELL", 0.9), vote("alpha", "BUY", 0.9)])
    unknown = resolve(PERFORMANCE, [vote("tactical", "BUY"), vote("strategic", "SELL")])

    assert ("SELL", "beta") == (found.decision, found.decided_by)
    assert ("BUY", "alpha") == (tied.decision, tied.decided_by)
    assert ("SELL", "strategic") == (unknown.decision, unknown.decided_by)
    assert unknown.reason.startswith("no system announced its performance")


def test_consensus_needs_more_than_half_of_the_confidence() -> None:
    """0.9 and 0.2 against 0.4 is a consensus, exactly half is none and fails as HOLD."""
    found = resolve(
        CONSENSUS,
        [
            vote("strategic", "BUY", confidence=0.9),
            vote("tactical", "SELL", confidence=0.4),
            vote("execution", "BUY", confidence=0.2),
        ],
    )
    split = resolve(CONSENSUS, [vote("strategic", "BUY"), vote("tactical", "SELL")])

    assert ("BUY", True) == (found.decision, found.resolved)
    assert 1.1 / 1.5 == pytest.approx(found.shares["BUY"])
    assert ("HOLD", False) == (split.decision, split.resolved)


def test_consensus_weighs_whole_distributions() -> None:
    """Two superpositions that both lean to HOLD second can agree on it."""
    buy = {"BUY": 0.5, "HOLD": 0.45, "SELL": 0.05}
    sell = {"BUY": 0.05, "HOLD": 0.45, "SELL": 0.5}
    hold = {"BUY": 0.1, "HOLD": 0.8, "SELL": 0.1}

    found = resolve(
        CONSENSUS,
        [
            vote("strategic", "BUY", confidence=0.5, distribution=buy),
            vote("tactical", "SELL", confidence=0.5, distribution=sell),
            vote("execution", "HOLD", confidence=0.8, distribution=hold),
        ],
    )

    assert "HOLD" == found.decision
    assert (0.45 + 0.8 * 0.8) / 1.8 == pytest.approx(found.shares["HOLD"])


@pytest.mark.parametrize("strategy", [CONSENSUS, PERFORMANCE])
def test_risk_is_never_averaged_with_directions(strategy: ConflictStrategy) -> None:
    """A direction of risk does not outvote those who decide directions."""
    votes = [
        vote("risk", "SELL", 1.0, confidence=1.0),
        vote("strategic", "BUY", 0.5, confidence=0.3),
        vote("tactical", "BUY", 0.4, confidence=0.3),
    ]

    assert "BUY" == resolve(strategy, votes).decision


def test_an_approval_covers_only_the_direction_it_was_given_on() -> None:
    """Risk approved the proposed BUY; that is no approval of the SELL that others decide."""
    proposal = vote("strategic", "BUY", confidence=0.1)
    votes = [vote("risk", "APPROVE"), vote("tactical", "SELL"), vote("execution", "SELL")]

    uncovered = resolve(CONSENSUS, votes, proposal)
    named = [vote("risk", "APPROVE", direction="SELL"), *votes[1:]]
    covered = resolve(CONSENSUS, named, proposal)

    assert ("HOLD", "risk") == (uncovered.decision, uncovered.decided_by)
    assert "SELL" == covered.decision


def test_the_proposal_is_the_vote_of_whoever_asks() -> None:
    """It counts like an answer, unless that system answers itself."""
    proposal = vote("strategic", "BUY")

    counted = resolve(PRIORITY, [vote("tactical", "SELL")], proposal)
    replaced = resolve(PRIORITY, [vote("tactical", "SELL"), vote("strategic", "SELL")], proposal)

    assert ("BUY", True) == (counted.decision, counted.contested)
    assert ("SELL", False) == (replaced.decision, replaced.contested)


def test_only_verdicts_give_the_strictest() -> None:
    """Where nobody gives a direction, the strictest verdict is the decision."""
    votes = [vote("risk", "APPROVE"), vote("alpha", "REDUCE_SIZE")]

    assert "REDUCE_SIZE" == resolve(PRIORITY, votes).decision
    for first, second in itertools.pairwise(
        ["EMERGENCY_STOP", "REJECT", "DELAY", "REDUCE_SIZE", "APPROVE"]
    ):
        assert first == strictest([second, first])
    assert not strictest([])
