import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.control.state import TradingState, TradingStateMachine, strictest
from pipeline.packets.events import ControlCommand, ControlKind, ControlState
from tests.unit.control.memory_log import BOOTSTRAP, HALT, command, resume


def _folded(*commands: ControlCommand | None) -> TradingStateMachine:
    machine = TradingStateMachine(["operator"])
    for epoch, each in enumerate(commands):
        machine.apply(each, epoch)
    return machine


def test_an_empty_log_is_halted() -> None:
    """Nothing trades before a bootstrap."""
    machine = _folded()
    assert machine.trading_state is TradingState.HALTED
    assert (machine.epoch, machine.halt_epoch, machine.reason) == (-1, -1, "not bootstrapped")
    assert machine.describe() is None


def test_a_bootstrap_makes_it_active() -> None:
    """The first authorised BOOTSTRAP allows trading."""
    machine = _folded(BOOTSTRAP)
    assert (machine.trading_state, machine.epoch) == (TradingState.ACTIVE, 0)
    assert machine.reason == ""


@pytest.mark.parametrize("kind", [ControlKind.BOOTSTRAP, ControlKind.RESUME])
def test_only_authorised_authors_lift(kind: ControlKind) -> None:
    """A stranger neither bootstraps nor resumes."""
    before = () if kind is ControlKind.BOOTSTRAP else (BOOTSTRAP, HALT)
    machine = _folded(*before, command(kind, author="stranger", lifts_epoch=1))
    assert machine.trading_state is TradingState.HALTED
    assert "control_authors: operator" in machine.refused[len(before)]


def test_anybody_may_halt() -> None:
    """A HALT counts whoever gives it, in whatever scope, however late."""
    for scope, expires_at in (("*", 0), ("risk", 0), ("*", 5)):
        machine = _folded(BOOTSTRAP)
        halt = command(ControlKind.HALT, author="stranger", scope=scope, expires_at=expires_at)
        assert machine.apply(halt, 1, appended_at=10) is None
        assert (machine.trading_state, machine.halt_epoch) == (TradingState.HALTED, 1)
        assert machine.reason == "halted by stranger: why"


def test_a_resume_lifts_the_halt_that_it_names() -> None:
    """A RESUME with the epoch of the halt makes it ACTIVE again."""
    machine = _folded(BOOTSTRAP, HALT, resume(1))
    assert machine.trading_state is TradingState.ACTIVE
    assert (machine.epoch, machine.halt_epoch, machine.lifted_epoch) == (2, -1, 2)


@pytest.mark.parametrize("lifts_epoch", [-1, 0, 1, 3, 99])
def test_a_resume_of_another_halt_does_not_count(lifts_epoch: int) -> None:
    """Whoever resumes must have seen the newest halt."""
    machine = _folded(BOOTSTRAP, HALT, HALT, resume(lifts_epoch))
    assert (machine.trading_state, machine.halt_epoch) == (TradingState.HALTED, 2)
    assert "lifts epoch 2" in machine.refused[3]


def test_what_lifts_counts_once() -> None:
    """A release that was written twice does not lift what was isolated in between."""
    release = command(ControlKind.RELEASE, scope="stage:risk")
    isolate = command(ControlKind.ISOLATE, scope="stage:risk")
    machine = _folded(BOOTSTRAP, isolate, release, isolate, release)
    assert "once" in machine.refused[4]
    assert "risk" in machine.view(current=True).fences.stages
    assert not {2, 3} & machine.refused.keys()


def test_a_resume_of_nothing_does_not_count() -> None:
    """Without a halt there is nothing to lift, and a resume is no bootstrap."""
    assert _folded(resume(-1)).trading_state is TradingState.HALTED
    assert _folded(BOOTSTRAP, resume(0)).refused == {1: "Expected a halt to lift, was none"}


def test_a_bootstrap_lifts_no_halt() -> None:
    """Neither a halt before the bootstrap nor one after it is lifted by a BOOTSTRAP."""
    assert _folded(HALT, BOOTSTRAP).trading_state is TradingState.HALTED
    assert _folded(HALT, BOOTSTRAP, resume(0)).trading_state is TradingState.ACTIVE
    machine = _folded(BOOTSTRAP, HALT, command(ControlKind.BOOTSTRAP))
    assert machine.trading_state is TradingState.HALTED
    assert "Expected one BOOTSTRAP" in machine.refused[2]


def test_a_record_that_cannot_be_read_halts() -> None:
    """An unreadable command may have been a halt, so it is one; a resume lifts it."""
    machine = _folded(BOOTSTRAP, None)
    assert (machine.trading_state, machine.halt_epoch) == (TradingState.HALTED, 1)
    assert machine.reason == "unreadable control record"
    machine.apply(resume(1), 2)
    assert machine.trading_state is TradingState.ACTIVE


@pytest.mark.parametrize(("appended_at", "counts"), [(0, True), (100, True), (101, False)])
def test_a_command_past_its_expiry_does_not_count(appended_at: int, counts: bool) -> None:
    """What reaches the log too late is void; the broker's time decides."""
    machine = _folded()
    late = command(ControlKind.BOOTSTRAP, expires_at=100)
    assert (machine.apply(late, 0, appended_at) is None) == counts
    assert (machine.trading_state is TradingState.ACTIVE) == counts


def test_a_resume_of_a_part_does_not_count() -> None:
    """Only a command for everything lifts a halt of everything."""
    part = command(ControlKind.RESUME, lifts_epoch=1, scope="risk")
    assert _folded(BOOTSTRAP, HALT, part).trading_state is TradingState.HALTED


def test_the_view_says_the_state() -> None:
    """The compacted view and the worker's view agree with the machine."""
    machine = _folded(BOOTSTRAP, HALT)
    view = machine.view(current=True)
    assert (view.trading_state, view.epoch, view.halt_epoch) == (TradingState.HALTED, 1, 1)
    assert machine.describe() == ControlState(
        "*", TradingState.HALTED, 1, 1, HALT.command_id, "operator", "why", 1
    )


_COMMANDS = st.one_of(
    st.none(),
    st.builds(
        command,
        st.sampled_from(ControlKind),
        author=st.sampled_from(["operator", "stranger"]),
        lifts_epoch=st.integers(-1, 12),
    ),
)


@given(st.lists(_COMMANDS, max_size=12))
def test_it_leaves_halted_only_after_the_last_halt_was_lifted_by_name(
    commands: list[ControlCommand | None],
) -> None:
    """For any history: not HALTED means bootstrapped, and each halt lifted by its own RESUME."""
    machine = _folded(*commands)
    allowed = [c is not None and c.author == "operator" for c in commands]
    bootstrapped = any(
        c is not None and ok and c.kind is ControlKind.BOOTSTRAP
        for c, ok in zip(commands, allowed, strict=True)
    )
    halts = [e for e, c in enumerate(commands) if c is None or c.kind is ControlKind.HALT]
    lifted = not halts or any(
        c is not None and ok and c.kind is ControlKind.RESUME and c.lifts_epoch == halts[-1]
        for c, ok in zip(commands[halts[-1] :], allowed[halts[-1] :], strict=True)
    )
    assert (machine.trading_state is not TradingState.HALTED) == (bootstrapped and lifted)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (TradingState.ACTIVE, TradingState.REDUCING, TradingState.REDUCING),
        (TradingState.HALTED, TradingState.REDUCING, TradingState.HALTED),
        (TradingState.ACTIVE, TradingState.ACTIVE, TradingState.ACTIVE),
    ],
)
def test_the_stricter_state_wins(
    first: TradingState, second: TradingState, expected: TradingState
) -> None:
    """HALTED before REDUCING before ACTIVE, in either order."""
    assert strictest(first, second) is strictest(second, first) is expected
