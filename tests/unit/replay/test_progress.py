"""What a replay keeps on disk: whole, or not at all, and only for the same question."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from pipeline.replay.progress import Changed, Checkpoint, Finding, Tally
from pipeline.replay.run import checkpoint_path, question
from pipeline.replay.selection import LogRange, Selection
from pipeline.replay.variants import Changes
from tests.unit.replay.factories import SETTINGS

FIRST, SECOND = LogRange("cascade.risk", 0, 5, 9), LogRange("cascade.risk", 1, 0, 4)


def _finding(now: int) -> Finding:
    return Finding(
        "cascade.risk", 0, now, "risk", "f", "S", now, "a", "b", (("risk.verdict", "x", None),),
        "state", "why",
    )  # fmt: skip


def _checkpoint() -> Checkpoint:
    tally = Tally()
    tally.of("risk").identical += 3
    tally.diverged(_finding(20))
    tally.span(10)
    made = Checkpoint("r1", "asked", Selection("all", (FIRST, SECOND), frozenset({"f"})), tally)
    made.changed["cascade.risk:0:5"] = Changed(b"\x00\xff", "a limit")
    made.move(FIRST, 7)
    return made


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    """Counts, findings, positions and bytes survive the way over the disk."""
    path = tmp_path / "replay" / "one.json"
    _checkpoint().save(path)
    assert _checkpoint() == Checkpoint.load(path)
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"version": 1}'])
def test_what_is_no_checkpoint_is_none(tmp_path: Path, content: bytes | None) -> None:
    """Half a file is no reason to fail: the replay begins anew."""
    path = tmp_path / "one.json"
    if content is not None:
        path.write_bytes(content)
    assert Checkpoint.load(path) is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """With what to do about it."""
    (tmp_path / "replay").write_text("a file")
    with pytest.raises(ConfigurationError, match="Set CASCADE_HOME"):
        _checkpoint().save(tmp_path / "replay" / "one.json")


def test_a_replay_goes_on_where_each_range_was() -> None:
    """Done is only what was moved past; it is finished with its last range."""
    made = _checkpoint()
    assert (7, 0, False) == (made.next_offset(FIRST), made.next_offset(SECOND), made.finished)
    made.move(FIRST, 9)
    made.move(SECOND, 4)
    assert made.finished


def test_another_question_is_another_replay() -> None:
    """A changed limit must not go on from where the check of history was."""
    limit = Changes.parse(["risk.maximum_order=0.02"], [], SETTINGS)
    asked = [question(SETTINGS, ["flow", "f"], each) for each in (Changes(), limit)]
    assert checkpoint_path(SETTINGS, asked[0]) != checkpoint_path(SETTINGS, asked[1])
    assert question(SETTINGS, ["flow", "f"], Changes()) == asked[0]


def test_the_first_divergence_is_the_earliest_decision() -> None:
    """Stages are replayed one after the other, so the first found need not be the first."""
    assert Tally().first_divergence is None
    tally = Tally()
    tally.diverged(_finding(30))
    tally.diverged(_finding(20))
    assert _finding(20) == tally.first_divergence


def test_findings_are_bounded_and_counts_are_not() -> None:
    """A log that differs everywhere does not fill the memory."""
    tally = Tally()
    for number in range(1500):
        tally.differed(_finding(number))
        tally.of("risk").changed += 1
    assert (1000, 1500) == (len(tally.differences), tally.total.changed)


def test_speed_is_history_over_time() -> None:
    """Ten seconds of history in two are five times real time."""
    tally = Tally(seconds=2.0)
    tally.span(5_000_000)
    tally.span(15_000_000)
    assert 5.0 == tally.times_real
