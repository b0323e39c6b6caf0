"""The way of alerts to whoever is to hear of them: callbacks of this process, and Kafka."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol

from msgspec import Struct

from pipeline.packets.events import Alert

__all__ = ["TOPIC", "AlertOutbox", "Publisher"]

_logger = logging.getLogger(__name__)

TOPIC: Final = "cascade.alerts"

_AGAIN_S = 1.0
_MOST_WAITING = 1000
_PATIENCE_S = 12.0


class Publisher(Protocol):
    """What is needed of `pipeline.events.EventBus`."""

    def publish_soon(
        self,
        topic: str,
        packet: Struct,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> "Future[Any]":
        """Write a packet; the future says what became of it."""
        ...


class AlertOutbox:
    """Hands alerts to callbacks and to Kafka, in order; nobody who raises an alert waits.

    Each callback, and Kafka, has a queue and a thread of its own, so that a slow one delays none of
    the others. Of each queue at most 1000 alerts wait, the oldest make room.

    Args:
        publisher: Where to publish; None for callbacks only.
    """

    def __init__(self, publisher: Publisher | None) -> None:
        self._channels: list[_Channel] = []
        if publisher is not None:
            self._channels.append(_Channel("kafka", _to_kafka(publisher), again=True))

    @property
    def dropped(self) -> int:
        """Alerts that somebody was not told of, because too many waited."""
        return sum(channel.dropped for channel in self._channels)

    def add_callback(self, callback: Callable[[Alert], None]) -> None:
        """Have `callback` called for each alert from now on; what it raises is logged."""
        self._channels.append(_Channel("callback", callback, again=False))

    def send(self, alert: Alert) -> None:
        """Tell of an alert, soon."""
        for channel in self._channels:
            channel.send(alert)

    def close(self, timeout_s: float = 2.0) -> None:
        """Tell of what waits, each channel at most `timeout_s`, and end the threads."""
        for channel in self._channels:
            channel.close(timeout_s)


class _Channel:
    """One way to somebody; `again`: try until it works, once a second."""

    def __init__(self, name: str, deliver: Callable[[Alert], None], *, again: bool) -> None:
        self._name = name
        self._deliver = deliver
        self._again = again
        self._waiting: deque[Alert] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"alerts-{name}", daemon=True)
        self._thread.start()

    def send(self, alert: Alert) -> None:
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(alert)
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                alert = self._waiting.popleft()
            while not self._told(alert):
                with self._changed:
                    if self._changed.wait_for(lambda: self._closing, _AGAIN_S):
                        return

    def _told(self, alert: Alert) -> bool:
        """Tell of an alert; return whether that is over."""
        try:
            self._deliver(alert)
        except Exception:
            _logger.exception("alert_not_delivered channel=%s id=%s", self._name, alert.id)
            return not self._again
        return True


def _to_kafka(publisher: Publisher) -> Callable[[Alert], None]:
    def publish(alert: Alert) -> None:
        publisher.publish_soon(TOPIC, alert, key=alert.id.encode()).result(_PATIENCE_S)

    return publish
