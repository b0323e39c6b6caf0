"""The event bus with a real Kafka."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import randrange

import pytest
from msgspec import Struct

from pipeline import broker
from pipeline.errors import BrokerUnavailable, ConfigurationError, RecordTooLarge, UsageError
from pipeline.events import EventBus, Received, RecordPosition
from pipeline.packets.events import Alert, CoordinationMessage, MessageType, PerformanceAlert
from pipeline.packets.models import Snapshot
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.kafka_workers import send, wait_until

ALERTS = "cascade.alerts"
COORDINATION = "cascade.coordination"


def alert(name: str) -> Alert:
    """Return an alert of that id."""
    return Alert(name, PerformanceAlert.INFO, "so it is", "{}", 1, acknowledged=False)


@pytest.fixture
def bus_settings(kafka_settings: Settings) -> Settings:
    """Settings of a namespace that has its topics."""
    apply_topics(kafka_settings, TopicFile.load())
    return kafka_settings


@pytest.fixture
def bus(bus_settings: Settings) -> Iterator[EventBus]:
    """A bus in a namespace of the test's own."""
    with EventBus(settings=bus_settings) as made:
        yield made


def ids(received: list[Received]) -> list[str]:
    """Return the ids of the alerts received."""
    return [each.packet.id for each in received if isinstance(each.packet, Alert)]


def test_what_is_published_is_received_with_its_position(bus: EventBus) -> None:
    """A record arrives where the acknowledgement said, with key, headers and packet unchanged."""
    got: list[Received] = []
    bus.subscribe(ALERTS, got.append).ready(30.0)

    at = bus.publish(ALERTS, alert("a"), key=b"k", headers={"h": b"1"})
    wait_until(lambda: got, "the alert")

    assert RecordPosition(ALERTS, 0, 0) == at
    (found,) = got
    assert at == (found.topic, found.partition, found.offset)
    assert (b"k", {"h": b"1"}, alert("a")) == (found.key, found.headers, found.packet)
    assert found.timestamp_ms > 0
    assert bus.connected


def test_a_subscription_starts_where_it_is_told(bus: EventBus) -> None:
    """Latest gives what comes, earliest all there is, a moment what came since."""
    bus.publish(ALERTS, alert("old"))
    at_end: list[Received] = []
    whole: list[Received] = []
    recent: list[Received] = []
    nothing: list[Received] = []
    bus.subscribe(ALERTS, at_end.append).ready(30.0)
    bus.subscribe(ALERTS, whole.append, start="earliest")
    bus.subscribe(ALERTS, recent.append, start=datetime.now(UTC) - timedelta(hours=1))
    later = datetime.now(UTC) + timedelta(hours=1)
    bus.subscribe(ALERTS, nothing.append, start=later).ready(30.0)

    bus.publish(ALERTS, alert("new"))
    wait_until(lambda: at_end and len(whole) == len(recent) == 2 and nothing, "all of them")

    assert ["new"] == ids(at_end)
    assert ["old", "new"] == ids(whole)
    assert ["old", "new"] == ids(recent)
    assert ["new"] == ids(nothing)  # nothing is that late, so it starts at the end


def test_one_subscription_reads_several_topics(bus: EventBus) -> None:
    """Records of all the topics named come to one handler."""
    got: list[Received] = []
    bus.subscribe([ALERTS, COORDINATION], got.append).ready(30.0)
    message = CoordinationMessage(
        "m", MessageType.HEARTBEAT, "tactical", "*", 1, "{}", 1, False, 0, ""
    )

    bus.publish(ALERTS, alert("a"))
    bus.publish(COORDINATION, message, key=b"tactical")
    wait_until(lambda: len(got) == 2, "both")

    assert {ALERTS, COORDINATION} == {each.topic for each in got}


def test_a_handler_that_fails_and_a_record_that_cannot_be_read_end_nothing(
    bus: EventBus, bus_settings: Settings
) -> None:
    """Later records still come, and the unreadable one is counted."""
    got: list[str] = []

    def handler(received: Received) -> None:
        got.extend(ids([received]))
        if got == ["a"]:
            raise RuntimeError("on purpose")

    subscription = bus.subscribe(ALERTS, handler).ready(30.0)
    bus.publish(ALERTS, alert("a"))
    send(bus_settings, ALERTS, [(None, b"no packet"), (None, None)])
    bus.publish(ALERTS, alert("b"))
    wait_until(lambda: len(got) == 2, "the second")

    assert ["a", "b"] == got
    assert 2 == subscription.undecodable


def test_a_closed_subscription_calls_nobody(bus: EventBus) -> None:
    """After `close` no handler runs, even when closed by the handler itself."""
    got: list[Received] = []
    other: list[Received] = []

    def once(received: Received) -> None:
        got.append(received)
        subscription.close()

    subscription = bus.subscribe(ALERTS, once).ready(30.0)
    bus.subscribe(ALERTS, other.append).ready(30.0)
    futures = [bus.publish_soon(ALERTS, alert(str(number))) for number in range(5)]
    assert list(range(5)) == [future.result(30.0).offset for future in futures]
    wait_until(lambda: len(other) == 5, "all at the other")

    assert ["0"] == ids(got)


def test_many_threads_may_publish(bus: EventBus) -> None:
    """Each record of each thread stands once, and those of one key in their order."""
    got: list[Received] = []
    bus.subscribe(ALERTS, got.append).ready(30.0)

    def publish(name: str) -> None:
        for number in range(20):
            bus.publish(ALERTS, alert(f"{name}-{number:02}"), key=name.encode())

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(got) >= 80, "all of them")

    for name in "abcd":
        assert [f"{name}-{n:02}" for n in range(20)] == [i for i in ids(got) if i[0] == name]


async def test_asyncio_publishes_and_streams(bus: EventBus) -> None:
    """`apublish` and `async for` do what their synchronous counterparts do, in order."""
    async with bus.stream(ALERTS) as stream:
        for name in "abc":
            await bus.apublish(ALERTS, alert(name))
        got = [await anext(stream) for _ in range(3)]
        waiting = asyncio.create_task(anext(stream, None))

    assert ["a", "b", "c"] == ids(got)
    assert await waiting is None


def test_errors_say_what_is_wrong(bus: EventBus, bus_settings: Settings) -> None:
    """A topic that is not there, a record too large and a closed bus are told apart, at once."""
    started = time.monotonic()
    with pytest.raises(ConfigurationError, match="topics apply"):
        bus.publish("cascade.nowhere", alert("a"))
    with pytest.raises(ConfigurationError, match="topics apply"):
        bus.subscribe("cascade.nowhere", print)
    with pytest.raises(RecordTooLarge):
        bus.publish(COORDINATION, _huge())
    assert time.monotonic() - started < 30.0
    bus.close()
    with pytest.raises(UsageError):
        bus.publish(ALERTS, alert("a"))
    assert not bus.connected


def _huge() -> Struct:
    return Snapshot("s", "risk", 0, 0, 1, 0, 0, 0, (), 1, "0" * 64, bytes(2_000_000))


def test_callbacks_must_not_wait_for_their_own_thread(bus: EventBus) -> None:
    """Waiting in the callback of a future is refused, since it would wait for itself."""
    seen: list[BaseException] = []

    def again(_: object) -> None:
        try:
            bus.publish(ALERTS, alert("b"))
        except UsageError as error:
            seen.append(error)

    bus.publish_soon(ALERTS, alert("a")).add_done_callback(again)
    wait_until(lambda: seen, "the refusal")


class _OwnPorts(broker.ThisMachine):
    """This machine, but for the usual ports, which are everybody's.

    Below those that the system lends to clients, since one of them might keep the port.
    """

    def free_port(self, preferred: int) -> int:
        return super().free_port(preferred if preferred >= 20_000 else randrange(20_000, 30_000))


@pytest.fixture
def restart(tmp_path: Path) -> Iterator[Callable[[], Settings]]:
    """(Re)starts a broker that only this test uses."""
    settings = load_settings(broker=None, home=tmp_path / "broker")
    machine = _OwnPorts()

    def again() -> Settings:
        broker.down(settings)
        found = broker.up(settings, notice=print, machine=machine)
        return load_settings(broker=found.bootstrap, home=tmp_path / "home")

    yield again
    broker.down(settings)


def test_a_lost_broker_is_reconnected(restart: Callable[[], Settings], tmp_path: Path) -> None:
    """Publishing fails in time while it is away; after its return both directions go on."""
    settings = restart()
    file = TopicFile.load()
    apply_topics(settings, file.model_copy(update={"topics": {ALERTS: file.topics[ALERTS]}}))
    got: list[Received] = []
    with EventBus(settings=settings) as bus:
        bus.subscribe(ALERTS, got.append).ready(30.0)
        bus.publish(ALERTS, alert("before"))
        broker.down(load_settings(broker=None, home=tmp_path / "broker"))
        wait_until(lambda: not bus.connected, "the bus to notice")
        with pytest.raises(BrokerUnavailable):
            bus.publish(ALERTS, alert("meanwhile"), timeout_s=0.5)
        assert settings == restart()
        wait_until(lambda: bus.connected, "the bus to return")
        bus.publish(ALERTS, alert("after"))
        wait_until(lambda: "after" in ids(got), "the alert after the return")
    assert "before" == ids(got)[0]
