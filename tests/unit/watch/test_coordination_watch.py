from typing import Any

import msgspec
import pytest

from pipeline.coordination.messages import Announcement, ReplyBody, RequestBody, SyncBody
from pipeline.coordination.vocabulary import ReplyStatus, SyncProtocol
from pipeline.packets.events import CoordinationMessage, MessageType
from pipeline.watch.coordination import CoordinationWatch
from tests.unit.watch.factories import seconds


def _message(
    kind: MessageType, sender: str, body: Any, at_s: float, **more: Any
) -> CoordinationMessage:
    fields: dict[str, Any] = {
        "message_id": f"{sender}-{at_s}", "message_type": kind, "sender_system": sender,
        "recipient_system": "*", "timestamp": seconds(at_s),
        "payload": msgspec.json.encode(body).decode(), "priority": 1, "requires_response": False,
        "response_timeout": 0.0, "correlation_id": "",
    }  # fmt: skip
    return CoordinationMessage(**{**fields, **more})


def _request(name: str, at_s: float, systems: tuple[str, ...]) -> CoordinationMessage:
    body = RequestBody(decision_type="entry", decision_data={}, affected_systems=systems)
    return _message(
        MessageType.COORDINATION_REQUEST, "strategic", body, at_s,
        message_id=name, requires_response=True, response_timeout=2.0,
    )  # fmt: skip


def _reply(
    name: str, sender: str, at_s: float, status: ReplyStatus = ReplyStatus.ANSWERED
) -> CoordinationMessage:
    body = ReplyBody(instance="i", status=status)
    return _message(MessageType.COORDINATION_RESPONSE, sender, body, at_s, correlation_id=name)


def _take(watch: CoordinationWatch, *messages: CoordinationMessage) -> None:
    for message in messages:
        watch.take(message, message.timestamp // 1000 + 4)


def test_a_request_succeeds_when_every_affected_system_answers() -> None:
    """Answers of all, in time, are a success; abstentions and silence are not."""
    watch = CoordinationWatch()
    _take(
        watch,
        _request("good", 1.0, ("risk", "tactical")),
        _reply("good", "risk", 1.1),
        _reply("good", "tactical", 1.3),
        _request("silent", 2.0, ("risk", "tactical")),
        _reply("silent", "risk", 2.1),
        _request("shy", 3.0, ("risk",)),
        _reply("shy", "risk", 3.2, ReplyStatus.ABSTAINED),
    )
    found = watch.figures(seconds(10.0), 60.0)
    assert 3 == found.requests
    assert pytest.approx(1 / 3) == found.success_rate
    assert found.response_ms is not None
    assert (3, 300.0) == (found.response_ms.count, found.response_ms.max)


def test_a_request_that_still_waits_counts_neither_way() -> None:
    """Within its time a request is neither answered nor failed: there is no rate yet."""
    watch = CoordinationWatch()
    _take(watch, _request("r", 1.0, ("risk",)))
    assert watch.figures(seconds(2.0), 60.0).success_rate is None
    assert 0.0 == watch.figures(seconds(3.1), 60.0).success_rate


def test_conflicts_synchronisations_and_messages_are_timed() -> None:
    """Each of the coordination's figures moves with the messages that it is about."""
    watch = CoordinationWatch()
    before = watch.figures(seconds(5.0), 60.0)
    assert before.conflict_resolution_ms is None
    assert before.message_latency_ms is None

    complete = SyncBody(instance="i", protocol=SyncProtocol.FAST_SYNC, epoch=3, complete=True)
    _take(
        watch,
        _request("r", 1.0, ("risk",)),
        _message(MessageType.CONFLICT_RESOLUTION, "strategic", {}, 1.5, correlation_id="r"),
        _message(MessageType.SYNC_RESPONSE, "strategic", complete, 2.0),
    )
    found = watch.figures(seconds(5.0), 60.0)
    assert found.conflict_resolution_ms is not None
    assert 500.0 == found.conflict_resolution_ms.max
    assert 1.0 == found.synchronisations_per_minute
    assert found.message_latency_ms is not None
    assert (3, 4.0) == (found.message_latency_ms.count, found.message_latency_ms.max)
    assert 0.05 == found.messages_per_second


def test_loads_are_believed_while_their_system_is_there() -> None:
    """A load is a ratio, and forgotten once its system is silent."""
    watch = CoordinationWatch()
    beat = MessageType.HEARTBEAT
    _take(
        watch,
        _message(beat, "risk", Announcement(instance="i", load=0.4), 1.0),
        _message(beat, "tactical", Announcement(instance="i", load=7.0), 3.0),
        _message(beat, "execution", Announcement(instance="i"), 3.0),
    )
    assert {"risk": 0.4, "tactical": 1.0} == watch.loads(seconds(4.0))
    assert {"tactical": 1.0} == watch.loads(seconds(6.0))


def test_a_malformed_payload_is_counted() -> None:
    """A payload that is none ends nothing."""
    watch = CoordinationWatch()
    _take(watch, _message(MessageType.COORDINATION_REQUEST, "x", {"no": "request"}, 1.0))
    assert 1 == watch.malformed
