"""`cascade publish` and `Publisher` with a real Kafka."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from pipeline.errors import BrokerUnavailable, ConfigurationError, PoisonError
from pipeline.market import FaultPlan, Publisher, SampleFeed
from pipeline.packets import codec
from pipeline.packets.models import MarketData
from pipeline.settings import Settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics

DEADLINE_S = 30.0


@pytest.fixture
def settings(kafka_settings: Settings) -> Settings:
    """Settings whose namespace has its topics."""
    apply_topics(kafka_settings, TopicFile.load())
    return kafka_settings


def _read(settings: Settings, count: int) -> list[Message]:
    """Return the records of the ingest topic, each partition's in order."""
    consumer = Consumer(settings.client(group_id="unused", enable_auto_commit=False))
    topic = settings.topic("cascade.market")
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    messages: list[Message] = []
    end_s = time.monotonic() + DEADLINE_S
    while len(messages) < count and time.monotonic() < end_s:
        found = consumer.consume(count - len(messages), 0.2)
        messages += [message for message in found if message.error() is None]
    consumer.close()
    return messages


def _value(message: Message) -> bytes:
    value = message.value()
    assert isinstance(value, bytes)
    return value


@contextmanager
def _command(settings: Settings, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `cascade publish`; it is gone at the end, whatever happened."""
    environment = {
        **os.environ,
        "CASCADE_BROKER": settings.broker or "",
        "CASCADE_NAMESPACE": settings.namespace,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "publish", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_bars_arrive_in_order_for_each_symbol(settings: Settings) -> None:
    """500 sample bars come back whole, in order per symbol, each symbol in one partition."""
    report = Publisher(settings).publish(SampleFeed(), rate=2000.0, bars=500)
    assert (report.sent, report.delivered, report.failed) == (500, 500, 0)
    bars = defaultdict(list)
    sequences = defaultdict(list)
    partitions = defaultdict(set)
    for message in _read(settings, 500):
        packet = codec.decode_as(_value(message), MarketData)
        symbol = packet.envelope.symbol
        assert message.key() == symbol.encode()
        assert dict(message.headers() or [])["flow_id"] == packet.envelope.flow_id.encode()
        bars[symbol].append(packet.bar)
        sequences[symbol].append(packet.envelope.sequence)
        partitions[symbol].add(message.partition())
    expected = defaultdict(list)
    for item in islice(SampleFeed(), 500):
        expected[item.symbol].append(item.bar)
    assert expected == bars
    numbers = list(range(report.start_sequence, report.start_sequence + 100))
    assert all(found == numbers for found in sequences.values())
    assert {len(found) for found in partitions.values()} == {1}


def test_unreadable_records_lie_where_the_report_says(settings: Settings) -> None:
    """Every record that cannot be decoded is in the report with its place and sha256."""
    plan = FaultPlan.parse("poison=0.1,nan=0.05,duplicates=0.05")
    report = Publisher(settings).publish(SampleFeed(), rate=0.0, bars=300, faults=plan)
    found = set()
    for message in _read(settings, report.sent):
        value = _value(message)
        try:
            codec.decode(value)
        except PoisonError:
            found.add((message.partition(), message.offset(), sha256(value).hexdigest()))
    expected = {(d.partition, d.offset, d.sha256) for d in report.dead_letters_expected}
    assert len(expected) >= report.kinds["poison"] + report.kinds["nan"] > 0
    assert expected == found


def test_full_queue_makes_the_publisher_wait(settings: Settings) -> None:
    """With room for ten records in the producer, 300 sent at once all arrive."""
    small = settings.model_copy(update={"kafka": {"queue.buffering.max.messages": "10"}})
    report = Publisher(small).publish(SampleFeed(), rate=0.0, bars=300)
    assert (report.sent, report.delivered) == (300, 300)
    assert len(_read(settings, 300)) == 300


def test_missing_topic_is_an_error_that_says_what_to_do(kafka_settings: Settings) -> None:
    """Without the ingest topic nothing is created behind the user's back."""
    with pytest.raises(ConfigurationError, match="cascade topics apply"):
        Publisher(kafka_settings)


def test_dead_broker_is_an_error_that_names_it() -> None:
    """Where no broker answers, the error gives the address, and comes at once."""
    with pytest.raises(BrokerUnavailable, match=r"at 127\.0\.0\.1:1, was none to connect to"):
        Publisher(Settings(broker="127.0.0.1:1"))


def test_command_publishes_and_reports(settings: Settings, tmp_path: Path) -> None:
    """`cascade publish --json` prints one JSON report and exits 0."""
    arguments = ("--bars", "40", "--rate", "400", "--start-sequence", "3", "--json")
    with _command(settings, tmp_path, *arguments) as process:
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, stderr) == (0, "")
    report = json.loads(stdout)
    assert (report["source"], report["sent"], report["delivered"]) == ("sample-derived", 40, 40)
    assert report["start_sequence"] == 3
    assert len(_read(settings, 40)) == 40


@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 1)])
def test_bad_rows_warn_and_fail_only_if_strict(
    settings: Settings, tmp_path: Path, strict: list[str], code: int
) -> None:
    """Good rows of a file go out; bad ones are named, and end in exit code 1 with --strict."""
    (tmp_path / "prices.csv").write_text(
        "time,symbol,open,high,low,close,volume\n"
        "2024-01-02,ABC,10,11,9,10,5\n"
        "2024-01-03,ABC,10,11,9,oops,5\n"
        "2024-01-04,ABC,10,11,9,10,5\n"
    )
    with _command(settings, tmp_path, "--source", "prices.csv", *strict) as process:
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code
    assert "2 bars, 2 records sent, 2 delivered" in stdout
    assert "1 rows left out" in stderr
    assert "Expected a number, was 'oops', at prices.csv row 3, column close" in stderr


def test_interrupt_stops_cleanly(settings: Settings, tmp_path: Path) -> None:
    """Ctrl-C ends a long publication: what was sent is delivered and reported, exit code 130."""
    arguments = ("--source", "synthetic", "--rate", "500", "--json")
    with _command(settings, tmp_path, *arguments) as process:
        assert len(_read(settings, 20)) == 20
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=DEADLINE_S)
    report = json.loads(stdout)
    assert process.returncode == 130
    assert report["stopped"]
    assert report["sent"] == report["delivered"] > 0


def test_publisher_runs_in_a_thread(settings: Settings) -> None:
    """A publication in a thread ends once its event is set."""
    stop = threading.Event()
    reports = []
    publisher = Publisher(settings)

    def publish() -> None:
        reports.append(publisher.publish(SampleFeed(), rate=300.0, stop=stop, on_progress=progress))

    def progress(bars: int, sent: int) -> None:
        del bars
        if sent > 30:
            stop.set()

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert reports[0].stopped
    assert reports[0].sent == reports[0].delivered > 30
