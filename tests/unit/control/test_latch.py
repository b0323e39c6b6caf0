import json
from pathlib import Path

import pytest

from pipeline.control.latch import Latch, Latched
from pipeline.control.state import TradingState
from pipeline.errors import ConfigurationError
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


@pytest.mark.parametrize(
    ("resumed_epoch", "holds"), [(-1, True), (6, True), (7, False), (8, False)]
)
def test_only_a_resume_at_its_epoch_or_later_lifts_it(
    latch: Latch, resumed_epoch: int, holds: bool
) -> None:
    """A resume from before the halt lifts nothing."""
    latch.record(TradingState.HALTED, 7, "why")
    assert latch.read().holds(resumed_epoch) == holds


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
    latch.halt("broker gone")
    latch.record(TradingState.ACTIVE, 50, "")
    assert latch.read().holds(1_000_000)
    latch.release()
    assert not latch.read().holds(-1)


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
    latch.halt("why")
    content = json.loads(latch.path.read_text())
    assert content == {"trading_state": "HALTED", "epoch": -1, "local": True, "reason": "why"}
