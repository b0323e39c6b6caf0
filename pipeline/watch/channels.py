"""Ways to people: a log, mail, a webhook, or whatever apprise reaches.

| type | contact |
|---|---|
| `log` | name of a logger |
| `email` | an address, or a URL like `mailtos://user:password@mail.example.com?to=a@example.com` |
| `webhook` | an `http://` or `https://` URL, which gets a POST of JSON |
| any other, e.g. `slack`, `teams` | a URL of apprise (https://github.com/caronc/apprise/wiki) |

An address alone goes through the mail server of this machine, `localhost:25`.
"""

import json
import logging
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pipeline.errors import UsageError

__all__ = ["Channel", "Contact", "Message", "channel_of"]

_TIMEOUT_S = 3.0


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
    """What they are told.

    Attributes:
        key: Tells messages apart in the list of deliveries.
        title: In a line.
        body: In full.
        document: The same for machines: a webhook gets it in place of title and body.
    """

    key: str
    title: str
    body: str
    document: Mapping[str, Any] | None = None


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
    told = _apprise_channel(contact, _url(kind, info))
    return _webhook_channel(info, told) if kind == "webhook" else told


def _webhook_channel(url: str, otherwise: Channel) -> Channel:
    """Return a channel that posts a message's document where it has one."""

    def tell(message: Message) -> bool:
        if message.document is None:
            return otherwise(message)
        body = json.dumps(message.document, default=str).encode()
        headers = {"Content-Type": "application/json"}
        # `_url` and apprise have seen to it that it is http or https.
        request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return bool(200 <= answer.status < 300)  # noqa: PLR2004  # HTTP's own

    return tell


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
