"""Whom to tell of an emergency, and telling them: each on a thread of their own, with retries.

| type | contact |
|---|---|
| `log` | name of a logger |
| `email` | an address, or a URL like `mailtos://user:password@mail.example.com?to=a@example.com` |
| `webhook` | an `http://` or `https://` URL, which gets a POST of JSON |
| any other, e.g. `slack`, `teams` | a URL of apprise (https://github.com/caronc/apprise/wiki) |

An address alone goes through the mail server of this machine, `localhost:25`.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from pipeline.errors import UsageError

__all__ = ["Channel", "Contact", "ContactBook", "Delivery", "Message", "channel_of"]

_logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_ATTEMPTS = 8
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to tell.

    Attributes:
        name: Who it is.
        contact_info: Where to reach them; may hold secrets, so it is not shown.
        contact_type: How: email, webhook, log, ...
    """

    name: str
    contact_info: str
    contact_type: str

    def __repr__(self) -> str:
        return f"Contact(name={self.name!r}, contact_type={self.contact_type!r})"


@dataclass(frozen=True, slots=True)
class Message:
    """What they are told: `key` tells messages apart in the list of deliveries."""

    key: str
    title: str
    body: str


class Delivery(StrEnum):
    """What became of a message to a contact."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


Channel = Callable[[Message], bool]
"""Tells a contact, and returns whether they were told. May take seconds, and may raise."""


def channel_of(contact: Contact) -> Channel:
    """Return the way to a contact.

    Raises:
        UsageError: If the type is not known, or the contact is no address of it.
    """
    kind, info = contact.contact_type.lower(), contact.contact_info.strip()
    if kind == "log":
        return _log_channel(info)
    return _apprise_channel(contact, _url(kind, info))


def _log_channel(name: str) -> Channel:
    logger = logging.getLogger(name or "pipeline.emergency")

    def tell(message: Message) -> bool:
        logger.critical("%s: %s", message.title, message.body)
        return True

    return tell


def _url(kind: str, info: str) -> str:
    if "://" in info:
        scheme, rest = info.split("://", 1)
        posts = {"http": "json", "https": "jsons"} if kind == "webhook" else {}
        return f"{posts.get(scheme.lower(), scheme)}://{rest}"
    if kind == "email" and "@" in info:
        to = quote(info, safe="@")
        return f"mailto://localhost:25?to={to}&from=cascade@localhost&mode=insecure"
    return info


def _apprise_channel(contact: Contact, url: str) -> Channel:
    # Imported here: it takes a third of a second, and most processes tell nobody.
    import apprise

    sender = apprise.Apprise()
    if "://" not in url or not sender.add(url):
        raise UsageError(
            f"Expected an address for {contact.name!r} of type {contact.contact_type!r}, was none:"
            " give an e-mail address, a webhook's https:// URL, type log, or a URL of apprise"
        )

    def tell(message: Message) -> bool:
        return bool(sender.notify(title=message.title, body=message.body))

    return tell


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
