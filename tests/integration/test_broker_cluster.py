"""Three brokers on this machine: one of them is killed under load, and nothing is lost."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from pipeline import broker
from pipeline.broker.cluster import LocalCluster
from pipeline.broker.machine import ThisMachine
from pipeline.resources import resource
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.kafka_workers import read_topic, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (shutil.which("java") and shutil.which("mvn")), reason="needs Java and Maven"
    ),
]

_TOPIC = "cascade.market"


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a cluster of three, with its topics."""
    home = load_settings(broker=None, home=tmp_path)
    found = broker.up(home, notice=print, nodes=3)
    settings = home.model_copy(update={"broker": found.bootstrap, "topic_profile": "cluster"})
    apply_topics(settings, TopicFile.load())
    yield settings
    broker.down(home)


def nodes(settings: Settings) -> LocalCluster:
    """Return the nodes that run."""
    return LocalCluster(
        settings.home / "broker" / "cluster", resource("docker/kafka/pom.xml"),
        machine=ThisMachine(), probe=broker.probe, notice=print,
    )  # fmt: skip


def test_a_broker_killed_under_load_loses_nothing(settings: Settings) -> None:
    """What two of three have acknowledged is there while one is away, and after it is back."""
    topic = settings.topic(_TOPIC)
    producer = Producer(settings.client(acks="all", enable_idempotence=True, linger_ms=5))
    described = producer.list_topics(topic, timeout=60).topics[topic].partitions.values()
    assert {3} == {len(each.replicas) for each in described}
    cluster = nodes(settings)
    assert 3 == len(cluster.pids())
    acknowledged: set[bytes] = set()
    failed: list[object] = []
    stop = threading.Event()

    def delivered(error: object, message: object) -> None:
        if error is None:
            acknowledged.add(message.value())  # type: ignore[attr-defined]  # a Message
        else:
            failed.append(error)

    def load() -> None:
        number = 0
        while not stop.wait(0.005):
            value = f"{number}".encode()
            producer.produce(topic, value, value, on_delivery=delivered)
            producer.poll(0)
            number += 1

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    wait_until(lambda: len(acknowledged) > 200, "some records")
    os.kill(cluster.pids()[0], signal.SIGKILL)
    wait_until(lambda: len(cluster.pids()) == 2, "one broker to be gone")
    before = len(acknowledged)
    wait_until(lambda: len(acknowledged) > before + 200, "the other two to go on")
    assert broker.status(settings.model_copy(update={"broker": None})).broker is not None
    broker.up(settings.model_copy(update={"broker": None}), notice=print, nodes=3)
    assert 3 == len(cluster.pids())
    stop.set()
    thread.join(30)
    assert 0 == producer.flush(60)

    assert [] == failed
    read = [
        bytes(each.value() or b"")
        for part in read_topic(settings, _TOPIC).values()
        for each in part
    ]
    assert acknowledged == set(read)
    assert len(read) == len(set(read)), "Expected no record twice"
