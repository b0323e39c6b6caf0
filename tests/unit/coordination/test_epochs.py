"""Epochs: merging, emergencies, and what each protocol asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.coordination.epochs import Epochs, needed, timeout_s
from pipeline.coordination.vocabulary import SyncProtocol

PAIRS = st.tuples(st.integers(-1, 20), st.integers(-1, 20))


@given(st.lists(PAIRS))
def test_the_order_in_which_epochs_are_heard_never_matters(heard: list[tuple[int, int]]) -> None:
    """Whoever hears the same announcements knows the same, in whatever order and how often."""
    first, second = Epochs(), Epochs()
    for epoch, emergency in heard:
        first.adopt(epoch, emergency)
    for epoch, emergency in [*reversed(heard), *heard]:
        second.adopt(epoch, emergency)

    assert (first.epoch, first.emergency_epoch, first.in_emergency) == (
        second.epoch, second.emergency_epoch, second.in_emergency,
    )  # fmt: skip


def test_an_emergency_ends_with_a_later_synchronisation_only() -> None:
    """One that was begun before the emergency does not end it."""
    epochs = Epochs()
    epochs.adopt(emergency_epoch=10)

    assert (True, False) == (epochs.in_emergency, epochs.adopt(emergency_epoch=9))
    assert (True, True) == (epochs.adopt(epoch=9), epochs.in_emergency)
    assert (True, False) == (epochs.adopt(epoch=11), epochs.in_emergency)
    assert 11 == epochs.newest


@pytest.mark.parametrize(
    ("protocol", "limit_s", "of_one", "of_four", "of_five"),
    [
        (SyncProtocol.FAST_SYNC, 2.0, 1, 3, 3),
        (SyncProtocol.RELIABLE_SYNC, 10.0, 1, 4, 5),
        (SyncProtocol.EMERGENCY_SYNC, 1.0, 1, 4, 5),
    ],
)
def test_protocols_ask_for_a_majority_or_for_all(
    protocol: SyncProtocol, limit_s: float, of_one: int, of_four: int, of_five: int
) -> None:
    """FAST is content with more than half within 2 s, the others with nothing but all."""
    assert limit_s == timeout_s(protocol, 10.0)
    assert 0.5 == timeout_s(protocol, 0.5)
    assert [of_one, of_four, of_five] == [needed(protocol, count) for count in (1, 4, 5)]
