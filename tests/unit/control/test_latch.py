import json
from pathlib import Path

import pytest

from pipeline.control.latch import Latch, Latched
from pipeline.control.state import TradingState
from pipeline.errors import ConfigurationError, UsageError
from pipeline.settings import load_settings


@pytest.fixture
def latch(tmp_path: Path) -> Latch:
    """A latch that nobody has set."""
    return Latch(tmp_path / "latch" / "n.json")


def test_nothing_is_latched_at_first(latch: Latch) -> None:
    """Without a file the log alone decides."""
    assert not latch.read().holds(-1)


def test_a_halt_of_the_log_outlives_the_process(latch: Latch) -> None:
    """What was recorded is read from the file by the next process."""
    latch.record(TradingState.HALTED, 7, "why")
    assert Latch(latch.path).read() == Latched(TradingState.HALTED, 7, reason="why")


@pytest.mark.parametrize(("lifted_epoch", "holds"), [(-1, True), (6, True), (7, False), (8, False)])
def test_only_a_resume_at_its_epoch_or_later_lifts_it(
    latch: Latch, lifted_epoch: int, holds: bool
) -> None:
    """A resume from before the halt lifts nothing."""
    latch.record(TradingState.HALTED, 7, "why")
    assert latch.read().holds(lifted_epoch) == holds


def test_a_reader_that_is_behind_undoes_nothing(latch: Latch) -> None:
    """What was latched at a later epoch stays, in both directions."""
    latch.record(TradingState.ACTIVE, 8, "")
    latch.record(TradingState.HALTED, 7, "late")
    assert latch.read().trading_state is TradingState.ACTIVE
    latch.record(TradingState.HALTED, 9, "new")
    latch.record(TradingState.ACTIVE, 8, "late")
    assert latch.read() == Latched(TradingState.HALTED, 9, reason="new")


def test_a_halt_of_this_machine_is_lifted_by_no_log(latch: Latch) -> None:
    """Given without the log, it holds whatever the log says, until released."""
    halt_id = latch.halt("broker gone")
    latch.record(TradingState.ACTIVE, 50, "")
    assert latch.read().holds(1_000_000)
    latch.release(halt_id)
    assert not latch.read().holds(-1)


def test_whoever_lifts_a_halt_of_this_machine_names_it(latch: Latch) -> None:
    """Another id lifts nothing, and so does one of a halt that the log has by now."""
    halt_id = latch.halt("broker gone", "me")
    with pytest.raises(UsageError, match=f"lift local halt {halt_id}, was other"):
        latch.release("other")
    latch.settle(5)
    with pytest.raises(UsageError, match="was none"):
        latch.release(halt_id)
    assert latch.read().holds(-1)


def test_a_second_halt_of_this_machine_is_the_first(latch: Latch) -> None:
    """The halt that stands keeps its id until the log has it, so one RESUME lifts it."""
    halt_id = latch.halt("broker gone", "me")
    assert halt_id == latch.halt("again", "you")
    assert ("broker gone", "me") == (latch.read().reason, latch.read().author)
    latch.settle(5, "another")
    assert latch.read().local
    latch.settle(5, halt_id)
    assert halt_id != latch.halt("again", "you")


def test_reducing_is_latched_too(latch: Latch) -> None:
    """It outlives the process as a halt does."""
    latch.record(TradingState.REDUCING, 7, "rough")
    read = Latch(latch.path).read()
    assert (read.trading_state, read.holds(6), read.holds(7)) == (
        TradingState.REDUCING,
        True,
        False,
    )


def test_the_current_state_follows_the_file(latch: Latch) -> None:
    """A look costs no reading, and still sees each change by another process at once."""
    other = Latch(latch.path)
    assert latch.current() == latch.read()
    for number in range(20):
        halt_id = other.halt(f"number {number}")
        assert latch.current().reason == f"number {number}"
        other.release(halt_id)
        assert latch.current().trading_state is TradingState.ACTIVE


def test_a_process_that_cannot_write_holds_by_itself(latch: Latch) -> None:
    """What cannot be put on file halts this process, whatever the file says."""
    latch.hold("disk full", "me")
    assert latch.current().holds(1_000_000)
    assert not Latch(latch.path).current().holds(-1)


def test_only_one_process_writes_a_halt_to_the_log(latch: Latch) -> None:
    """While one is at it, another is told to leave it; afterwards it may."""
    with latch.publishing() as mine, Latch(latch.path).publishing() as other:
        assert (mine, other) == (True, False)
    with latch.publishing() as mine:
        assert mine


def test_a_halt_that_reached_the_log_is_lifted_like_any_other(latch: Latch) -> None:
    """Once its epoch is known, a RESUME after it lifts it."""
    latch.halt("why")
    latch.settle(5)
    assert latch.read() == Latched(TradingState.HALTED, 5, reason="why")


def test_settling_sets_no_halt(latch: Latch) -> None:
    """Where no halt of this machine is held, there is nothing to settle."""
    latch.record(TradingState.ACTIVE, 8, "")
    latch.settle(5)
    assert latch.read() == Latched(TradingState.ACTIVE, 8)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"trading_state": "FINE"}', "\x00" * 80])
def test_a_file_that_cannot_be_read_halts(latch: Latch, content: str) -> None:
    """A torn or foreign file may have been a halt, so it is one."""
    latch.path.parent.mkdir()
    latch.path.write_text(content)
    assert latch.read().holds(1_000_000)
    assert str(latch.path) in latch.read().reason


def test_a_half_written_file_changes_nothing(latch: Latch) -> None:
    """A crash while writing leaves the old file, beside a draft that nobody reads."""
    latch.record(TradingState.HALTED, 7, "why")
    latch.path.with_suffix(".new").write_text('{"trading_state": "ACT')
    assert latch.read() == Latched(TradingState.HALTED, 7, reason="why")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The error names the file and CASCADE_HOME."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="CASCADE_HOME"):
        Latch(tmp_path / "file" / "n.json").halt("why")


def test_namespaces_have_latches_of_their_own(tmp_path: Path) -> None:
    """A halt of one run does not halt another; no namespace has a file too."""
    names = [Latch.of(load_settings(home=tmp_path, namespace=n)).path.name for n in ("", "a", "b")]
    assert names == ["default.json", "a.json", "b.json"]


def test_the_file_is_readable_by_people(latch: Latch) -> None:
    """The file says in plain JSON what is latched and why."""
    halt_id = latch.halt("why", "me")
    content = json.loads(latch.path.read_text())
    assert content == {
        "trading_state": "HALTED",
        "epoch": -1,
        "local": True,
        "reason": "why",
        "author": "me",
        "halt_id": halt_id,
    }
