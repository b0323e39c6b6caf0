"""The control log on Kafka: one partition, kept for ever, read by plain assignment."""

import logging
import time
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from pipeline.access import denial
from pipeline.control.signatures import CommandCheck, Forgery
from pipeline.control.state import TradingStateMachine
from pipeline.errors import BrokerUnavailable, PoisonError, PositionLost
from pipeline.kafka_logging import ClientLog
from pipeline.packets.codec import decode_as
from pipeline.packets.events import ControlCommand
from pipeline.settings import Settings

__all__ = ["TOPIC", "ControlLog", "Entry", "KafkaControlLog", "fold"]

_logger = logging.getLogger(__name__)

TOPIC = "cascade.control"

# What brokers say while a partition is getting a leader, or another one.
_PASSING = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the control log.

    Attributes:
        epoch: Its offset.
        command: The command; None where it cannot be read, or does not count by its signature.
        appended_at: When the broker appended it, microseconds; 0 where the topic does not say.
        forgery: Why its signature does not count; None where it does, or where nothing is signed.
    """

    epoch: int
    command: ControlCommand | None
    appended_at: int
    forgery: Forgery | None = None


class ControlLog(Protocol):
    """A control log, read from its start."""

    @property
    def next_epoch(self) -> int:
        """Epoch of the first record not yet read."""
        ...

    def end(self, timeout_s: float) -> int:
        """Return the epoch that the next command will get, as the broker says now.

        Raises:
            BrokerUnavailable: If it does not answer within `timeout_s`.
            PositionLost: If the log does not start at 0, or ends before what was read.
        """
        ...

    def poll(self, timeout_s: float) -> Entry | None:
        """Return the next record; None if none arrives within `timeout_s`.

        Raises:
            PositionLost: If the log has no such position.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class KafkaControlLog:
    """The control log of a broker.

    One thread may read while another asks for the end: each has a connection of its own, since a
    consumer answers nobody else while it is polled.

    Args:
        settings: Broker and namespace.
        client: What to call this reader.
    """

    def __init__(self, settings: Settings, client: str) -> None:
        self._topic = settings.topic(TOPIC)
        self._principal = settings.principal
        self._next = 0
        self._check = CommandCheck.of(settings, TOPIC)
        self._consumer = _consumer(settings, client)
        self._asking = _consumer(settings, f"{client}-asking")
        self._consumer.assign([TopicPartition(self._topic, 0, 0)])

    @property
    def next_epoch(self) -> int:
        """Epoch of the first record not yet read."""
        return self._next

    def end(self, timeout_s: float) -> int:
        """Return the epoch that the next command will get; see `ControlLog.end`."""
        known = self._next  # before asking: what is read meanwhile may lie after the answer
        start, end = self._watermarks(timeout_s)
        if start != 0 or end < known:
            raise PositionLost(
                f"Expected the control log to reach from 0 to {known} at least, was {start} to"
                f" {end}: commands were lost. Find out why before anybody trades on it.",
                topic=TOPIC,
                partition=0,
                offset=known,
            )
        return int(end)

    def _watermarks(self, timeout_s: float) -> tuple[int, int]:
        deadline_s = time.monotonic() + timeout_s
        place = TopicPartition(self._topic, 0)
        while True:
            left_s = max(0.01, deadline_s - time.monotonic())
            try:
                found = self._asking.get_watermark_offsets(place, timeout=left_s, cached=False)
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if reason.code() in _PASSING and time.monotonic() + _AGAIN_S < deadline_s:
                    time.sleep(_AGAIN_S)
                    continue
                if refusal := denial(reason, "READ", self._topic, self._principal):
                    raise refusal from error
                raise BrokerUnavailable(
                    f"Expected the end of {self._topic}, was: {reason.str()}. Check that the"
                    " broker runs and that `cascade topics apply` has been called."
                ) from error
            if found is None:
                raise BrokerUnavailable(
                    f"Expected the end of {self._topic} in {timeout_s} s, was none"
                )
            return found

    def poll(self, timeout_s: float) -> Entry | None:
        """Return the next record; see `ControlLog.poll`."""
        message = self._consumer.poll(timeout_s)
        if message is None:
            return None
        error = message.error()
        if error is None:
            entry = _entry(message, self._check)
            self._next = entry.epoch + 1
            return entry
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001  # librdkafka's own codes are spelled so
            raise PositionLost(
                f"Expected epoch {self._next} in the control log, was: {error.str()}",
                topic=TOPIC,
                partition=0,
                offset=self._next,
            )
        if refusal := denial(error, "READ", self._topic, self._principal):
            raise refusal
        _logger.debug("control log: %s", error)
        return None

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
        self._asking.close()


def _consumer(settings: Settings, client: str) -> Consumer:
    properties = settings.client(
        client_id=settings.group(client),
        group_id=settings.group(f"{client}-unused"),
        auto_offset_reset="error",
        enable_auto_commit=False,
        enable_auto_offset_store=False,
        allow_auto_create_topics=False,
        isolation_level="read_uncommitted",
        reconnect_backoff_max_ms=500,
    )
    return Consumer(properties, logger=ClientLog(_logger))


def fold(settings: Settings, *, through: int = -1, timeout_s: float = 10.0) -> TradingStateMachine:
    """Read the control log to its end, and through epoch `through`, and return what it says.

    Raises:
        BrokerUnavailable: If that takes longer than `timeout_s`.
        PositionLost: If the log has lost commands.
    """
    deadline = time.monotonic() + timeout_s
    machine = TradingStateMachine(settings.control_authors)
    log = KafkaControlLog(settings, "control-fold")
    try:
        end = max(log.end(timeout_s), through + 1)
        while log.next_epoch < end:
            entry = log.poll(0.1)
            if entry is not None:
                machine.take(entry)
            elif time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"Expected the control log up to {end} in {timeout_s} s, was {log.next_epoch}"
                )
    finally:
        log.close()
    return machine


def _entry(message: Message, check: CommandCheck | None) -> Entry:
    kind, timestamp_ms = message.timestamp()
    appended_at = timestamp_ms * 1000 if kind == TIMESTAMP_LOG_APPEND_TIME else 0
    epoch = message.offset()
    if epoch is None:
        raise PositionLost("Expected a record with an offset, was one without", topic=TOPIC)
    value, command, unreadable = message.value(), None, ""
    try:
        command = decode_as(value, ControlCommand)
    except PoisonError as error:
        unreadable = str(error)
    if check is not None:
        forgery = check.forgery(value, message.headers(), command, appended_at)
        if forgery is not None:
            return Entry(epoch, None, appended_at, forgery)
    if unreadable:
        _logger.error("unreadable control record at epoch %d, which halts: %s", epoch, unreadable)
    return Entry(epoch, command, appended_at)
