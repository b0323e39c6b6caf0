"""Isolation, breakers and REDUCING as the log tells them."""

from typing import Any

import pytest

from pipeline.control.fences import NO_FENCES
from pipeline.control.state import ControlView, TradingState, TradingStateMachine
from pipeline.packets.events import ControlCommand, ControlKind
from tests.unit.control.memory_log import BOOTSTRAP, HALT, command, resume

_REDUCE = command(ControlKind.REDUCE)


def _folded(*commands: ControlCommand | None) -> TradingStateMachine:
    machine = TradingStateMachine(["operator"])
    for epoch, each in enumerate(commands):
        machine.apply(each, epoch)
    return machine


def _isolate(scope: str, **changes: Any) -> ControlCommand:
    return command(ControlKind.ISOLATE, scope=scope, **changes)


def _release(scope: str, **changes: Any) -> ControlCommand:
    return command(ControlKind.RELEASE, scope=scope, **changes)


def test_isolation_is_by_kind_and_name() -> None:
    """Each scope fences off its own part, and trading goes on."""
    scopes = ("stage:tactical", "symbol:IBM", "policy:risk", "source:market")
    machine = _folded(BOOTSTRAP, *map(_isolate, scopes))
    fences = machine.view(current=True).fences
    assert [{"tactical"}, {"IBM"}, {"risk"}, {"market"}] == [
        set(each) for each in (fences.stages, fences.symbols, fences.policies, fences.sources)
    ]
    assert (machine.trading_state, machine.epoch) == (TradingState.ACTIVE, 4)


def test_a_release_takes_down_its_own_fence_only() -> None:
    """A RELEASE names what it releases."""
    machine = _folded(_isolate("symbol:A"), _isolate("symbol:B"), _release("symbol:A"))
    assert machine.view(current=True).fences.symbols == {"B"}
    assert [str(fence.scope) for fence in machine.fences.standing] == ["symbol:B"]


def test_a_release_of_nothing_does_not_count() -> None:
    """What is not isolated cannot be released."""
    machine = _folded(_isolate("symbol:A"), _release("symbol:B"))
    assert machine.refused == {1: "Expected symbol:B to be isolated, was not"}
    assert machine.epoch == 0


@pytest.mark.parametrize(("lifts_epoch", "counts"), [(-1, True), (1, True), (0, False), (9, False)])
def test_a_release_may_name_the_epoch_that_it_lifts(lifts_epoch: int, counts: bool) -> None:
    """Whoever names an epoch must have seen the newest ISOLATE of the scope."""
    twice = (_isolate("symbol:A"), _isolate("symbol:A"))
    machine = _folded(*twice, _release("symbol:A", lifts_epoch=lifts_epoch))
    assert (machine.view(current=True).fences.symbols == frozenset()) == counts


@pytest.mark.parametrize(
    ("author", "counts"), [("operator", True), ("watcher", True), ("stranger", False)]
)
def test_who_isolates_may_release(author: str, counts: bool) -> None:
    """Anybody isolates; releasing takes who did it, or somebody who may resume."""
    isolated = _isolate("stage:tactical", author="watcher")
    machine = _folded(isolated, _release("stage:tactical", author=author))
    assert (machine.view(current=True).fences == NO_FENCES) == counts
    if not counts:
        assert "control_authors: operator, watcher" in machine.refused[1]


@pytest.mark.parametrize("scope", ["*", "stage:nowhere", "nothing", "policy:gateway"])
def test_a_fence_around_nothing_does_not_count(scope: str) -> None:
    """An ISOLATE of what there is not is refused, and so is one of everything."""
    machine = _folded(_isolate(scope))
    assert "Expected" in machine.refused[0]
    assert machine.epoch == -1


def test_a_breaker_is_forced_open_and_reset() -> None:
    """BREAKER_OPEN forces it open; BREAKER_RESET lets go and says since when."""
    opened = _folded(command(ControlKind.BREAKER_OPEN, scope="policy:risk"))
    assert opened.view(current=True).fences.breakers == {"risk"}
    opened.apply(command(ControlKind.BREAKER_RESET, scope="policy:risk"), 1)
    fences = opened.view(current=True).fences
    assert (fences.breakers, dict(fences.resets)) == (frozenset(), {"risk": 1})


def test_a_breaker_that_tripped_by_itself_can_be_reset() -> None:
    """BREAKER_RESET needs no BREAKER_OPEN before, only an author who may."""
    reset = command(ControlKind.BREAKER_RESET, scope="policy:risk")
    assert dict(_folded(reset).view(current=True).fences.resets) == {"risk": 0}
    stranger = command(ControlKind.BREAKER_RESET, scope="policy:risk", author="stranger")
    assert "control_authors" in _folded(stranger).refused[0]


def test_only_policies_have_breakers() -> None:
    """A breaker command for a stage or a symbol does not count."""
    assert 0 in _folded(command(ControlKind.BREAKER_OPEN, scope="stage:risk")).refused


def test_a_stage_looks_at_packets_only_where_it_must() -> None:
    """Isolated stages, and policies of other stages, cost a stage nothing."""
    fences = _folded(_isolate("stage:risk"), _isolate("policy:risk")).fences.fences
    assert (fences.touch_packets("risk"), fences.touch_packets("tactical")) == (True, False)
    assert _folded(_isolate("symbol:A")).fences.fences.touch_packets("tactical")


def test_reducing_is_between_active_and_halted() -> None:
    """A REDUCE by anybody makes it REDUCING; under a halt it is HALTED."""
    reduce = command(ControlKind.REDUCE, author="stranger")
    machine = _folded(BOOTSTRAP, reduce)
    assert (machine.trading_state, machine.reduce_epoch) == (TradingState.REDUCING, 1)
    assert machine.reason == "reduced by stranger: why"
    machine.apply(HALT, 2)
    assert machine.trading_state is TradingState.HALTED
    assert _folded(reduce).trading_state is TradingState.HALTED  # not bootstrapped


def test_each_restriction_is_lifted_by_its_own_name() -> None:
    """Lifting the halt leaves REDUCING; lifting the REDUCE leaves the halt."""
    halted = (BOOTSTRAP, _REDUCE, HALT)
    assert _folded(*halted, resume(2)).trading_state is TradingState.REDUCING
    assert _folded(*halted, resume(1)).trading_state is TradingState.HALTED
    assert _folded(*halted, resume(1), resume(2)).trading_state is TradingState.ACTIVE
    assert "lifts epoch 2 or 1" in _folded(*halted, resume(0)).refused[3]


def test_a_resume_that_names_an_old_reduce_does_not_count() -> None:
    """Whoever resumes must have seen the newest REDUCE."""
    machine = _folded(BOOTSTRAP, _REDUCE, _REDUCE, resume(1))
    assert machine.trading_state is TradingState.REDUCING


def test_the_view_allows_what_the_state_allows() -> None:
    """ACTIVE lets all pass, REDUCING what reduces, HALTED nothing."""
    allowed = {
        state: [ControlView(state, 0, current=True).allows(reducing=each) for each in (False, True)]
        for state in TradingState
    }
    assert allowed == {
        TradingState.ACTIVE: [True, True],
        TradingState.REDUCING: [False, True],
        TradingState.HALTED: [False, False],
    }


def test_each_scope_has_its_record_in_the_compacted_view() -> None:
    """The record says by which epoch a scope is isolated, and -1 once it is not."""
    machine = _folded(BOOTSTRAP, _isolate("symbol:A"))
    found = machine.describe("symbol:A")
    assert found is not None
    assert (found.scope, found.isolated_epoch, found.breaker_epoch) == ("symbol:A", 1, -1)
    machine.apply(_release("symbol:A"), 2)
    released = machine.describe("symbol:A")
    assert released is not None
    assert (released.isolated_epoch, released.epoch) == (-1, 2)
    assert machine.describe("symbol:B") is None
