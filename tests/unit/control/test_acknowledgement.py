import json

import pytest
from msgspec import structs

from pipeline.control.acknowledgement import Acknowledgement
from pipeline.control.fences import Fences
from pipeline.control.state import ControlView, TradingState
from pipeline.packets.codec import decode_as, encode
from pipeline.packets.events import CoordinationMessage, MessageType

_VIEW = ControlView(TradingState.ACTIVE, 4, current=True, fences=Fences(stages=frozenset({"risk"})))


def _given(stage: str) -> Acknowledgement:
    return Acknowledgement.of(
        "c", 4, None, stage=stage, worker="w", view=_VIEW, now_us=1_700_000_000_000_000
    )


def test_it_survives_the_wire() -> None:
    """What a worker says is what the giver of the command reads."""
    message = decode_as(encode(_given("risk").message()), CoordinationMessage)
    assert _given("risk") == Acknowledgement.read(message)
    assert message.correlation_id == "c"


def test_it_says_whether_its_own_stage_is_isolated() -> None:
    """A worker of another stage is not isolated by it."""
    assert [_given(stage).isolated for stage in ("risk", "tactical")] == [True, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"message_type": MessageType.HEARTBEAT},
        {"payload": "{}"},
        {"payload": "[1]"},
        {"payload": json.dumps({"subject": "control", "stage": "risk"})},
    ],
)
def test_other_messages_hold_none(changes: dict[str, object]) -> None:
    """Heartbeats and the state updates of others are no acknowledgements."""
    assert Acknowledgement.read(structs.replace(_given("risk").message(), **changes)) is None
