"""Telling contacts of an emergency: each on a thread of their own, with retries."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from enum import StrEnum

from pipeline.errors import UsageError
from pipeline.watch.channels import Channel, Contact, Message, channel_of

__all__ = ["ContactBook", "Delivery"]

_logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_ATTEMPTS = 8
_KEPT = 1000


class Delivery(StrEnum):
    """What became of a message to a contact."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


class _Teller:
    """Tells one contact, message by message, on a thread of its own."""

    def __init__(
        self, contact: Contact, channel: Channel, note: Callable[[str, str, Delivery], None]
    ) -> None:
        self.contact = contact
        self._channel = channel
        self._note = note
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"contact-{contact.name}", daemon=True
        )
        self._thread.start()

    def tell(self, message: Message) -> None:
        self._waiting.put(message)

    def stop(self) -> None:
        self._stopping.set()
        self._waiting.put(None)

    def _run(self) -> None:
        while (message := self._waiting.get()) is not None and not self._stopping.is_set():
            self._note(self.contact.name, message.key, self._deliver(message))

    def _deliver(self, message: Message) -> Delivery:
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if self._channel(message):
                    return Delivery.DELIVERED
                why = "was not taken"
            except Exception as error:  # noqa: BLE001  # a channel may fail in any way
                why = repr(error)
            _logger.warning(
                "contact not reached name=%s attempt=%d why=%s", self.contact.name, attempt, why
            )
            if attempt < _ATTEMPTS and self._stopping.wait(pause_s):
                break
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)
        return Delivery.FAILED


class ContactBook:
    """The contacts, and what they were told; thread-safe, and telling never waits.

    Args:
        channel: Returns the way to a contact.
    """

    def __init__(self, channel: Callable[[Contact], Channel] = channel_of) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._tellers: dict[str, _Teller] = {}
        self._deliveries: dict[tuple[str, str], Delivery] = {}

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """All contacts, in the order they were added."""
        with self._lock:
            return tuple(teller.contact for teller in self._tellers.values())

    def add(self, contact: Contact) -> None:
        """Add a contact; one of the same name is replaced.

        Raises:
            UsageError: If there is no way to it.
        """
        if not contact.name:
            raise UsageError("Expected the name of the contact, was none")
        teller = _Teller(contact, self._channel(contact), self._note)
        with self._lock:
            before = self._tellers.pop(contact.name, None)
            self._tellers[contact.name] = teller
        if before is not None:
            before.stop()

    def remove(self, name: str) -> None:
        """Remove a contact; nothing where there is none of that name."""
        with self._lock:
            teller = self._tellers.pop(name, None)
        if teller is not None:
            teller.stop()

    def tell(self, message: Message) -> tuple[str, ...]:
        """Have all contacts told, soon; return their names."""
        with self._lock:
            tellers = list(self._tellers.values())
            for each in tellers:
                self._deliveries[each.contact.name, message.key] = Delivery.PENDING
            while len(self._deliveries) > _KEPT:
                del self._deliveries[next(iter(self._deliveries))]
        for each in tellers:
            each.tell(message)
        return tuple(each.contact.name for each in tellers)

    def deliveries(self) -> Mapping[tuple[str, str], Delivery]:
        """Return what became of each message, by (contact, message key)."""
        with self._lock:
            return dict(self._deliveries)

    def close(self) -> None:
        """Stop telling; what waits is dropped."""
        with self._lock:
            tellers, self._tellers = list(self._tellers.values()), {}
        for each in tellers:
            each.stop()

    def _note(self, name: str, key: str, delivery: Delivery) -> None:
        with self._lock:
            self._deliveries[name, key] = delivery
