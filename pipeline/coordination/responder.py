"""Answers requests for the systems of this process."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pipeline.coordination.answers import CoordinationRequest
from pipeline.coordination.epochs import Epochs
from pipeline.coordination.messages import ReplyBody, RequestBody, payload_of
from pipeline.coordination.systems import LocalSystem
from pipeline.coordination.vocabulary import ReplyStatus
from pipeline.errors import PipelineError
from pipeline.packets.events import CoordinationMessage, MessageType

__all__ = ["Responder"]

_MOST_WHY = 1000


class Responder:
    """Has the handlers of local systems answer requests.

    Quick handlers are called at once, others on a thread of their own each: a daemon, since one
    that never returns must not keep the process alive. With `most` of them running, a request gets
    a failure for an answer: whoever asked learns more from it than from waiting in a queue.

    Args:
        instance: Name of this process.
        systems: Its systems, by id.
        epochs: Whether an emergency is in force.
        send: Sends a message.
        most: How many handlers may run at once.
    """

    def __init__(
        self,
        instance: str,
        systems: Mapping[str, LocalSystem],
        epochs: Epochs,
        send: Callable[..., None],
        most: int,
    ) -> None:
        self._instance = instance
        self._systems = systems
        self._epochs = epochs
        self._send = send
        self._most = most
        self._turns = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()

    def take(self, message: CoordinationMessage) -> None:
        """Answer a COORDINATION_REQUEST for those of its systems that are here and answer.

        Raises:
            MalformedPacket: If it holds no request.
        """
        body = payload_of(message, RequestBody)
        request = CoordinationRequest(
            coordination_id=message.message_id,
            requesting_system=message.sender_system,
            decision_type=body.decision_type,
            decision_data=body.decision_data,
            affected_systems=body.affected_systems,
            timestamp=message.timestamp,
            priority=message.priority,
        )
        for system_id in body.affected_systems:
            system = self._systems.get(system_id)
            if system is not None and system.handler is not None:
                self._ask(system, request)

    def _ask(self, system: LocalSystem, request: CoordinationRequest) -> None:
        if self._epochs.in_emergency and not system.steadfast:
            why = f"an emergency is in force since epoch {self._epochs.emergency_epoch}"
            self._decline(system, request, ReplyStatus.REFUSED, why)
        elif system.quick:
            self._answer(system, request)
        elif self._turns.acquire(blocking=False):
            name = f"coordination-{system.system_id}"
            threading.Thread(
                target=self._answer_in_turn, args=(system, request), name=name, daemon=True
            ).start()
        else:
            why = f"{self._most} handlers run there already"
            self._decline(system, request, ReplyStatus.FAILED, why)

    def _answer_in_turn(self, system: LocalSystem, request: CoordinationRequest) -> None:
        try:
            self._answer(system, request)
        finally:
            self._turns.release()

    def _answer(self, system: LocalSystem, request: CoordinationRequest) -> None:
        with self._lock:
            system.working += 1
        try:
            reply = system.reply(request, self._instance)
        finally:
            with self._lock:
                system.working -= 1
        if reply is None:
            return
        try:
            self._reply(system, request, reply)
        except PipelineError as error:  # e.g. an answer that is too large
            why = f"its answer cannot be sent: {error}"
            with suppress(PipelineError):  # e.g. the bus was closed meanwhile
                self._decline(system, request, ReplyStatus.FAILED, why)

    def _decline(
        self, system: LocalSystem, request: CoordinationRequest, status: ReplyStatus, why: str
    ) -> None:
        reply = ReplyBody(instance=self._instance, status=status, reason=why[:_MOST_WHY])
        self._reply(system, request, reply)

    def _reply(self, system: LocalSystem, request: CoordinationRequest, reply: ReplyBody) -> None:
        more: dict[str, Any] = {
            "recipient": request.requesting_system,
            "correlation_id": request.coordination_id,
            "priority": request.priority,
        }
        self._send(MessageType.COORDINATION_RESPONSE, system.system_id, reply, **more)
