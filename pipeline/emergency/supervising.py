"""Asking the supervisors of worker processes to act, over `cascade.coordination`.

A supervisor is the system `supervisor` of the coordination: one instance for each `cascade run`. It
announces its worker processes with each heartbeat, and answers two requests:

| decision_type | decision_data | what it does |
|---|---|---|
| `restart_workers` | stage, request_id | kills the workers of the stage and starts them again |
| `reroute_traffic` | stage, request_id | starts standbys of them, then ends them for good |

It answers DONE when it is done, abstains where it runs no worker of the stage, and a request id
that it knows is answered as before without being carried out again. Who may ask is for the broker's
ACLs: whoever may write to `cascade.coordination`.
"""

import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.coordination.messages import ReplyBody, RequestBody, payload_of
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.vocabulary import ReplyStatus
from pipeline.errors import MalformedPacket
from pipeline.events import EventBus
from pipeline.packets.events import CoordinationMessage, MessageType

__all__ = [
    "DONE",
    "SUPERVISOR",
    "Asked",
    "Request",
    "Supervisors",
    "SupervisorsOnDemand",
    "WorkerSeen",
    "workers_in",
]

SUPERVISOR = "supervisor"
"""The system that all supervisors announce."""

DONE = "DONE"
"""Decision of the answer to a request that was carried out."""

_WORKERS = "workers"
_AUTHOR = "emergency"
_MARGIN_S = 1.0
_ANNOUNCED_S = 3.0


class Request(StrEnum):
    """What a supervisor can be asked for."""

    RESTART = "restart_workers"
    REROUTE = "reroute_traffic"


class WorkerSeen(Struct, frozen=True):
    """A worker process as its supervisor announces it.

    Attributes:
        name: Its name; unique within the run.
        stages: Its stages.
        pid: Its process; None while there is none.
        rss_mb: Memory that it holds, mebibytes.
        exits: How often it has ended unasked.
    """

    name: str
    stages: tuple[str, ...] = ()
    pid: int | None = None
    rss_mb: float = 0.0
    exits: int = 0


class Asked(Struct, frozen=True):
    """What came of a request.

    Attributes:
        done: Whether a supervisor has carried it out.
        detail: What the supervisors said, for people.
    """

    done: bool
    detail: str


def workers_in(configuration: Mapping[str, Any]) -> tuple[WorkerSeen, ...]:
    """Return the workers in what a supervisor announced; none where it is no such thing."""
    try:
        return msgspec.convert(configuration.get(_WORKERS, ()), tuple[WorkerSeen, ...])
    except msgspec.ValidationError:
        return ()


class Supervisors:
    """Asks the supervisors; thread-safe. Make it before the service is started.

    Args:
        service: This process's part in the coordination.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self, service: CoordinationService, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._monotonic = monotonic
        self._came = threading.Condition()
        self._replies: dict[str, dict[str, ReplyBody]] = {}
        service.listen(MessageType.COORDINATION_RESPONSE, self._take)

    def workers(self) -> tuple[WorkerSeen, ...]:
        """Return the worker processes of all live supervisors."""
        live = self._service.directory.members(SUPERVISOR, self._service.monotonic())
        return tuple(each for member in live for each in workers_in(member.said.configuration))

    def ask(self, what: Request, stage: str, request_id: str, timeout_s: float) -> Asked:
        """Ask for something, and wait until one has done it or all have declined.

        Args:
            what: What for.
            stage: For which stage's workers.
            request_id: Names the request; one that was carried out before is not again.
            timeout_s: How long to wait, seconds.

        Raises:
            BrokerUnavailable: If the request cannot be sent.
        """
        expected = self._answering()
        if not expected:
            return Asked(False, "no supervisor is live")
        body = RequestBody(
            decision_type=what,
            decision_data={"stage": stage, "request_id": request_id},
            affected_systems=(SUPERVISOR,),
        )
        message = self._service.compose(
            MessageType.COORDINATION_REQUEST, _AUTHOR, body,
            recipient=SUPERVISOR, priority=3, response_timeout_s=timeout_s,
        )  # fmt: skip
        with self._came:
            self._replies[message.message_id] = {}
        try:
            self._service.post(message).result(timeout_s + _MARGIN_S)
            return self._answer(message.message_id, expected, timeout_s)
        finally:
            with self._came:
                del self._replies[message.message_id]

    def _answering(self) -> frozenset[str]:
        service = self._service
        return service.directory.answering(SUPERVISOR, service.monotonic())

    def _answer(self, message_id: str, expected: frozenset[str], timeout_s: float) -> Asked:
        until_s = self._monotonic() + timeout_s
        with self._came:
            while True:
                replies = self._replies[message_id]
                for reply in replies.values():
                    if reply.answer is not None and reply.answer.decision == DONE:
                        return Asked(True, reply.answer.reason)
                left_s = until_s - self._monotonic()
                said = "; ".join(each.reason for each in replies.values() if each.reason)
                if expected <= replies.keys():
                    return Asked(False, said or "declined")
                if left_s <= 0.0:
                    return Asked(False, said or f"no answer within {timeout_s:g} s")
                self._came.wait(left_s)

    def _take(self, message: CoordinationMessage, offset: int) -> None:
        del offset
        with self._came:
            replies = self._replies.get(message.correlation_id)
            if replies is None:
                return
            try:
                reply = payload_of(message, ReplyBody)
            except MalformedPacket:
                return
            if reply.status is ReplyStatus.ANSWERED or reply.instance not in replies:
                replies[reply.instance] = reply
            self._came.notify_all()


class SupervisorsOnDemand:
    """Asks supervisors from a process that takes no part in the coordination until then.

    Args:
        bus: Connection to Kafka.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._service: CoordinationService | None = None
        self._supervisors: Supervisors | None = None

    def ask(self, what: Request, stage: str, request_id: str, timeout_s: float) -> Asked:
        """Ask, and wait for the answer; see `Supervisors.ask`."""
        return self._joined().ask(what, stage, request_id, timeout_s)

    def close(self) -> None:
        """Leave the coordination; the bus stays open."""
        with self._lock:
            service, self._service, self._supervisors = self._service, None, None
        if service is not None:
            service.close()

    def _joined(self) -> Supervisors:
        with self._lock:
            if self._supervisors is None:
                service = CoordinationService(self._bus)
                supervisors = Supervisors(service)
                service.start()
                # Whoever is there announces itself when somebody joins.
                with service.changed:
                    service.changed.wait_for(supervisors.workers, _ANNOUNCED_S)
                self._service, self._supervisors = service, supervisors
            return self._supervisors
