import pytest

from pipeline.control.state import ControlView, TradingState, TradingStateMachine
from pipeline.packets.events import ControlCommand, ControlKind
from tests.unit.control.memory_log import BOOTSTRAP, HALT, command, resume

_TRIP = command(ControlKind.TRIP, author="risk", scope="throttle:IBM")
_HALTED, _ACTIVE = TradingState.HALTED, TradingState.ACTIVE


def _reset(
    scope: str = "throttle:IBM", author: str = "operator", lifts_epoch: int = -1
) -> ControlCommand:
    return command(ControlKind.RESET, author=author, scope=scope, lifts_epoch=lifts_epoch)


def _folded(*commands: ControlCommand) -> TradingStateMachine:
    machine = TradingStateMachine(["operator"])
    for epoch, each in enumerate(commands):
        machine.apply(each, epoch)
    return machine


def _view(*commands: ControlCommand) -> ControlView:
    return _folded(*commands).view(current=True)


def test_a_trip_halts_until_it_is_reset_by_name() -> None:
    """Anybody may trip; a RESET of the same scope by an authorised author takes it down."""
    tripped = _view(BOOTSTRAP, _TRIP)
    assert (tripped.trading_state, tripped.trips.standing) == (_HALTED, frozenset({"throttle:IBM"}))
    assert tripped.reason == "throttle:IBM tripped, said by risk: why"
    reset = _view(BOOTSTRAP, _TRIP, _reset())
    assert (reset.trading_state, reset.trips.standing) == (_ACTIVE, frozenset())
    assert reset.trips.reset_since("throttle:IBM", 1)
    assert not reset.trips.reset_since("throttle:IBM", 2)


def test_no_resume_lifts_a_trip_and_no_reset_lifts_a_halt() -> None:
    """Each is lifted by its own name."""
    both = (BOOTSTRAP, _TRIP, HALT)
    assert _folded(BOOTSTRAP, _TRIP, resume(1)).trading_state is _HALTED
    assert _folded(*both, resume(2)).trading_state is _HALTED
    assert _folded(*both, _reset()).trading_state is _HALTED
    assert _folded(*both, _reset(), resume(2)).trading_state is _ACTIVE


def test_trips_are_reset_one_by_one() -> None:
    """A second trip goes on to halt when the first is reset; a trip said twice is one."""
    other = command(ControlKind.TRIP, author="gateway", scope="reconciliation:main")
    machine = _folded(BOOTSTRAP, _TRIP, other, _TRIP, _reset(lifts_epoch=1))
    assert machine.trading_state is _HALTED
    assert [str(each.scope) for each in machine.trips.standing] == ["reconciliation:main"]
    machine.apply(_reset("reconciliation:main"), 5)
    assert machine.trading_state is _ACTIVE


@pytest.mark.parametrize(
    ("reset", "why"),
    [
        (_reset(author="risk"), "author allowed"),
        (_reset("throttle:AAPL"), "to have tripped, had not"),
        (_reset(lifts_epoch=7), "lift epoch 1, was 7"),
        (_reset("symbol:IBM"), "throttle:NAME or reconciliation:NAME"),
        (_reset("nothing"), "Expected a scope"),
    ],
)
def test_a_reset_that_does_not_fit_does_not_count(reset: ControlCommand, why: str) -> None:
    """Nobody resets what they have not seen, and no worker resets itself."""
    machine = _folded(BOOTSTRAP, _TRIP, reset)
    assert machine.trading_state is _HALTED
    assert why in machine.refused[2]


@pytest.mark.parametrize("kind", [ControlKind.ISOLATE, ControlKind.BREAKER_OPEN])
def test_what_trips_cannot_be_isolated(kind: ControlKind) -> None:
    """There is nothing to fence off behind a throttle."""
    assert _folded(command(kind, scope="throttle:IBM")).refused.keys() == {0}


def test_a_trip_of_something_else_does_not_count() -> None:
    """Only what is known to trip can halt that way, or nobody could reset it by its name."""
    assert _folded(BOOTSTRAP, command(ControlKind.TRIP, scope="symbol:IBM")).refused.keys() == {1}
