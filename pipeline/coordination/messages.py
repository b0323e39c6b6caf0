"""What coordination messages say: the payloads of `CoordinationMessage`, as JSON objects.

| message type | payload | when |
|---|---|---|
| HANDSHAKE | Announcement, asks=true | a process joins; everybody announces at once |
| HEARTBEAT | Announcement | once an interval, for each system |
| STATE_UPDATE | Announcement | something announced has changed; leaving=true is a farewell |
| PERFORMANCE_REPORT | Announcement | new performance figures |
| COORDINATION_REQUEST | RequestBody | a decision is asked for |
| COORDINATION_RESPONSE | ReplyBody | its answer, correlation_id = message_id of the request |
| CONFLICT_RESOLUTION | any object | what became of contradicting answers |
| SYNC_REQUEST, EMERGENCY_BROADCAST | SyncBody | see `pipeline.coordination.epochs` |
| SYNC_RESPONSE | SyncBody | a system's confirmation, or the end of a synchronisation |

A STATE_UPDATE with a correlation id is no announcement but an acknowledgement of a control command,
see `pipeline.control.acknowledgement`.

All stand in one partition, so every reader sees them in the same order.
"""

import os
import socket
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from pipeline.clock import Clock
from pipeline.coordination.answers import Answer
from pipeline.coordination.vocabulary import CoordinationState, ReplyStatus, Role, SyncProtocol
from pipeline.documents import decoded
from pipeline.errors import InvalidPacket, MalformedPacket
from pipeline.packets.events import EVERYTHING, CoordinationMessage, MessageType

__all__ = [
    "Announcement",
    "ReplyBody",
    "RequestBody",
    "SyncBody",
    "compose",
    "new_instance",
    "payload_of",
]

_MOST_BYTES = 65_536
Body = TypeVar("Body", bound=Struct)


class Announcement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process says of one of its systems.

    Attributes:
        instance: Names the process; a restart is another instance.
        name: Name of the system, for people.
        role: Who speaks.
        state: State of the system.
        interval_s: Seconds between its heartbeats.
        capabilities: What it can do.
        configuration: How it is set up.
        version: Its version.
        load: Its load, 0 to 1; None where it is not known.
        performance: Its figures by name; `success_rate` (0 to 1) is the one that counts.
        answers: Whether it answers requests.
        epoch: Last complete synchronisation that it knows of; -1 for none.
        emergency_epoch: Last emergency that it knows of; -1 for none.
        asks: Everybody is to announce at once.
        leaving: It goes, and is disconnected from now on.
    """

    instance: str
    name: str = ""
    role: Role = Role.REGISTERED
    state: CoordinationState = CoordinationState.INITIALIZING
    interval_s: float = 1.0
    capabilities: tuple[str, ...] = ()
    configuration: dict[str, Any] = {}
    version: str = ""
    load: float | None = None
    performance: dict[str, float] = {}
    answers: bool = False
    epoch: int = -1
    emergency_epoch: int = -1
    asks: bool = False
    leaving: bool = False


class RequestBody(Struct, frozen=True, kw_only=True):
    """A decision that is asked for."""

    decision_type: str
    decision_data: dict[str, Any]
    affected_systems: tuple[str, ...]
    epoch: int = -1


class ReplyBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one instance of a system says to a request."""

    instance: str
    status: ReplyStatus
    answer: Answer | None = None
    reason: str = ""


class SyncBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step of a synchronisation.

    Attributes:
        instance: Who speaks.
        protocol: Which protocol.
        epoch: The epoch, an offset of the topic; -1 in the request, whose own offset it is.
        complete: Whether the synchronisation is complete, and the epoch in force.
        reason: Why, for people.
    """

    instance: str
    protocol: SyncProtocol
    epoch: int = -1
    complete: bool = False
    reason: str = ""


def new_instance() -> str:
    """Return a name for this process that no other and no later one has."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def compose(
    kind: MessageType,
    sender: str,
    body: Struct | Mapping[str, Any],
    clock: Clock,
    *,
    recipient: str = EVERYTHING,
    priority: int = 1,
    response_timeout_s: float = 0.0,
    correlation_id: str = "",
) -> CoordinationMessage:
    """Return a message with an id of its own.

    Args:
        kind: Its type.
        sender: System that sends it.
        body: Its payload.
        clock: Clock.
        recipient: System that it is for; `*` for everybody.
        priority: 1 normal, 2 high, 3 emergency.
        response_timeout_s: How long an answer is waited for; 0 where none is.
        correlation_id: Message that it answers.

    Raises:
        InvalidPacket: A payload that JSON cannot hold, or of more than 64 KiB.
    """
    try:
        payload = msgspec.json.encode(body, enc_hook=_plain)
    except (TypeError, ValueError) as error:
        raise InvalidPacket(f"Expected a payload that JSON can hold, was: {error}") from error
    if len(payload) > _MOST_BYTES:
        raise InvalidPacket(f"Expected a payload up to {_MOST_BYTES} bytes, was {len(payload)}")
    return CoordinationMessage(
        message_id=uuid.uuid4().hex,
        message_type=kind,
        sender_system=sender,
        recipient_system=recipient,
        timestamp=clock.now_us(),
        payload=payload.decode(),
        priority=priority,
        requires_response=response_timeout_s > 0.0,
        response_timeout=response_timeout_s,
        correlation_id=correlation_id,
    )


def payload_of(message: CoordinationMessage, kind: type[Body]) -> Body:
    """Return the payload of a message.

    Raises:
        MalformedPacket: If it is no `kind`.
    """
    try:
        return decoded(message.payload, kind)
    except msgspec.DecodeError as error:
        raise MalformedPacket(
            f"Expected a {kind.__name__} in {message.message_type} of {message.sender_system},"
            f" was: {error}"
        ) from error


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"Expected a plain value, was {type(value).__name__}")
