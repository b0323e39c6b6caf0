"""An event bus in memory, for tests of what talks over it. It does what `pipeline.events` does."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Self

from msgspec import Struct

from pipeline.errors import BrokerUnavailable, ConfigurationError, UsageError
from pipeline.events import Received, RecordPosition
from pipeline.events.subscription import Start
from pipeline.packets.codec import decode, encode
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile

__all__ = ["FakeBus", "FakeSubscription", "FakeTopics"]


class FakeTopics:
    """The topics of a cascade in memory; buses that share it stand for processes of one cluster.

    Every topic has one partition. Handlers are called on the publishing thread, after its record
    has its offset, in order.

    Args:
        clock_ms: Says the time of records, milliseconds.
    """

    def __init__(self, clock_ms: Callable[[], int] = lambda: 1_700_000_000_000) -> None:
        self.lock = threading.RLock()
        self.clock_ms = clock_ms
        self.records: dict[str, list[Received]] = {name: [] for name in TopicFile.load().topics}
        self.subscriptions: list[FakeSubscription] = []

    def log_of(self, topic: str) -> list[Received]:
        """Return the records of a topic; only such as topics.yaml has."""
        if topic not in self.records:
            raise ConfigurationError(f"Expected topic {topic}, was not there")
        return self.records[topic]

    def packets(self, topic: str) -> list[Struct]:
        """Return the packets of a topic."""
        return [each.packet for each in self.log_of(topic)]


class FakeSubscription:
    """A subscription to `FakeTopics`."""

    def __init__(
        self, topics: FakeTopics, names: Sequence[str], handler: Callable[[Received], None]
    ) -> None:
        self.names = tuple(names)
        self.closed = False
        self.undecodable = 0
        self.failures: list[Exception] = []
        self._topics = topics
        self._handler = handler

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def ready(self, timeout_s: float = 10.0) -> Self:
        """It is at once."""
        return self

    def close(self) -> None:
        """End it."""
        with self._topics.lock:
            self.closed = True
            if self in self._topics.subscriptions:
                self._topics.subscriptions.remove(self)

    def hand_over(self, received: Received) -> None:
        """Call the handler; what it raises ends nothing."""
        try:
            self._handler(received)
        except Exception as error:  # noqa: BLE001  # as the real one, which logs it
            self.failures.append(error)


class FakeBus:
    """One process's bus over `FakeTopics`.

    Args:
        topics: Shared with other buses; of its own where None.
        settings: Settings; those without any broker where None.

    Attributes:
        lost: Whether the broker is lost: publishing fails, nothing is read.
    """

    def __init__(self, topics: FakeTopics | None = None, settings: Settings | None = None) -> None:
        self.topics = topics or FakeTopics()
        self.settings = settings or load_settings(broker="fake:1")
        self.lost = False
        self._closed = False
        self._mine: list[FakeSubscription] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether it is neither closed nor lost."""
        return not self._closed and not self.lost

    def connect(self) -> Settings:
        """Return the settings."""
        self._check()
        return self.settings

    def publish(
        self,
        topic: str,
        packet: Struct,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        timeout_s: float | None = None,
    ) -> RecordPosition:
        """Append a packet, as its bytes would be read, and call the handlers."""
        self._check()
        with self.topics.lock:
            log = self.topics.log_of(topic)
            at = RecordPosition(topic, 0, len(log))
            received = Received(
                *at, self.topics.clock_ms(), key, dict(headers or {}), decode(encode(packet))
            )
            log.append(received)
            for each in list(self.topics.subscriptions):
                if topic in each.names and not each.closed:
                    each.hand_over(received)
        return at

    async def apublish(
        self,
        topic: str,
        packet: Struct,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        timeout_s: float | None = None,
    ) -> RecordPosition:
        """Do as `publish`."""
        return self.publish(topic, packet, key=key, headers=headers)

    def publish_soon(
        self,
        topic: str,
        packet: Struct,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> "Future[RecordPosition]":
        """Do as `publish`; the future is done."""
        future: Future[RecordPosition] = Future()
        try:
            future.set_result(self.publish(topic, packet, key=key, headers=headers))
        except BrokerUnavailable as error:
            future.set_exception(error)
        return future

    def subscribe(
        self,
        topic: str | Sequence[str],
        handler: Callable[[Received], None],
        *,
        start: Start = "latest",
    ) -> FakeSubscription:
        """Call a handler for each record of some topics, those that it starts with at once."""
        self._check()
        names = (topic,) if isinstance(topic, str) else tuple(topic)
        with self.topics.lock:
            known = [each for name in names for each in self.topics.log_of(name)]
            subscription = FakeSubscription(self.topics, names, handler)
            self.topics.subscriptions.append(subscription)
            self._mine.append(subscription)
            for each in known:
                if _begins(each, start):
                    subscription.hand_over(each)
        return subscription

    def close(self, timeout_s: float = 5.0) -> None:
        """End its subscriptions."""
        self._closed = True
        for each in self._mine:
            each.close()

    def _check(self) -> None:
        if self._closed:
            raise UsageError("Expected an open event bus, was closed")
        if self.lost:
            raise BrokerUnavailable("Expected a broker, was lost")


def _begins(received: Received, start: Start) -> bool:
    if isinstance(start, datetime):
        return received.timestamp_ms >= start.timestamp() * 1000
    return start == "earliest"
