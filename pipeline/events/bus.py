"""The bus itself: one connection, opened at first use."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Self

from msgspec import Struct

from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.events.connection import with_broker
from pipeline.events.publishing import PUBLISH_TIMEOUT_S, Outbox, RecordPosition
from pipeline.events.stream import Stream
from pipeline.events.subscription import Received, Start, Subscription
from pipeline.packets.codec import encode
from pipeline.registry import use as use_registry
from pipeline.settings import Settings, load_settings

__all__ = ["EventBus"]


class EventBus:
    """The connection to Kafka of everything beside the stages; thread-safe, for asyncio too.

    The broker is, in this order: the one given; the one of the settings (`CASCADE_BROKER`); the
    one that `cascade broker up` started. None is started here. It connects at first use, or with
    `with`, and a lost broker is reconnected without anybody's doing.

    Topics are named as in `topics.yaml`, without namespace: `cascade.alerts`.

    Args:
        broker: `host:port[,host:port]`; None: as above.
        settings: Settings; None loads them.
        connect_timeout_s: How long a broker may take to answer, seconds.
    """

    def __init__(
        self,
        broker: str | None = None,
        settings: Settings | None = None,
        *,
        connect_timeout_s: float = 10.0,
    ) -> None:
        if settings is None:
            settings = load_settings() if broker is None else load_settings(broker=broker)
        elif broker is not None:
            settings = settings.model_copy(update={"broker": broker})
        use_registry(settings)
        self._settings = settings
        self._connect_timeout_s = connect_timeout_s
        self._lock = threading.RLock()
        self._outbox: Outbox | None = None
        self._subscriptions: list[Subscription] = []
        self._closed = False

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """The settings; their `broker` may be None until it is connected, see `connect`."""
        return self._settings

    @property
    def connected(self) -> bool:
        """Whether a broker is connected now; before first use it is not."""
        outbox = self._outbox
        return outbox is not None and outbox.connected

    def connect(self) -> Settings:
        """Connect, unless that was done; return the settings with the broker.

        Raises:
            BrokerUnavailable: If no broker answers within `connect_timeout_s`.
            UsageError: If the bus is closed.
        """
        self._connected()
        return self._settings

    def publish(
        self,
        topic: str,
        packet: Struct,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        timeout_s: float | None = None,
    ) -> RecordPosition:
        """Write a packet, wait until the broker has acknowledged it, and say where it stands.

        Args:
            topic: Where to.
            packet: What.
            key: Its key; records of one key keep their order.
            headers: Its headers.
            timeout_s: How long to wait, seconds; at most the 10 for which a record is tried. A
                record that was not acknowledged in time may still arrive.

        Raises:
            InvalidPacket: If the packet breaks its constraints.
            RecordTooLarge: If the topic does not take as much.
            BrokerUnavailable: If it is not acknowledged in time.
            ConfigurationError: If there is no such topic.
            UsageError: If the bus is closed, or the thread is the one that acknowledges.
        """
        if self._outbox is not None and self._outbox.serves(threading.current_thread()):
            raise UsageError(
                "Expected another thread than the bus's own to wait for it, was its own; use"
                " publish_soon in callbacks of publish_soon"
            )
        future = self.publish_soon(topic, packet, key=key, headers=headers)
        try:
            return future.result(PUBLISH_TIMEOUT_S + 1.0 if timeout_s is None else timeout_s)
        except FutureTimeout as error:
            raise _late(topic, timeout_s) from error

    async def apublish(
        self,
        topic: str,
        packet: Struct,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        timeout_s: float | None = None,
    ) -> RecordPosition:
        """Do as `publish`, from asyncio; the event loop never waits."""
        # The first call of a topic asks the broker, hence the thread.
        future = await asyncio.to_thread(self.publish_soon, topic, packet, key=key, headers=headers)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except TimeoutError as error:
            raise _late(topic, timeout_s) from error

    def publish_soon(
        self,
        topic: str,
        packet: Struct,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> "Future[RecordPosition]":
        """Write a packet without waiting for the broker, except to connect and find the topic.

        Returns:
            A future that fails as `publish` does. Its callbacks run on the bus's thread: they must
            not wait for the bus.

        Raises:
            InvalidPacket, BrokerUnavailable, ConfigurationError, UsageError: As `publish`.
        """
        value = encode(packet)
        outbox = self._connected()
        outbox.require({topic}, self._connect_timeout_s)
        return outbox.send(topic, key, value, headers)

    def subscribe(
        self,
        topic: str | Sequence[str],
        handler: Callable[[Received], None],
        *,
        start: Start = "latest",
    ) -> Subscription:
        """Have a handler called for each record of some topics.

        Args:
            topic: A topic, or several.
            handler: Called on the subscription's own thread; what it raises is logged.
            start: `latest`, `earliest`, or the moment from which on to read.

        Returns:
            The subscription; `.ready()` waits until nothing published from then on is missed.

        Raises:
            BrokerUnavailable, ConfigurationError, UsageError: As `publish`.
        """
        topics = (topic,) if isinstance(topic, str) else tuple(topic)
        outbox = self._connected()
        outbox.require(set(topics), self._connect_timeout_s)
        subscription = Subscription(self._settings, topics, handler, start)
        with self._lock:
            self._subscriptions = [each for each in self._subscriptions if not each.closed]
            self._subscriptions.append(subscription)
        return subscription

    def stream(self, topic: str | Sequence[str], *, start: Start = "latest") -> Stream:
        """Return the records of some topics for `async for`; it subscribes at first use."""
        return Stream(lambda handler: self.subscribe(topic, handler, start=start))

    def close(self, timeout_s: float = 5.0) -> None:
        """End all subscriptions and, once what was published is acknowledged, the connection."""
        with self._lock:
            self._closed = True
            outbox, self._outbox = self._outbox, None
            subscriptions, self._subscriptions = self._subscriptions, []
        for each in subscriptions:
            each.close()
        if outbox is not None:
            outbox.close(timeout_s)

    def _connected(self) -> Outbox:
        with self._lock:
            if self._closed:
                raise UsageError("Expected an open event bus, was closed")
            if self._outbox is None:
                self._settings = with_broker(self._settings, self._connect_timeout_s)
                self._outbox = Outbox(self._settings, "events")
            return self._outbox


def _late(topic: str, timeout_s: float | None) -> BrokerUnavailable:
    limit_s = PUBLISH_TIMEOUT_S if timeout_s is None else timeout_s
    return BrokerUnavailable(
        f"Expected {topic} to take a record within {limit_s:g} s, was no acknowledgement; the"
        " record may still arrive"
    )
