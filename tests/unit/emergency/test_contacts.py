"""Telling contacts: over the wire, with retries, and without anybody waiting."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline.emergency.contacts import ContactBook, Delivery
from pipeline.errors import UsageError
from pipeline.watch.channels import Contact, Message, channel_of
from tests.unit.control.memory_log import eventually

_MESSAGE = Message("key", "title", "body")


class _Webhook:
    """An HTTP server that refuses the first requests."""

    def __init__(self, refusals: int) -> None:
        self.bodies: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                nonlocal refusals
                body = self.rfile.read(int(self.headers["Content-Length"]))
                refusals -= 1
                if refusals < 0:
                    outer.bodies.append(json.loads(body))
                self.send_response(200 if refusals < 0 else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/alarm"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def webhook() -> Iterator[_Webhook]:
    """A webhook that refuses once."""
    webhook = _Webhook(refusals=1)
    yield webhook
    webhook.close()


@pytest.fixture
def book() -> Iterator[ContactBook]:
    """A book with the real channels."""
    book = ContactBook()
    yield book
    book.close()


def test_a_webhook_is_posted_to_and_tried_again(webhook: _Webhook, book: ContactBook) -> None:
    """A refusal is not the end; the body is JSON with title and text."""
    book.add(Contact("hook", webhook.url, "webhook"))
    assert ("hook",) == book.tell(_MESSAGE)
    eventually(lambda: book.deliveries()["hook", "key"] is Delivery.DELIVERED)
    (body,) = webhook.bodies
    assert ("title", "body") == (body["title"], body["message"])


def test_one_that_cannot_be_reached_holds_up_nobody(
    book: ContactBook, caplog: pytest.LogCaptureFixture
) -> None:
    """Others are told while it is still being tried."""
    book.add(Contact("dark", "http://127.0.0.1:1/", "webhook"))
    book.add(Contact("book", "emergencies", "log"))
    with caplog.at_level(logging.CRITICAL, "emergencies"):
        book.tell(_MESSAGE)
        eventually(lambda: book.deliveries()["book", "key"] is Delivery.DELIVERED)
    assert "title: body" in caplog.text
    assert book.deliveries()["dark", "key"] is Delivery.PENDING


def test_a_contact_that_never_answers_has_failed_in_the_end() -> None:
    """After its attempts it counts as failed, not as told; what a channel raises ends nothing."""
    asked = threading.Semaphore(0)

    def refuse(_: Message) -> bool:
        asked.release()
        raise ConnectionError("nobody there")

    book = ContactBook(lambda _: refuse)
    book.add(Contact("dark", "x", "log"))
    book.tell(_MESSAGE)
    eventually(lambda: asked.acquire(blocking=False) and asked.acquire(timeout=10.0))
    assert book.deliveries()["dark", "key"] is Delivery.PENDING
    book.close()  # does not wait for the rest of the attempts
    eventually(lambda: book.deliveries()["dark", "key"] is Delivery.FAILED)


@pytest.mark.parametrize(
    ("kind", "info"),
    [("email", "admin@example.com"), ("email", "mailtos://u:p@example.com"), ("log", "any")],
)
def test_addresses_that_there_are_ways_to(kind: str, info: str) -> None:
    """What can be told is taken, without a connection."""
    assert callable(channel_of(Contact("name", info, kind)))


@pytest.mark.parametrize(
    ("kind", "info"),
    [("email", "nowhere"), ("webhook", ""), ("pigeon", "loft"), ("pigeon", "x://y")],
)
def test_what_is_no_address_is_refused(kind: str, info: str) -> None:
    """A mistake shows when the contact is added, not in the emergency."""
    with pytest.raises(UsageError, match="Expected an address for 'name'"):
        ContactBook().add(Contact("name", info, kind))


def test_a_contact_of_the_same_name_replaces_the_first(book: ContactBook) -> None:
    """Nobody is told twice."""
    book.add(Contact("one", "first", "log"))
    book.add(Contact("one", "second", "log"))
    assert ["second"] == [each.contact_info for each in book.contacts]
    book.remove("one")
    assert ((), ()) == (book.contacts, book.tell(_MESSAGE))


def test_secrets_are_not_shown() -> None:
    """An address may hold a password."""
    assert "secret" not in repr(Contact("name", "mailtos://u:secret@example.com", "email"))
