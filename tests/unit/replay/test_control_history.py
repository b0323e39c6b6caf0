"""What was in force at each epoch of a control log."""

import pytest

from pipeline.control.log import Entry
from pipeline.control.state import TradingState
from pipeline.errors import PositionLost
from pipeline.packets.events import EVERYTHING, ControlCommand, ControlKind
from pipeline.packets.models import Journal
from pipeline.replay.control_history import ControlHistory

AUTHORS = ("operator",)


def _entry(epoch: int, kind: ControlKind, scope: str = EVERYTHING, lifts: int = -1) -> Entry:
    command = ControlCommand(f"c{epoch}", kind, scope, "operator", "why", 1, 0, lifts)
    return Entry(epoch, command, 0)


HISTORY = ControlHistory(
    [
        _entry(0, ControlKind.BOOTSTRAP),
        _entry(1, ControlKind.ISOLATE, "symbol:IBM"),
        _entry(2, ControlKind.BOOTSTRAP),  # does not count
        _entry(3, ControlKind.HALT),
        _entry(4, ControlKind.RESUME, lifts=3),
    ],
    AUTHORS,
)


def _journal(epoch: int, *, halted: bool = False) -> Journal:
    return Journal(0, 0, "t", 0, 0, 0, 0, 0, 0, 0, 0, epoch, "owner", "build", halted)


@pytest.mark.parametrize(
    ("epoch", "state", "isolated"),
    [
        (-1, TradingState.HALTED, False),
        (0, TradingState.ACTIVE, False),
        (1, TradingState.ACTIVE, True),
        (3, TradingState.HALTED, True),
        (4, TradingState.ACTIVE, True),
    ],
)
def test_each_epoch_has_the_view_that_workers_had(
    epoch: int, state: TradingState, *, isolated: bool
) -> None:
    """Trading state and fences are those after the command of that epoch, no later one's."""
    view = HISTORY.at(epoch)
    assert (state, epoch, isolated) == (
        view.trading_state, view.epoch, "IBM" in view.fences.symbols,
    )  # fmt: skip


@pytest.mark.parametrize("epoch", [2, 5], ids=["refused", "not there"])
def test_an_epoch_that_no_worker_can_have_seen_is_an_error(epoch: int) -> None:
    """Nothing is guessed about commands that did not count."""
    with pytest.raises(PositionLost, match=f"epoch {epoch} that counted"):
        HISTORY.at(epoch)


def test_refusals_are_kept() -> None:
    """What did not count is there to look at, with the reason."""
    assert [2] == list(HISTORY.refused)


def test_a_worker_that_halted_itself_is_seen_halted() -> None:
    """The journal's word is stricter than the log's, and fences stay as they were."""
    view = HISTORY.seen_by(_journal(4, halted=True))
    assert (TradingState.HALTED, 4) == (view.trading_state, view.epoch)
    assert "by the worker itself" in view.reason
    assert HISTORY.at(4).fences == view.fences


def test_a_worker_is_never_seen_less_strict_than_the_log() -> None:
    """A record of an older build says nothing of halts: then the log does."""
    assert TradingState.HALTED is HISTORY.seen_by(_journal(3)).trading_state
    assert TradingState.ACTIVE is HISTORY.seen_by(_journal(4)).trading_state
