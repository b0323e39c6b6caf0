"""A policy that fails, and topics that do not fit, on a real Kafka."""

from collections.abc import Iterable

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.packets.codec import decode_as, encode
from pipeline.packets.models import Snapshot, StrategicSignal
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.replay import collect
from pipeline.rules import oracle
from pipeline.settings import Settings
from pipeline.stages.fates import Fate
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from pipeline.transport import snapshots
from pipeline.transport.clients import log_consumer
from tests.kafka_workers import (
    StartWorker,
    as_bytes,
    end_offsets,
    market_data,
    read_log,
    read_topic,
    send,
    wait_until,
)

FAILING = "tests.integration.failing_policy"


def _send(settings: Settings, packets: Iterable[tuple[str, int]]) -> list[bytes]:
    """Send packets by symbol and sequence, in one partition; return their bytes."""
    values = [encode(market_data(symbol, number, settings)) for symbol, number in packets]
    send(settings, "cascade.market", [(b"one key", value) for value in values])
    return values


def _signals(settings: Settings) -> dict[tuple[str, int], StrategicSignal]:
    """Return the strategic records so far, by symbol and sequence."""
    records = oracle.accepted_records(read_log(settings, "cascade.strategic"))
    return {(r.record.envelope.symbol, r.record.envelope.sequence): r.record for r in records}


def _await(settings: Settings, *wanted: tuple[str, int]) -> dict[tuple[str, int], StrategicSignal]:
    wait_until(lambda: set(wanted) <= _signals(settings).keys(), f"records of {wanted}")
    return _signals(settings)


def test_a_failing_policy_is_retried_then_isolated(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """A passing failure costs a retry; a lasting one ends that packet alone, with its bytes."""
    settings = run_settings.model_copy(update={"breaker_failures": 100})
    packets = [("GOOD", 0), ("ONCE", 0), ("GOOD", 1), ("ALWAYS", 0), ("GOOD", 2)]
    values = _send(settings, packets)
    start_worker(FAILING, settings)
    signals = _await(settings, *packets)
    assert {("GOOD", 0): 0, ("GOOD", 1): 0, ("GOOD", 2): 0, ("ONCE", 0): 1, ("ALWAYS", 0): 2} == {
        name: signal.envelope.retry_count for name, signal in signals.items()
    }
    decided = {name for name, signal in signals.items() if signal.strategic is not None}
    assert decided == {name for name in packets if name != ("ALWAYS", 0)}
    outcome = signals["ALWAYS", 0].envelope.outcome
    assert outcome is not None
    assert (OutcomeKind.DEAD_LETTERED, (Fate.POLICY_FAILED,)) == (outcome.kind, outcome.reasons)
    letters = [m for ms in read_topic(settings, "cascade.market.dead").values() for m in ms]
    (dead,) = collect(letters).records
    assert values[3] == dead.value
    assert "no decision on" in dead.letter.message
    assert 3 == dead.letter.attempt


def test_the_breaker_holds_and_a_probe_closes_it(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """After five failures in a row nobody asks the policy; once it is well, a probe lets it."""
    settings = run_settings.model_copy(update={"breaker_failures": 5, "breaker_open_s": 2.0})
    start_worker(FAILING, settings).wait_for("took_over")
    packets = [("ALWAYS", 0), ("ALWAYS", 1), ("GOOD", 0), ("GOOD", 1)]
    _send(settings, packets)
    signals = _await(settings, *packets)
    held = signals["GOOD", 1].envelope.outcome
    assert held is not None
    assert (OutcomeKind.HELD, (Fate.BREAKER_OPEN,)) == (held.kind, held.reasons)
    assert signals["GOOD", 1].bar is not None
    sent = 1

    def closed() -> bool:
        nonlocal sent
        sent += 1
        _send(settings, [("GOOD", sent)])
        return _await(settings, ("GOOD", sent))["GOOD", sent].strategic is not None

    wait_until(closed, "the breaker to close")


def test_a_topic_that_is_missing_ends_the_worker(
    kafka_settings: Settings, start_worker: StartWorker
) -> None:
    """Without its topics a worker ends with an exit code, and says what to do."""
    worker = start_worker("strategic", kafka_settings)
    assert 0 != worker.wait_for_end()
    assert f"Expected topic {kafka_settings.topic('cascade.market')}" in worker.log
    assert "cascade topics apply" in worker.log


def test_partition_counts_that_differ_end_the_worker(
    kafka_settings: Settings, start_worker: StartWorker
) -> None:
    """A log with another partition count than its input ends the worker before it writes."""
    admin = AdminClient(kafka_settings.client())
    wrong = NewTopic(kafka_settings.topic("cascade.strategic"), 3, 1)
    for future in admin.create_topics([wrong]).values():
        future.result()
    apply_topics(kafka_settings, TopicFile.load())
    worker = start_worker("strategic", kafka_settings)
    assert 0 != worker.wait_for_end()
    assert "Expected cascade.strategic to have the 4 partitions of cascade.market" in worker.log
    assert {0} == set(end_offsets(kafka_settings, "cascade.strategic").values())


def _trim(settings: Settings, topic: str) -> None:
    """Delete all records before the end of a topic's partitions."""
    real = settings.topic(topic)
    ends = [
        TopicPartition(real, partition, end)
        for partition, end in end_offsets(settings, topic).items()
    ]
    admin = AdminClient(settings.client())
    for future in admin.delete_records(ends).values():
        future.result()


def test_a_log_without_its_start_needs_a_snapshot(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """Where records of the log are gone and no snapshot holds them, the worker stops."""
    _send(run_settings, [("GOOD", 0), ("GOOD", 1)])
    first = start_worker("strategic", run_settings)
    _await(run_settings, ("GOOD", 1))
    first.stop()
    _trim(run_settings, "cascade.strategic")
    second = start_worker("strategic", run_settings)
    assert 0 != second.wait_for_end()
    assert "Expected a snapshot of" in second.log
    assert "Nothing is reset on its own" in second.log


def test_a_snapshot_stands_for_the_log_before_it(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """With a snapshot the worker goes on, knowing what it had decided before."""
    settings = run_settings.model_copy(
        update={"snapshot_interval_s": 0.2, "snapshot_records": 1_000_000}
    )
    values = _send(settings, [("GOOD", number) for number in range(50)])
    first = start_worker("strategic", settings)
    _await(settings, ("GOOD", 49))
    busy = max(range(4), key=end_offsets(settings, "cascade.strategic").__getitem__)
    wait_until(lambda: _snapshot_sequence(settings, busy) == 49, "a snapshot of all")
    first.stop()
    before = end_offsets(settings, "cascade.strategic")
    _delete_what_snapshots_hold(settings, "cascade.strategic", before)
    second = start_worker("strategic", settings)
    second.wait_for("took_over")
    send(settings, "cascade.market", [(b"one key", values[49])])
    _send(settings, [("GOOD", 50)])
    wait_until(
        lambda: (
            sum(end_offsets(settings, "cascade.strategic").values()) == sum(before.values()) + 4 + 2
        ),
        "two records more, and four markers",
    )
    partition = max(before, key=before.__getitem__)
    duplicate, fresh = _tail(settings, "cascade.strategic", partition, 2)
    assert duplicate.envelope.outcome is not None
    assert (Fate.DUPLICATE,) == duplicate.envelope.outcome.reasons
    assert (50, 50, 51) == (
        duplicate.journal.log_sequence,
        duplicate.journal.input_offset,
        fresh.journal.log_sequence,
    )
    assert fresh.strategic is not None
    assert "WARMUP" != fresh.strategic.regime


def _newest_snapshot(settings: Settings, partition: int) -> Snapshot | None:
    consumer = log_consumer(settings, "snapshot-reader")
    try:
        topic = settings.topic("cascade.strategic.snapshots")
        found = snapshots.latest(consumer, topic, partition, 10.0)
    finally:
        consumer.close()
    return None if found is None else found[0]


def _snapshot_sequence(settings: Settings, partition: int) -> int:
    head = _newest_snapshot(settings, partition)
    return -1 if head is None else head.log_sequence


def _delete_what_snapshots_hold(settings: Settings, topic: str, ends: dict[int, int]) -> None:
    """Delete the records of each partition that come before its newest snapshot's position."""
    heads = {partition: _newest_snapshot(settings, partition) for partition in ends}
    places = [
        TopicPartition(settings.topic(topic), partition, head.log_offset + 1)
        for partition, head in heads.items()
        if head is not None
    ]
    admin = AdminClient(settings.client())
    for future in admin.delete_records(places).values():
        future.result()


def _tail(settings: Settings, topic: str, partition: int, count: int) -> list[StrategicSignal]:
    """Return the last records of a partition."""
    real = settings.topic(topic)
    consumer = Consumer(settings.client(group_id="unused"))
    try:
        end = end_offsets(settings, topic)[partition]
        consumer.assign([TopicPartition(real, partition, end - count)])
        found: list[StrategicSignal] = []
        while len(found) < count:
            messages = consumer.consume(count, 1.0)
            found += [decode_as(as_bytes(each.value()), StrategicSignal) for each in messages]
        return found
    finally:
        consumer.close()
