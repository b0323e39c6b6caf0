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


def test_broker_is_found_again_and_keeps_its_data(own: Settings) -> None:
    """`up` twice gives one broker; stopped and started again it still has its records."""
    first = broker.up(own)
    again = broker.up(own)
    assert first == again
    assert "local" == first.kind
    assert first == broker.status(own).broker
    _write(first.bootstrap, b"kept")

    assert broker.down(own)
    assert broker.status(own).broker is None
    assert not broker.down(own)
    second = broker.up(own)

    assert b"kept" == _read(second.bootstrap)
    assert first.cluster_id == second.cluster_id


def test_killed_broker_is_started_again(own: Settings) -> None:
    """A broker that was killed is no longer found, and `up` starts it anew with its data."""
    first = broker.up(own)
    assert first.pid is not None
    _write(first.bootstrap, b"kept")
    process = psutil.Process(first.pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)
    assert broker.status(own).broker is None

    second = broker.up(own)

    assert first.pid != second.pid
    assert b"kept" == _read(second.bootstrap)


def test_two_at_once_start_one_broker(own: Settings) -> None:
    """Two processes that call `up` at the same time get the same broker."""
    with ThreadPoolExecutor() as pool:
        said = [json.loads(text) for text in pool.map(_cascade, [own, own], ["up", "up"])]

    assert said[0]["pid"] == said[1]["pid"]
    assert said[0]["pid"] == broker.status(own).broker.pid  # type: ignore[union-attr]  # it runs


def test_broker_outlives_the_command_that_started_it(own: Settings) -> None:
    """`cascade broker up` ends, its broker runs on without a terminal, `down` ends it."""
    started = json.loads(_cascade(own, "up"))

    assert started["answers"]
    assert os.getsid(started["pid"]) == started["pid"]
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


def test_taken_ports_are_passed_over(own: Settings, tmp_path: Path) -> None:
    """A second broker on one machine takes other ports than the first."""
    other = load_settings(broker=None, home=tmp_path / "other")
    try:
        first, second = broker.up(own), broker.up(other)

        assert first.bootstrap != second.bootstrap
        assert first.cluster_id != second.cluster_id
    finally:
        broker.down(other)


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
