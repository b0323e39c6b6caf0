from collections.abc import Callable

import pytest

from pipeline.errors import UsageError
from pipeline.watch.tracking import Tracker


def test_a_reported_packet_has_waiting_and_working_times() -> None:
    """Time between two systems is waiting, time within one is working."""
    tracker = Tracker(10)
    tracker.start("p", 1_000)
    tracker.enter("p", "strategic", 3_000)
    tracker.leave("p", "strategic", 10_000, success=True)
    tracker.enter("p", "tactical", 14_000)
    tracker.leave("p", "tactical", 15_000, success=False, error="no window")

    trace = tracker.complete("p", 20_000, success=False)

    assert [(2.0, 7.0), (4.0, 1.0)] == [
        (each.queue_wait_ms, each.processing_ms) for each in trace.systems
    ]
    assert [None, None] == [each.broker_ms for each in trace.systems]
    assert (19.0, False, "tactical") == (trace.latency_ms, trace.success, trace.sealed_by)
    assert "no window" == trace.systems[1].error
    assert 0 == len(tracker)


def test_a_completed_packet_has_left_its_last_system() -> None:
    """A packet that ends within a system leaves it with its own success."""
    tracker = Tracker(10)
    tracker.start("p", 0)
    tracker.enter("p", "risk", 1_000)
    trace = tracker.complete("p", 4_000, success=True)
    assert (3.0, True) == (trace.systems[0].processing_ms, trace.systems[0].success)


@pytest.mark.parametrize(
    "call",
    [
        lambda tracker: tracker.enter("p", "risk", 1),
        lambda tracker: tracker.leave("p", "risk", 1, success=True),
        lambda tracker: tracker.complete("p", 1, success=True),
    ],
    ids=["enter", "leave", "complete"],
)
def test_an_unknown_packet_is_refused(call: Callable[[Tracker], object]) -> None:
    """What was never started cannot be measured."""
    with pytest.raises(UsageError, match="track_packet_start"):
        call(Tracker(10))


def test_entries_and_exits_must_match() -> None:
    """A system cannot be left before it is entered, nor two be in at once."""
    tracker = Tracker(10)
    tracker.start("p", 0)
    with pytest.raises(UsageError, match="track_system_entry"):
        tracker.leave("p", "risk", 1, success=True)
    tracker.enter("p", "risk", 1)
    with pytest.raises(UsageError, match="track_system_exit"):
        tracker.enter("p", "execution", 2)
    with pytest.raises(UsageError, match="track_system_entry"):
        tracker.leave("p", "execution", 2, success=True)


def test_the_oldest_makes_room() -> None:
    """Packets that never end do not fill the memory, and the loss is told."""
    tracker = Tracker(2)
    for number in range(3):
        tracker.start(f"p{number}", number)
    assert (2, 1) == (len(tracker), tracker.dropped)
    assert tracker.trace("p0") is None


def test_the_oldest_open_packet_has_an_age() -> None:
    """Without any packet under way there is no age, rather than 0."""
    tracker = Tracker(10)
    assert tracker.oldest_age_s(9_000_000) is None
    tracker.start("a", 1_000_000)
    tracker.start("b", 5_000_000)
    assert 8.0 == tracker.oldest_age_s(9_000_000)


def test_systems_are_bounded() -> None:
    """System names become names of metrics, so there cannot be any number of them."""
    tracker = Tracker(10)
    tracker.start("p", 0)
    for number in range(32):
        tracker.enter("p", f"s{number}", 1)
        tracker.leave("p", f"s{number}", 1, success=True)
    with pytest.raises(UsageError, match="at most 32"):
        tracker.enter("p", "one more", 1)
