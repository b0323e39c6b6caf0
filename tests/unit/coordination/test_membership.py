"""Who is alive, by the topic's time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.coordination.membership import Directory, LogTime, SystemState
from pipeline.coordination.messages import Announcement
from pipeline.coordination.vocabulary import CoordinationState, Role

START_S = 1_700_000_000.0


def said(instance: str = "a", **fields: Any) -> Announcement:
    """Return an announcement of an instance that is well."""
    return Announcement(instance=instance, state=CoordinationState.SYNCHRONIZED, **fields)


def directory_of(*members: tuple[str, Announcement]) -> Directory:
    """Return a directory in which these were heard of at START_S, read at monotonic 0."""
    directory = Directory()
    directory.observe(START_S, 0.0)
    for system, announcement in members:
        directory.note(system, announcement, START_S)
    return directory


def state_of(directory: Directory, system: str, monotonic_s: float) -> SystemState:
    """Return what a directory knows of a system."""
    return directory.systems(monotonic_s)[system]


@pytest.mark.parametrize(
    ("silent_s", "status"),
    [(0.0, "active"), (1.4, "active"), (1.6, "stale"), (3.4, "stale"), (3.6, "disconnected")],
)
def test_silence_makes_stale_then_disconnected(silent_s: float, status: str) -> None:
    """With a heartbeat a second a system is gone 3.5 s after its last one, within the 4 s."""
    found = state_of(directory_of(("tactical", said())), "tactical", silent_s)

    assert status == found.status
    assert (status == "disconnected") == (found.state is CoordinationState.DISCONNECTED)
    assert silent_s == pytest.approx(found.age_s)


def test_the_limit_follows_the_announced_interval() -> None:
    """A system that announces a slower heartbeat is given more time."""
    directory = directory_of(("slow", said(interval_s=10.0)), ("fast", said(interval_s=0.1)))

    assert "slow" in {each.system_id for each in directory.live(34.0)}
    assert "fast" not in {each.system_id for each in directory.live(0.4)}


def test_old_heartbeats_read_late_prove_nothing() -> None:
    """A reader that catches up after a pause sees how old they are by the newest record."""
    directory = directory_of()
    directory.note("tactical", said(), START_S)
    directory.observe(START_S + 60.0, 61.0)

    assert "disconnected" == state_of(directory, "tactical", 61.0).status


def test_a_broker_clock_set_back_disconnects_nobody() -> None:
    """Ages are kept, and heartbeats after it count."""
    directory = directory_of(("tactical", said()))
    directory.observe(START_S - 3600.0, 1.0)

    assert 1.0 >= state_of(directory, "tactical", 1.0).age_s
    directory.note("tactical", said(), START_S - 3600.0)
    assert "active" == state_of(directory, "tactical", 1.5).status
    assert "disconnected" == state_of(directory, "tactical", 5.0).status


@given(st.lists(st.tuples(st.floats(0, 4.9), st.floats(0, 10)), min_size=1))
def test_the_topics_time_never_runs_back_by_jitter(steps: list[tuple[float, float]]) -> None:
    """Records a little older than the newest, as of several brokers, do not turn it back."""
    time, at_s = LogTime(), 0.0
    time.observe(START_S, 0.0)
    before_s = time.now_s(0.0)
    for late_s, pause_s in steps:
        at_s += pause_s
        time.observe(time.now_s(at_s) - late_s, at_s)
        assert time.now_s(at_s) >= before_s - 5.0
        before_s = max(before_s, time.now_s(at_s))


def test_a_farewell_disconnects_at_once() -> None:
    """Nobody waits for the missed heartbeats of who said that it goes."""
    directory = directory_of(("tactical", said()))
    directory.note("tactical", said(leaving=True), START_S)

    assert "disconnected" == state_of(directory, "tactical", 0.0).status
    assert [] == directory.live(0.0)


def test_a_system_lives_while_one_of_its_instances_does() -> None:
    """Its load is the highest, its capabilities are those of all live ones."""
    directory = directory_of(
        ("tactical", said("a", load=0.2, capabilities=("x",), epoch=7)),
        ("tactical", said("b", load=0.6, capabilities=("y",), epoch=5)),
    )
    directory.note("tactical", said("a", leaving=True), START_S)
    directory.note("tactical", said("c", load=0.3, capabilities=("z", "y"), epoch=6), START_S)

    found = state_of(directory, "tactical", 0.0)

    assert (("b", "c"), ("y", "z"), 0.6, 5) == (
        found.instances, found.capabilities, found.current_load, found.epoch,
    )  # fmt: skip


def test_registered_instances_answer_before_workers() -> None:
    """Where a registered one answers, what the built-in worker says does not count."""
    worker = ("tactical", said("w", role=Role.WORKER, answers=True))
    mute = ("tactical", said("m", role=Role.REGISTERED))
    handler = ("tactical", said("h", role=Role.REGISTERED, answers=True))

    assert frozenset({"w"}) == directory_of(worker, mute).answering("tactical", 0.0)
    assert frozenset({"h"}) == directory_of(worker, mute, handler).answering("tactical", 0.0)
    assert frozenset() == directory_of(worker, mute, handler).answering("tactical", 60.0)


def test_instances_of_long_ago_are_forgotten_once_replaced() -> None:
    """A system that restarts for days keeps no trail, and the last of a system stays known."""
    directory = directory_of(("tactical", said("old")), ("risk", said("only")))
    directory.observe(START_S + 3600.0, 3600.0)
    directory.note("tactical", said("new"), START_S + 3600.0)

    assert ("new",) == state_of(directory, "tactical", 3600.0).instances
    assert 1 == len([key for key in directory._members if key[0] == "tactical"])
    assert "disconnected" == state_of(directory, "risk", 3600.0).status
