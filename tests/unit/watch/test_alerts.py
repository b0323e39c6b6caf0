import json
import threading

import pytest
from msgspec import Struct

from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.watch.alerts import AlertBook
from pipeline.watch.outbox import AlertOutbox
from tests.kafka_workers import wait_until
from tests.unit.cascade.fake_bus import FakeBus

WARNING, CRITICAL = PerformanceAlert.WARNING, PerformanceAlert.CRITICAL


def _state(alert: Alert) -> str:
    return str(json.loads(alert.context)["state"])


def test_an_alert_keeps_its_id_from_beginning_to_end() -> None:
    """Raised, changed and resolved are told under one id; the next alert has another."""
    book = AlertBook(10)
    first = book.raise_("x", WARNING, "bad", {"value": 1.0}, 1)
    worse = book.raise_("x", CRITICAL, "worse", {}, 2)
    ended = book.resolve("x", "fine", {}, 3)
    again = book.raise_("x", WARNING, "bad", {}, 4)

    assert ended is not None
    assert first.id == worse.id == ended.id != again.id
    assert ["raised", "changed", "resolved"] == [_state(each) for each in (first, worse, ended)]
    assert PerformanceAlert.INFO is ended.level
    assert (again,) == book.active()
    assert (ended,) == book.ended()


def test_what_was_not_raised_is_not_resolved() -> None:
    """Nothing is told of a subject without an alert."""
    assert AlertBook(10).resolve("x", "fine", {}, 1) is None


def test_an_acknowledgement_holds_until_it_gets_worse() -> None:
    """Who took care of a warning has not taken care of what it became."""
    book = AlertBook(10)
    raised = book.raise_("x", CRITICAL, "bad", {}, 1)
    noted = book.acknowledge(raised.id, 2, "ann")
    assert noted.acknowledged
    assert "ann" == json.loads(noted.context)["acknowledged_by"]
    assert book.raise_("x", WARNING, "better", {}, 3).acknowledged
    assert not book.raise_("x", PerformanceAlert.EMERGENCY, "worse", {}, 4).acknowledged
    with pytest.raises(UsageError, match="was id 'unknown'"):
        book.acknowledge("unknown", 5, "ann")


def test_history_is_bounded() -> None:
    """Of alerts that ended, the last ones are remembered."""
    book = AlertBook(2)
    for number in range(4):
        book.raise_(f"s{number}", WARNING, "bad", {}, number)
        book.resolve(f"s{number}", "fine", {}, number)
    assert ["s2", "s3"] == [json.loads(each.context)["subject"] for each in book.ended()]


class _LostBus(FakeBus):
    """A bus that says when somebody tried."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = threading.Event()

    def publish(self, topic: str, packet: Struct, **more: object) -> object:  # type: ignore[override]
        self.tried.set()
        return super().publish(topic, packet)


def _alert(number: int) -> Alert:
    return Alert(f"a{number}", WARNING, "bad", "{}", number, acknowledged=False)


def test_a_lost_broker_gets_alerts_later_and_delays_no_callback() -> None:
    """Kafka is tried until it takes an alert; callbacks hear of it at once, in order."""
    bus = _LostBus()
    bus.lost = True
    outbox = AlertOutbox(bus)
    heard: list[Alert] = []
    outbox.add_callback(heard.append)
    for number in range(3):
        outbox.send(_alert(number))
    assert bus.tried.wait(30)
    wait_until(lambda: len(heard) == 3, "all callbacks")
    assert [] == bus.topics.packets("cascade.alerts")

    bus.lost = False

    wait_until(lambda: len(bus.topics.packets("cascade.alerts")) == 3, "all alerts in Kafka")
    assert [_alert(number) for number in range(3)] == bus.topics.packets("cascade.alerts") == heard
    outbox.close()


def test_a_callback_that_fails_or_hangs_hinders_no_other() -> None:
    """Each callback has a thread of its own."""
    outbox = AlertOutbox(None)
    hang = threading.Event()
    heard: list[Alert] = []

    def fail(alert: Alert) -> None:
        raise BrokerUnavailable("Expected nothing, was this")

    def wait(alert: Alert) -> None:
        hang.wait(60)

    outbox.add_callback(wait)
    outbox.add_callback(fail)
    outbox.add_callback(heard.append)
    for number in range(3):
        outbox.send(_alert(number))

    wait_until(lambda: len(heard) == 3, "the third callback")
    hang.set()
    outbox.close()


def test_alerts_that_nobody_takes_make_room() -> None:
    """At most a thousand wait for a callback that hangs; the loss is told."""
    outbox = AlertOutbox(None)
    hang = threading.Event()
    taken: list[Alert] = []

    def slow(alert: Alert) -> None:
        taken.append(alert)
        hang.wait(60)

    outbox.add_callback(slow)
    outbox.send(_alert(0))
    wait_until(lambda: taken, "the first alert")
    for number in range(1, 1202):
        outbox.send(_alert(number))
    assert 201 == outbox.dropped
    hang.set()
    outbox.close(30.0)
    assert 1001 == len(taken)
