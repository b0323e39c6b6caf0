"""A process in the coordination: it announces its systems, answers for them, and knows the others.

One thread of its own sends heartbeats; what arrives is worked off on the bus's reading thread, and
handlers run on threads of their own, so that a slow one delays neither.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec import Struct

from pipeline.clock import Clock, WallClock
from pipeline.coordination.epochs import Epochs
from pipeline.coordination.membership import Directory, SystemState
from pipeline.coordination.messages import (
    Announcement,
    SyncBody,
    compose,
    new_instance,
    payload_of,
)
from pipeline.coordination.responder import Responder
from pipeline.coordination.systems import LocalSystem
from pipeline.coordination.vocabulary import TOPIC, CoordinationState, Role
from pipeline.errors import PipelineError, UsageError
from pipeline.packets.events import CoordinationMessage, MessageType

__all__ = ["Bus", "CoordinationService", "Listener"]

_logger = logging.getLogger(__name__)
_TICKS = 4
_AGAIN_S = 1.0
_READY_S = 15.0
_FAREWELL_S = 2.0
_OBSERVER = "observer"

Listener = Callable[[CoordinationMessage, int], None]
"""Told of a message and its offset, on the bus's reading thread."""


class _Received(Protocol):
    @property
    def offset(self) -> int: ...
    @property
    def timestamp_ms(self) -> int: ...
    @property
    def packet(self) -> Any: ...


class _Subscription(Protocol):
    def ready(self, timeout_s: float) -> Any: ...
    def close(self) -> Any: ...


class Bus(Protocol):
    """What is needed of `pipeline.events.EventBus`."""

    @property
    def connected(self) -> bool:
        """Whether a broker is connected now."""
        ...

    def publish_soon(
        self,
        topic: str,
        packet: Struct,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> "Future[Any]":
        """Write a packet; the future has its position."""
        ...

    def subscribe(
        self,
        topic: str,
        handler: Callable[[Any], None],
        *,
        start: Literal["latest", "earliest"] | datetime = "latest",
    ) -> _Subscription:
        """Have `handler` called for each record."""
        ...


class CoordinationService:
    """Takes part in the coordination for the systems of this process; thread-safe.

    Args:
        bus: Connection to Kafka; it is not closed here.
        heartbeat_interval_s: Seconds between heartbeats of a system.
        most_handlers: How many handlers may run at once.
        clock: Times in messages.
        monotonic: Seconds that only run forward.
        instance: Name of this process; a new one by default.

    Attributes:
        directory: Who else is there.
        epochs: What everybody agreed on.
        sent: Messages that were handed to the bus.
        received: Messages that were read, its own included.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        heartbeat_interval_s: float = 1.0,
        most_handlers: int = 50,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        instance: str | None = None,
    ) -> None:
        self._bus = bus
        self.interval_s = heartbeat_interval_s
        self._clock = clock or WallClock()
        self.monotonic = monotonic
        self.instance = instance or new_instance()
        self.directory = Directory()
        self.epochs = Epochs()
        self.sent = 0
        self.received = 0
        self.changed = threading.Condition()
        self._systems: dict[str, LocalSystem] = {}
        self._seen = False
        self._listeners: dict[MessageType, list[Listener]] = {}
        self._watchers: list[Callable[[], object]] = []
        self._life = threading.Lock()  # never taken on the bus's reading thread
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._subscription: _Subscription | None = None
        self._thread: threading.Thread | None = None
        self._responder = Responder(
            self.instance, self._systems, self.epochs, self.send, most_handlers
        )

    # -- life ------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether it takes part."""
        return self._subscription is not None

    @property
    def closed(self) -> bool:
        """Whether it has left for good."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Take part, from when this returns; does nothing where it does already.

        Raises:
            BrokerUnavailable: If the broker does not answer in time.
            UsageError: If it was closed.
        """
        with self._life:
            if self.closed:
                raise UsageError("Expected an open coordination, was closed")
            if self.started:
                return
            self._join()
            self._beat_on(self._beats)

    def start_soon(self) -> None:
        """Take part as soon as a broker answers; waits for nothing."""
        with self._life:
            if self._thread is None and not self.closed:
                self._beat_on(self._join_and_beat)

    def close(self) -> None:
        """Say farewell and leave; systems of this process are disconnected at once for others."""
        with self._life:
            if self.closed:
                return
            self._stopping.set()
            thread, subscription = self._thread, self._subscription
        if thread is not None and thread is not threading.current_thread():
            thread.join(_READY_S)
        if subscription is not None:
            self._farewell([*self._systems.values()])
            subscription.close()
        with self.changed:
            self.changed.notify_all()

    def _join(self) -> None:
        subscription = self._bus.subscribe(TOPIC, self._take)
        try:
            subscription.ready(_READY_S)
        except BaseException:
            subscription.close()
            raise
        self._subscription = subscription
        self._announce(MessageType.HANDSHAKE, asks=True)
        if not self._systems:
            asking = Announcement(instance=self.instance, role=Role.OBSERVER, asks=True)
            self.send(MessageType.HANDSHAKE, _OBSERVER, asking)

    def _beat_on(self, run: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=run, name="coordination", daemon=True)
        self._thread.start()

    def _join_and_beat(self) -> None:
        while not self.closed:
            try:
                self._join()
            except PipelineError as error:
                _logger.warning("coordination_not_joined why=%s", error)
                self._stopping.wait(_AGAIN_S)
            else:
                self._beats()
                return

    def _beats(self) -> None:
        next_s = self.monotonic() + self.interval_s
        while not self._stopping.wait(self.interval_s / _TICKS):
            if self.monotonic() >= next_s:
                next_s = self.monotonic() + self.interval_s
                self._announce(MessageType.HEARTBEAT)
            for look in self._watchers:
                look()
            with self.changed:  # whoever waits for somebody to vanish looks again
                self.changed.notify_all()

    # -- the systems of this process ---------------------------------------------------------------

    def add(self, system: LocalSystem) -> None:
        """Announce a system of this process, and answer for it; replaces one of the same id."""
        with self._lock:
            self._systems[system.system_id] = system
        if self.started:
            self._announce(MessageType.HANDSHAKE, (system,), asks=True)

    def remove(self, system_id: str) -> None:
        """Say farewell for a system; does nothing where there is none."""
        with self._lock:
            system = self._systems.pop(system_id, None)
        if system is not None and self.started:
            self._farewell([system])

    def local(self, system_id: str) -> LocalSystem | None:
        """Return a system of this process."""
        return self._systems.get(system_id)

    def update(self, system_id: str, kind: MessageType = MessageType.STATE_UPDATE) -> None:
        """Announce what has changed of a system."""
        system = self._systems.get(system_id)
        if system is not None and self.started:
            self._announce(kind, (system,))

    def systems(self) -> dict[str, SystemState]:
        """Return what is known of all systems, here and elsewhere."""
        return self.directory.systems(self.monotonic())

    # -- messages ----------------------------------------------------------------------------------

    def listen(self, kind: MessageType, listener: Listener) -> None:
        """Have `listener` told of messages of a type; before `start`."""
        self._listeners.setdefault(kind, []).append(listener)

    def watch(self, look: Callable[[], object]) -> None:
        """Have `look` called four times an interval, e.g. for who has vanished; must not raise."""
        self._watchers.append(look)

    def compose(
        self, kind: MessageType, sender: str, body: Struct | Mapping[str, Any], **more: Any
    ) -> CoordinationMessage:
        """Return a message; see `pipeline.coordination.messages.compose`."""
        return compose(kind, sender, body, self._clock, **more)

    def send(
        self, kind: MessageType, sender: str, body: Struct | Mapping[str, Any], **more: Any
    ) -> None:
        """Send a message; what becomes of it is only logged."""
        self.post(self.compose(kind, sender, body, **more)).add_done_callback(_noted)

    def post(self, message: CoordinationMessage) -> "Future[Any]":
        """Send a message; the future has its position in the topic."""
        self.sent += 1
        return self._bus.publish_soon(TOPIC, message, key=message.sender_system.encode())

    def _take(self, received: _Received) -> None:
        message = received.packet
        if not isinstance(message, CoordinationMessage):
            return
        self.received += 1
        timestamp_s = received.timestamp_ms / 1000
        self.directory.observe(timestamp_s, self.monotonic())
        kind = message.message_type
        if kind in _ANNOUNCING and message.correlation_id:
            pass  # an acknowledgement of a control command, not ours
        elif kind in _ANNOUNCING:
            self._take_announcement(message, timestamp_s)
        elif kind is MessageType.COORDINATION_REQUEST:
            self._responder.take(message)
        elif kind in _SYNCHRONISING:
            self._take_sync(message, received.offset)
        for listener in self._listeners.get(kind, ()):
            listener(message, received.offset)
        with self.changed:
            self.changed.notify_all()

    # -- announcements -----------------------------------------------------------------------------

    def _state(self) -> CoordinationState:
        if self.epochs.in_emergency:
            return CoordinationState.EMERGENCY
        return CoordinationState.SYNCHRONIZED if self._seen else CoordinationState.INITIALIZING

    def _announce(
        self, kind: MessageType, systems: tuple[LocalSystem, ...] | None = None, **more: bool
    ) -> None:
        if systems is None:
            with self._lock:
                systems = tuple(self._systems.values())
        for system in systems:
            try:
                said = system.announcement(
                    self.instance, self._state(), self.interval_s,
                    epoch=self.epochs.epoch, emergency_epoch=self.epochs.emergency_epoch, **more,
                )  # fmt: skip
                self.send(kind, system.system_id, said)
            except PipelineError as error:
                _logger.warning("not_announced system=%s why=%s", system.system_id, error)
            except Exception:  # of the vitals, which may be anybody's
                _logger.exception("not_announced system=%s", system.system_id)

    def _farewell(self, systems: list[LocalSystem]) -> None:
        for system in systems:
            said = Announcement(
                instance=self.instance, name=system.name, role=system.role, leaving=True,
                state=CoordinationState.DISCONNECTED,
            )  # fmt: skip
            message = self.compose(MessageType.STATE_UPDATE, system.system_id, said)
            try:
                self.post(message).result(_FAREWELL_S)
            except Exception as error:  # noqa: BLE001  # its silence will say it too
                _logger.debug("no_farewell system=%s why=%r", system.system_id, error)

    def _take_announcement(self, message: CoordinationMessage, timestamp_s: float) -> None:
        said = payload_of(message, Announcement)
        if said.role is not Role.OBSERVER:
            self.directory.note(message.sender_system, said, timestamp_s)
        adopted = self.epochs.adopt(said.epoch, said.emergency_epoch)
        own = said.instance == self.instance
        if own and not self._seen:
            self._seen = adopted = True
        if adopted or (said.asks and not own):
            self._announce(MessageType.STATE_UPDATE)

    # -- synchronisation ---------------------------------------------------------------------------

    def _take_sync(self, message: CoordinationMessage, offset: int) -> None:
        body = payload_of(message, SyncBody)
        if message.message_type is MessageType.SYNC_RESPONSE:
            if body.complete and self.epochs.adopt(epoch=body.epoch):
                self._announce(MessageType.STATE_UPDATE)
            return
        emergency = message.message_type is MessageType.EMERGENCY_BROADCAST
        if emergency and self.epochs.adopt(emergency_epoch=offset):
            _logger.warning("emergency epoch=%d why=%s", offset, body.reason)
        confirmed = SyncBody(instance=self.instance, protocol=body.protocol, epoch=offset)
        with self._lock:
            systems = list(self._systems)
        for system_id in systems:
            self.send(
                MessageType.SYNC_RESPONSE, system_id, confirmed,
                recipient=message.sender_system, correlation_id=message.message_id,
                priority=message.priority,
            )  # fmt: skip


_ANNOUNCING = frozenset(
    {
        MessageType.HANDSHAKE,
        MessageType.HEARTBEAT,
        MessageType.STATE_UPDATE,
        MessageType.PERFORMANCE_REPORT,
    }
)
_SYNCHRONISING = frozenset(
    {MessageType.SYNC_REQUEST, MessageType.SYNC_RESPONSE, MessageType.EMERGENCY_BROADCAST}
)


def _noted(future: "Future[Any]") -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _logger.warning("coordination_message_lost why=%s", error)
