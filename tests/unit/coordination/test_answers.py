"""What handlers may return, what a request proposes, and messages as JSON."""

from typing import Any

import numpy as np
import pytest

from pipeline.coordination.answers import Abstention, Answer, as_answer, proposal_of
from pipeline.coordination.messages import Announcement, RequestBody, compose, payload_of
from pipeline.errors import InvalidPacket, MalformedPacket
from pipeline.packets.events import MessageType
from pipeline.packets.models import Superposition
from tests.unit.coordination.factories import FixedClock

BUY = {"BUY": 0.7, "HOLD": 0.2, "SELL": 0.1}


@pytest.mark.parametrize(
    ("returned", "answer"),
    [
        (None, None),
        (Abstention("no view"), Abstention("no view")),
        (" buy ", Answer(decision="BUY")),
        (Answer(decision="sell", confidence=0.4), Answer(decision="SELL", confidence=0.4)),
        ({"decision": "Approve", "terms": {"quantity": 5}},
         Answer(decision="APPROVE", terms={"quantity": 5})),
        (Superposition("tactical", BUY, 0.7, 0.3),
         Answer(decision="BUY", confidence=0.7, distribution=BUY)),
    ],
)  # fmt: skip
def test_a_handler_may_return_what_is_at_hand(returned: Any, answer: Any) -> None:
    """Texts, mappings and superpositions become answers; decisions are upper case."""
    assert answer == as_answer(returned)


@pytest.mark.parametrize(
    "returned",
    [7, "", {"confidence": 0.4}, {"decision": "BUY", "confidence": 1.4}, {"decision": 3},
     {"decision": "BUY", "distribution": {"BUY": 0.4}}, Answer(decision="BUY", priority=4)],
)  # fmt: skip
def test_what_is_no_answer_is_refused(returned: Any) -> None:
    """Fields out of their range and distributions that are none are errors, not answers."""
    with pytest.raises(InvalidPacket):
        as_answer(returned)


@pytest.mark.parametrize(
    ("data", "proposed"),
    [
        ({"signal": "buy", "strength": 0.8}, Answer(decision="BUY", confidence=0.8)),
        ({"action": "SELL", "signal": "buy"}, Answer(decision="SELL")),
        ({"signal": "buy", "strength": 7}, Answer(decision="BUY")),
        ({"signal": 1.0, "symbol": "ACME"}, None),
        ({}, None),
    ],
)
def test_a_request_proposes_what_its_data_names(
    data: dict[str, Any], proposed: Answer | None
) -> None:
    """decision, action, signal or direction, with a confidence between 0 and 1."""
    assert proposed == proposal_of(data)


def test_payloads_survive_the_way_through_json() -> None:
    """What is composed is read back, numpy's numbers as Python's."""
    body = RequestBody(
        decision_type="entry",
        decision_data={"strength": np.float64(0.5), "path": np.arange(2)},
        affected_systems=("risk",),
    )

    message = compose(MessageType.COORDINATION_REQUEST, "strategic", body, FixedClock())

    assert {"strength": 0.5, "path": [0, 1]} == payload_of(message, RequestBody).decision_data
    with pytest.raises(MalformedPacket, match="Expected a Announcement"):
        payload_of(message, Announcement)


@pytest.mark.parametrize("value", [object(), "x" * 70_000, {1, 2}.__iter__()])
def test_payloads_that_no_record_can_hold_are_refused(value: Any) -> None:
    """What JSON cannot hold, and more than 64 KiB, is an error before anything is sent."""
    with pytest.raises(InvalidPacket, match="Expected a payload"):
        compose(MessageType.STATE_UPDATE, "tactical", {"value": value}, FixedClock())


def test_each_message_has_an_id_of_its_own() -> None:
    """Ids correlate answers, so no two messages share one."""
    ids = {compose(MessageType.HEARTBEAT, "a", {}, FixedClock()).message_id for _ in range(100)}

    assert 100 == len(ids)
