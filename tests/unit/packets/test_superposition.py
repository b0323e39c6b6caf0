import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidPacket
from pipeline.packets import superposition
from pipeline.packets.models import Superposition

_ACTIONS = ("BUY", "HOLD", "SELL")


@st.composite
def distributions(draw: st.DrawFn, actions: tuple[str, ...] = _ACTIONS) -> dict[str, float]:
    """Draw a distribution over `actions`, some of them impossible."""
    weights = draw(
        st.lists(
            st.one_of(st.just(0.0), st.floats(1e-6, 1.0)),
            min_size=len(actions),
            max_size=len(actions),
        ).filter(any)
    )
    total = math.fsum(weights)
    return {action: weight / total for action, weight in zip(actions, weights, strict=True)}


@st.composite
def views(draw: st.DrawFn) -> list[Superposition]:
    """Draw superpositions of a few sources over the same actions."""
    return [
        superposition.superpose(f"agent{index}", draw(distributions()))
        for index in range(draw(st.integers(1, 4)))
    ]


@given(views())
def test_a_mixture_is_a_distribution(parts: list[Superposition]) -> None:
    """What is mixed of distributions is one: finite, not negative, summing to 1."""
    mixed = superposition.mix("stage", parts)
    superposition.check(mixed.distribution)
    assert set(mixed.distribution) == set(_ACTIONS)
    assert mixed.source == "stage"


@given(views())
def test_a_mixture_lies_between_its_parts(parts: list[Superposition]) -> None:
    """No action gets more probable by mixing than the part that favours it most, nor less."""
    mixed = superposition.mix("stage", parts)
    for action in _ACTIONS:
        given_ = [part.distribution[action] for part in parts]
        assert min(given_) - 1e-12 <= mixed.distribution[action] <= max(given_) + 1e-12


@given(distributions())
def test_mixing_one_part_changes_nothing(distribution: dict[str, float]) -> None:
    """The mixture of a single part is that part."""
    part = superposition.superpose("agent", distribution)
    assert superposition.mix("stage", [part]).distribution == pytest.approx(distribution)


def test_a_mixture_is_weighted_by_confidence() -> None:
    """A part twice as confident weighs twice as much."""
    sure = Superposition("sure", {"BUY": 0.8, "SELL": 0.2}, 0.8, 0.0)
    unsure = Superposition("unsure", {"BUY": 0.4, "SELL": 0.6}, 0.4, 0.0)
    mixed = superposition.mix("stage", [sure, unsure])
    assert mixed.distribution == pytest.approx({"BUY": 2 / 3, "SELL": 1 / 3})


@given(views().flatmap(lambda parts: st.tuples(st.just(parts), st.permutations(parts))))
def test_the_order_of_parts_does_not_matter(
    pair: tuple[list[Superposition], list[Superposition]],
) -> None:
    """Mixing is the same to the last bit in whatever order the parts come."""
    first, second = pair
    assert superposition.mix("s", first) == superposition.mix("s", second)


def test_parts_over_different_actions_do_not_mix() -> None:
    """Probabilities are matched by name; parts that name other actions are refused."""
    other = superposition.superpose("b", {"BUY": 0.5, "WAIT": 0.5})
    with pytest.raises(InvalidPacket, match="the same actions"):
        superposition.mix("s", [superposition.superpose("a", {"BUY": 0.5, "SELL": 0.5}), other])


def test_nothing_cannot_be_mixed() -> None:
    """A mixture of no parts is refused."""
    with pytest.raises(InvalidPacket, match="same actions"):
        superposition.mix("s", [])


@given(distributions())
def test_coherence_lies_between_0_and_1(distribution: dict[str, float]) -> None:
    """Coherence is a ratio whatever the distribution."""
    assert 0.0 <= superposition.coherence(distribution) <= 1.0


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ({"BUY": 1.0, "HOLD": 0.0, "SELL": 0.0}, 1.0),
        ({"BUY": 1 / 3, "HOLD": 1 / 3, "SELL": 1 / 3}, 0.0),
        ({"BUY": 0.5, "SELL": 0.5}, 0.0),
        ({"HOLD": 1.0}, 1.0),
        ({"BUY": 0.5, "HOLD": 0.5, "SELL": 0.0}, 1.0 - math.log(2) / math.log(3)),
    ],
)
def test_coherence_is_1_minus_normalised_entropy(
    distribution: dict[str, float], expected: float
) -> None:
    """Certainty is 1, a uniform distribution 0, and what lies between follows Shannon."""
    assert superposition.coherence(distribution) == pytest.approx(expected, abs=1e-12)


@given(distributions())
def test_confidence_is_the_probability_of_the_chosen_action(distribution: dict[str, float]) -> None:
    """No action is more probable than the chosen one, whose probability is the confidence."""
    best = superposition.chosen(distribution)
    view = superposition.superpose("agent", distribution)
    assert view.confidence == distribution[best] == max(distribution.values())
    assert view.coherence == superposition.coherence(distribution)


@pytest.mark.parametrize("actions", [("BUY", "SELL"), ("SELL", "BUY")])
def test_ties_go_to_the_first_name(actions: tuple[str, ...]) -> None:
    """Equal probabilities choose by name, not by the order in which they were given."""
    assert superposition.chosen(dict.fromkeys(actions, 0.5)) == "BUY"


@pytest.mark.parametrize(
    "distribution",
    [
        {},
        {"BUY": 0.5, "SELL": 0.4},
        {"BUY": 0.5, "SELL": 0.5 + 2e-6},
        {"BUY": -0.1, "SELL": 1.1},
        {"BUY": math.nan, "SELL": 1.0},
        {"BUY": math.inf, "SELL": 1.0},
    ],
)
def test_what_is_no_distribution_is_refused(distribution: dict[str, float]) -> None:
    """Empty, short, long, negative and not finite are refused."""
    with pytest.raises(InvalidPacket):
        superposition.check(distribution)
    with pytest.raises(InvalidPacket):
        superposition.superpose("agent", distribution)


def test_rounding_errors_are_no_fault() -> None:
    """A sum within 1e-6 of 1 is taken."""
    superposition.check({"BUY": 0.5, "SELL": 0.5 + 9e-7})
