"""`pipeline.broker` with a real Kafka: started, found again, stopped."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline import broker
from pipeline.errors import BrokerUnavailable
from pipeline.settings import Settings, load_settings


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Settings]:
    """Settings whose broker no other test uses; it is stopped at the end."""
    settings = load_settings(broker=None, home=tmp_path / "home")
    yield settings
    broker.down(settings)


def test_kafka_fixture_answers(kafka: str) -> None:
    """The broker of the test session is one broker that answers."""
    expected = 1

    actual = broker.probe(kafka, timeout_s=10).brokers

    assert expected == actual


def test_set_broker_is_used_as_it_is(kafka: str, tmp_path: Path) -> None:
    """With CASCADE_BROKER set, that broker is returned and nothing is started."""
    settings = load_settings(broker=kafka, home=tmp_path / "home")

    found = broker.up(settings)

    assert ("external", kafka) == (found.kind, found.bootstrap)
    assert not (tmp_path / "home").exists()


def test_broker_is_found_again_and_keeps_its_data(own: Settings, kafka: str) -> None:
    """`up` twice gives one broker; stopped or killed it is not found, started it has its data."""
    first = broker.up(own)
    assert "local" == first.kind
    assert kafka != first.bootstrap
    assert first == broker.up(own)
    assert first == broker.status(own).broker
    _write(first.bootstrap, b"kept")

    assert broker.down(own)
    assert broker.status(own).broker is None
    assert not broker.down(own)
    second = broker.up(own)
    assert first.cluster_id == second.cluster_id
    assert b"kept" == _read(second.bootstrap)

    process = psutil.Process(second.pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)
    assert broker.status(own).broker is None
    third = broker.up(own)
    assert second.pid != third.pid
    assert b"kept" == _read(third.bootstrap)


def test_commands_share_a_broker_that_outlives_them(own: Settings) -> None:
    """Two `cascade broker up` at once start one broker; it runs on without them until `down`."""
    with ThreadPoolExecutor() as pool:
        first, second = (json.loads(said) for said in pool.map(_cascade, [own, own], ["up", "up"]))

    assert first == second
    assert first["answers"]
    assert os.getsid(first["pid"]) == first["pid"]
    assert {"stopped": True} == json.loads(_cascade(own, "down"))
    assert broker.status(own).broker is None


def test_broker_that_dies_at_start_shows_its_last_words(own: Settings, tmp_path: Path) -> None:
    """A process that ends at once is an error that quotes its log, and none is left running."""
    broker.up(own)
    broker.down(own)
    checkpoint = tmp_path / "home/broker/data/__cluster_metadata-0"
    for file in checkpoint.iterdir():
        file.unlink()
    checkpoint.rmdir()
    checkpoint.write_text("no folder")

    with pytest.raises(BrokerUnavailable, match="Its last lines"):
        broker.up(own)

    assert broker.status(own).broker is None


def _cascade(settings: Settings, verb: str) -> str:
    command = [sys.executable, "-m", "pipeline.cli", "broker", verb, "--json"]
    environment = {**os.environ, "CASCADE_HOME": str(settings.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def _write(bootstrap: str, value: bytes) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce("kept", value)
    assert 0 == producer.flush(30)


def _read(bootstrap: str) -> bytes | None:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"}
    )
    try:
        consumer.assign([TopicPartition("kept", 0, 0)])
        message = consumer.poll(30)
        return message.value() if message is not None else None
    finally:
        consumer.close()
