"""Giving control commands: to the control log, then to the compacted view of it."""

import logging
import secrets
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.access import denial
from pipeline.clock import Clock
from pipeline.control.log import TOPIC, fold
from pipeline.control.signatures import sign_command
from pipeline.control.state import NONE, RESTRICTS
from pipeline.errors import BrokerUnavailable, PipelineError, UsageError
from pipeline.kafka_logging import ClientLog
from pipeline.keys import Signer
from pipeline.keys.signing import Headers
from pipeline.packets.codec import encode
from pipeline.packets.events import EVERYTHING, ControlCommand, ControlKind
from pipeline.settings import Settings

__all__ = ["STATE_TOPIC", "ControlWriter", "new_command"]

_logger = logging.getLogger(__name__)

STATE_TOPIC = "cascade.control.state"
_VALID_US = 300_000_000


def new_command(
    kind: ControlKind,
    *,
    author: str,
    reason: str,
    clock: Clock,
    scope: str = EVERYTHING,
    lifts_epoch: int = NONE,
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
) -> ControlCommand:
    """Return a command, given now.

    What restricts never expires. Others are void when they reach the log more than five minutes
    late, so that nobody resumes what has been forgotten.

    Args:
        kind: What it does.
        author: Who gives it.
        reason: Why.
        clock: Says when.
        scope: What it is for; see `pipeline.control.scope`.
        lifts_epoch: For a RESUME, the epoch of the halt or REDUCE that it lifts; for a RELEASE, of
            the ISOLATE, and for a RESET of the TRIP, or -1 for whichever is in force.
        new_id: Returns an id that no other command has.
    """
    now = clock.now_us()
    expires_at = 0 if kind in RESTRICTS else now + _VALID_US
    return ControlCommand(new_id(), kind, scope, author, reason, now, expires_at, lifts_epoch)


class ControlWriter:
    """Writes to the control log of a broker.

    Args:
        settings: Broker, namespace and authors.
        timeout_s: For each step of a command.
    """

    def __init__(self, settings: Settings, *, timeout_s: float = 10.0) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._signer = Signer.of(settings)
        self._producer = Producer(
            settings.client(
                client_id=settings.group("control-writer"),
                acks="all",
                # An idempotent producer first asks for an id, and asks again only after 0.5 s. What
                # is written twice counts once.
                enable_idempotence=False,
                max_in_flight_requests_per_connection=1,
                allow_auto_create_topics=False,
                delivery_timeout_ms=int(timeout_s * 1000),
                linger_ms=0,
            ),
            logger=ClientLog(_logger),
        )

    def connect(self) -> None:
        """Meet the broker and learn where the log lies, so that a command waits for neither.

        Raises:
            BrokerUnavailable: If it does not answer in time.
        """
        try:
            self._producer.list_topics(self._settings.topic(TOPIC), timeout=self._timeout_s)
        except KafkaException as error:
            raise BrokerUnavailable(f"Expected the control log, was: {error}") from error

    def issue(self, command: ControlCommand) -> int:
        """Write a command and return its epoch; it stands in the log when this returns.

        1. Read the log, and refuse a command that would not count. A HALT skips this.
        2. Write the command, signed where there is a key ring, acknowledged by all replicas in
           sync.
        3. Read the log through it: another command may have come between.
        4. Write the compacted view; where that fails after a HALT, it is only logged.

        Raises:
            UsageError: If it would not count, or did not.
            SignatureRefused: If it must be signed, and this process has no key for it.
            AccessDenied: If the broker refuses it.
            BrokerUnavailable: If the log cannot be read or written in time. The command may still
                arrive; `fold` tells.
        """
        halts = command.kind is ControlKind.HALT
        value = encode(command)
        signed = sign_command(self._signer, self._settings.topic(TOPIC), command, value)
        if not halts:
            self._refuse_void(command)  # Step 1
        epoch = self._write(TOPIC, command.scope, value, signed)  # Step 2
        try:
            self._publish(command, epoch)  # Steps 3 and 4
        except BrokerUnavailable as error:
            if not halts:
                raise
            _logger.warning("halted at epoch %d, but its view was not written: %s", epoch, error)
        return epoch

    def _refuse_void(self, command: ControlCommand) -> None:
        machine = fold(self._settings, timeout_s=self._timeout_s)
        if refusal := machine.refusal(command):
            raise UsageError(f"{command.kind} does not count: {refusal}")

    def _publish(self, command: ControlCommand, epoch: int) -> None:
        machine = fold(self._settings, through=epoch, timeout_s=self._timeout_s)
        halts = command.kind is ControlKind.HALT
        state = machine.describe(EVERYTHING if halts else command.scope)
        if state is not None:
            self._write(STATE_TOPIC, state.scope, encode(state))
        if refusal := machine.refused.get(epoch):
            raise UsageError(
                f"{command.kind} stands at epoch {epoch} and does not count: {refusal}"
            )

    def _write(self, topic: str, key: str, value: bytes, headers: Headers | None = None) -> int:
        reports: list[tuple[KafkaError | None, Message]] = []

        def report(error: KafkaError | None, message: Message) -> None:
            reports.append((error, message))

        real = self._settings.topic(topic)
        try:
            self._producer.produce(
                real, value, key, partition=0, on_delivery=report, headers=headers or None
            )
            self._producer.flush(self._timeout_s + 1.0)
        except (KafkaException, BufferError) as error:
            raise BrokerUnavailable(f"Expected to write to {real}, was: {error}") from error
        if not reports:
            raise BrokerUnavailable(f"Expected to write to {real} in {self._timeout_s} s, was not")
        failure, message = reports[0]
        if failure is not None:
            if refusal := denial(failure, "WRITE", real, self._settings.principal):
                raise refusal
            raise BrokerUnavailable(
                f"Expected to write to {real}, was: {failure.str()}. Check that the broker runs and"
                " that `cascade topics apply` has been called."
            )
        return _offset(message)


def _offset(message: Any) -> int:
    offset: int | None = message.offset()
    if offset is None or offset < 0:
        raise PipelineError(f"Expected the offset of a delivered record, was {offset}")
    return offset
