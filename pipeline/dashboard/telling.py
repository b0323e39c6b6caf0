"""Tells the audit log who logged in, who was refused: on a thread, so that no request waits."""

import logging
import threading
from collections import deque

from pipeline.clock import Clock, WallClock
from pipeline.control.security_log import TOPIC, security_event
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.packets.events import SecurityEvent, SecurityEventKind

__all__ = ["SecurityTeller"]

_logger = logging.getLogger(__name__)

_MOST = 1000
_AGAIN_S = 2.0


class SecurityTeller:
    """Publishes security events in their order; while there is no broker, up to a thousand wait.

    Args:
        bus: Connection to Kafka; not closed here.
        clock: Clock.
    """

    def __init__(self, bus: EventBus, clock: Clock | None = None) -> None:
        self._bus = bus
        self._clock = clock or WallClock()
        self._waiting: deque[SecurityEvent] = deque(maxlen=_MOST)
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dashboard-security", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def close(self) -> None:
        """Publish what waits, if there is a broker, and end."""
        self._stopping.set()
        self._woken.set()
        self._thread.join()

    def __call__(
        self,
        kind: SecurityEventKind,
        *,
        author: str,
        subject: str,
        detail: str = "",
        source_address: str = "",
    ) -> None:
        """Tell of an event of now, without waiting."""
        event = security_event(
            kind,
            author=author,
            subject=subject,
            detail=detail,
            source_address=source_address,
            clock=self._clock,
        )
        _logger.info(
            "security_event kind=%s author=%r subject=%r detail=%r address=%s",
            *(kind, author, subject, detail, source_address),
        )
        if len(self._waiting) == _MOST:
            _logger.error("security_event_lost event=%s", self._waiting[0])
        self._waiting.append(event)
        self._woken.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait()
            self._woken.clear()
            while not self._publish() and not self._stopping.wait(_AGAIN_S):
                pass
        if not self._publish():
            _logger.error("security_events_lost count=%d", len(self._waiting))

    def _publish(self) -> bool:
        """Publish what waits; return whether nothing waits any more."""
        while self._waiting:
            event = self._waiting[0]
            try:
                self._bus.publish(TOPIC, event, key=event.event_id.encode())
            except PipelineError as error:
                _logger.debug("security event waits: %s", error)
                return False
            self._waiting.popleft()
        return True
