"""Telling the audit log who did what: security events, on their way to the auditor.

`publish_security_event` waits until the broker has one; `SecurityLog.tell` waits for nothing, for
who serves requests or packets and must not depend on a broker that answers.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.clock import Clock, WallClock
from pipeline.errors import BrokerUnavailable
from pipeline.kafka_logging import ClientLog
from pipeline.packets.codec import encode
from pipeline.packets.events import SecurityEvent, SecurityEventKind
from pipeline.settings import Settings

__all__ = ["TOPIC", "UNKNOWN", "SecurityLog", "publish_security_event", "security_event"]

_logger = logging.getLogger(__name__)

TOPIC: Final = "cascade.security"

UNKNOWN: Final = "unknown"
"""The author where nobody can tell who it was."""

_MOST_NAME = 128
_MOST_TEXT = 4096
# The client looks once a second for what has timed out.
_SCAN_S = 3.0


def security_event(
    kind: SecurityEventKind,
    *,
    author: str,
    subject: str,
    detail: str = "",
    source_address: str = "",
    clock: Clock,
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
) -> SecurityEvent:
    """Return an event of now; what is too long is cut, so that no input keeps it from being told.

    Args:
        kind: What it is about.
        author: Who did it, or tried to; `UNKNOWN` where it is empty.
        subject: What it was done to.
        detail: What was done or refused, and why; nothing secret.
        source_address: Where it came from.
        clock: Says when.
        new_id: Returns an id that no other event has.
    """
    return SecurityEvent(
        new_id(), kind, author[:_MOST_NAME] or UNKNOWN, subject[:_MOST_TEXT], detail[:_MOST_TEXT],
        clock.now_us(), source_address[:_MOST_NAME],
    )  # fmt: skip


class SecurityLog:
    """Writes security events of one process; thread-safe. It connects at its first event.

    Args:
        settings: Settings with a broker.
        clock: Says when.
        timeout_s: How long an event is tried, seconds.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, timeout_s: float = 10.0
    ) -> None:
        self._settings = settings
        self._clock = clock or WallClock()
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def tell(
        self,
        kind: SecurityEventKind,
        *,
        author: str,
        subject: str,
        detail: str = "",
        source_address: str = "",
        delivered: Callable[[KafkaError | None], None] | None = None,
    ) -> SecurityEvent:
        """Hand an event over, without waiting; one that cannot be written is logged.

        Args:
            kind: What it is about.
            author: Who did it, or tried to.
            subject: What it was done to.
            detail: What was done or refused, and why; nothing secret.
            source_address: Where it came from.
            delivered: Called with what kept it from being written, or with None.
        """
        event = security_event(
            kind, author=author, subject=subject, detail=detail, source_address=source_address,
            clock=self._clock,
        )  # fmt: skip

        def report(error: KafkaError | None, message: Message | None = None) -> None:
            del message
            if error is not None:
                _logger.error("security_event_lost event=%s why=%s", event, error)
            if delivered is not None:
                delivered(error)

        topic = self._settings.topic(TOPIC)
        try:
            with self._lock:
                producer = self._connected()
                producer.produce(topic, encode(event), event.event_id.encode(), on_delivery=report)
                producer.poll(0)
        except (KafkaException, BufferError) as error:
            failed = error.args[0] if isinstance(error, KafkaException) else None
            report(failed or KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001  # spelled so
        return event

    def flush(self, timeout_s: float | None = None) -> int:
        """Wait for what is under way; return how many events still are.

        Args:
            timeout_s: How long, seconds; None: as long as an event is tried.
        """
        producer = self._producer
        if producer is None:
            return 0
        return producer.flush(self._timeout_s + _SCAN_S if timeout_s is None else timeout_s)

    def _connected(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                self._settings.client(
                    client_id=self._settings.group("security-log"),
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    allow_auto_create_topics=False,
                    message_timeout_ms=int(self._timeout_s * 1000),
                ),
                logger=ClientLog(_logger),
            )
        return self._producer


def publish_security_event(
    settings: Settings,
    kind: SecurityEventKind,
    *,
    author: str,
    subject: str,
    detail: str = "",
    source_address: str = "",
    timeout_s: float = 10.0,
) -> SecurityEvent:
    """Write one event; it stands in `cascade.security` when this returns.

    Args:
        settings: Settings with a broker.
        kind: What it is about.
        author: Who did it, or tried to.
        subject: What it was done to.
        detail: What was done or refused, and why; nothing secret.
        source_address: Where it came from.
        timeout_s: How long it is tried, seconds.

    Raises:
        BrokerUnavailable: If it is not written in time.
    """
    failures: list[KafkaError | None] = []
    log = SecurityLog(settings, timeout_s=timeout_s)
    event = log.tell(
        kind, author=author, subject=subject, detail=detail, source_address=source_address,
        delivered=failures.append,
    )  # fmt: skip
    log.flush()
    if not failures or failures[0] is not None:
        why = "no acknowledgement" if not failures else str(failures[0])
        raise BrokerUnavailable(
            f"Expected {settings.topic(TOPIC)} to take a security event, was {why}. Check that the"
            " broker runs and that `cascade topics apply` has been called."
        )
    return event
