"""Who is alive, from heartbeats; how often workers ended."""

from pipeline.coordination.membership import Directory
from pipeline.coordination.messages import Announcement
from pipeline.coordination.vocabulary import Role
from pipeline.watch.alerting.vitals import ExitCounts, figures_of_directory

_SERIES = 'cascade_heartbeat_silence_seconds{system="risk"}'


def _heard(directory: Directory, instance: str, at_s: float, *, leaving: bool = False) -> None:
    said = Announcement(instance=instance, role=Role.WORKER, leaving=leaving)
    directory.observe(at_s, at_s)
    directory.note("risk", said, at_s)


def test_a_worker_that_falls_silent_is_counted_from_its_last_heartbeat() -> None:
    """Live or not; a younger instance replaces it."""
    directory = Directory()
    _heard(directory, "one", 100.0)
    assert {_SERIES: 2.0} == figures_of_directory(directory, 102.0)
    assert {_SERIES: 9.0} == figures_of_directory(directory, 109.0)
    _heard(directory, "two", 110.0)
    assert {_SERIES: 1.0} == figures_of_directory(directory, 111.0)


def test_who_says_farewell_is_not_silent() -> None:
    """Nor is a system of a user's own program, which comes and goes."""
    directory = Directory()
    _heard(directory, "one", 100.0, leaving=True)
    directory.note("desk", Announcement(instance="notebook"), 100.0)
    assert {} == figures_of_directory(directory, 130.0)


def test_exits_are_counted_for_a_minute() -> None:
    """From the second total on: nobody knows when those before were."""
    counts = ExitCounts()
    assert {"risk": 0} == counts.take({"risk": 5}, 0.0)
    assert {"risk": 2} == counts.take({"risk": 7}, 10.0)
    assert {"risk": 3} == counts.take({"risk": 8}, 69.0)
    assert {"risk": 1} == counts.take({"risk": 8}, 71.0)
    assert {} == counts.take({}, 72.0)
