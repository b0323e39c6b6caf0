"""Which commands only lacked the right to be given."""

import pytest

from pipeline.control.log import Entry
from pipeline.control.state import TradingStateMachine
from pipeline.packets.events import ControlCommand, ControlKind
from pipeline.watch.control_follower import only_lacks_the_right

NOW_US = 1_700_000_000_000_000


def _command(kind: str, author: str, scope: str = "*", lifts: int = -1) -> ControlCommand:
    return ControlCommand(
        f"{author} {kind}", ControlKind(kind), scope, author, "why", NOW_US, 0, lifts
    )


@pytest.fixture
def machine() -> TradingStateMachine:
    """A cascade that an operator has bootstrapped, halted, and isolated tactical in."""
    made = TradingStateMachine(["operator"])
    made.apply(_command("BOOTSTRAP", "operator"), 0)
    made.apply(_command("HALT", "anybody"), 1)
    made.apply(_command("ISOLATE", "operator", "stage:tactical"), 2)
    return made


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (_command("RESUME", "stranger", lifts=1), True),
        (_command("RELEASE", "stranger", "stage:tactical"), True),
        (_command("RESUME", "operator", lifts=1), False),
        (_command("RESUME", "stranger", lifts=7), False),
        (_command("HALT", "stranger"), False),
        (_command("ISOLATE", "stranger", "stage:risk"), False),
    ],
    ids=["resume", "release", "of an operator", "void anyway", "halt", "isolate"],
)
def test_a_stranger_s_command(
    machine: TradingStateMachine, command: ControlCommand, expected: bool
) -> None:
    """One that would have counted from an operator is an attempt; a void one is a mistake."""
    assert expected is only_lacks_the_right(machine, Entry(3, command, NOW_US), "operator")
