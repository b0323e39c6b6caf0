"""The priority lane on a real Kafka: urgent packets overtake a backlog, in every stage."""

from collections.abc import Iterator

from pipeline.packets.codec import encode
from pipeline.packets.lanes import INGEST_TOPIC, INGEST_TOPICS, PRIORITY_TOPIC
from pipeline.rules import oracle
from pipeline.rules.oracle import Accepted
from pipeline.settings import Settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.kafka_workers import (
    MANY_MS,
    StartWorker,
    committed,
    end_offsets,
    market_data,
    read_log,
    send,
    wait_until,
)

SYMBOLS = tuple(f"S{number:02d}" for number in range(12))
URGENT = tuple(f"U{number:02d}" for number in range(4))
BARS = 1000
BACKLOG = BARS * len(SYMBOLS)
STAGES = ("strategic", "tactical")


def _send(settings: Settings, symbols: tuple[str, ...], bars: int, priority: int, to: str) -> None:
    def packets() -> Iterator[tuple[bytes, bytes]]:
        for sequence in range(bars):
            for symbol in symbols:
                value = encode(market_data(symbol, sequence, settings, priority=priority))
                yield symbol.encode(), value

    send(settings, to, packets())


def _count(settings: Settings, stage: str) -> int:
    return sum(end_offsets(settings, f"cascade.{stage}").values())


def _records(settings: Settings, stage: str) -> list[Accepted]:
    return oracle.accepted_records(read_log(settings, f"cascade.{stage}"))


def _overtaken(records: list[Accepted]) -> int:
    """Return how many normal packets came out after the last urgent one of their partition."""
    last = {each.partition: each.offset for each in records if each.record.envelope.priority > 1}
    return sum(each.offset > last.get(each.partition, each.offset) for each in records)


def test_urgent_packets_overtake_a_backlog(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """They come out before much of what was sent before them; each input has its record."""
    run_settings = run_settings.model_copy(update={"round_max_records": 50})
    _send(run_settings, SYMBOLS, BARS, 1, INGEST_TOPIC)
    for stage in STAGES:
        start_worker(stage, run_settings)
    wait_until(lambda: _count(run_settings, "strategic") > 100, "work to begin", every_s=0.02)
    _send(run_settings, URGENT, 10, 2, PRIORITY_TOPIC)
    total = BACKLOG + 10 * len(URGENT)
    wait_until(lambda: _count(run_settings, "tactical") >= total + 4, f"{total} records")

    strategic, tactical = (_records(run_settings, stage) for stage in STAGES)
    inputs = {
        (topic, partition): range(end)
        for topic in INGEST_TOPICS
        for partition, end in end_offsets(run_settings, topic).items()
    }
    assert [] == oracle.one_record_per_input(inputs, strategic)
    for records in (strategic, tactical):
        assert [] == oracle.symbols_in_order(records)
        assert len(records) == total
        assert _overtaken(records) > 1000
    wait_until(lambda: _committed(run_settings) == 10 * len(URGENT), "offsets to be committed")


def _committed(settings: Settings) -> int:
    offsets = committed(settings, "cascade.strategic")
    return sum(offset for (topic, _), offset in offsets.items() if topic == PRIORITY_TOPIC)


def test_a_cluster_without_the_priority_topic_has_one_lane(
    kafka_settings: Settings, start_worker: StartWorker
) -> None:
    """Strategic works as before it; urgent packets come on the ingest topic, and it says so."""
    settings = kafka_settings.model_copy(update={"cascade_timeout_ms": MANY_MS})
    file = TopicFile.load()
    older = {name: each for name, each in file.topics.items() if PRIORITY_TOPIC not in name}
    apply_topics(settings, file.model_copy(update={"topics": older}))
    _send(settings, SYMBOLS, 2, 1, INGEST_TOPIC)
    _send(settings, URGENT, 2, 2, INGEST_TOPIC)
    worker = start_worker("strategic", settings)
    total = 2 * len(SYMBOLS + URGENT)
    wait_until(lambda: len(_records(settings, "strategic")) == total, f"{total} records")
    assert "no_priority_lane" in worker.log
    assert worker.process.poll() is None
