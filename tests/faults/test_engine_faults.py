"""Workers killed, frozen and rebalanced in mid-flow: nothing lost, none doubled."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Message, Producer
from msgspec.structs import replace

from pipeline.control.state import ControlView, TradingState
from pipeline.packets.codec import decode, encode
from pipeline.packets.lanes import INGEST_TOPICS, ingest_topic
from pipeline.packets.models import Journal
from pipeline.rules import oracle
from pipeline.rules.oracle import Log
from pipeline.settings import Settings
from pipeline.stages.contract import Context, Input
from pipeline.stages.strategic_logic import StrategicLogic
from tests.kafka_workers import (
    StartWorker,
    end_offsets,
    markers,
    market_data,
    read_log,
    wait_until,
)

SYMBOLS = tuple(f"S{number:02d}" for number in range(12))
URGENT = tuple(f"U{number:02d}" for number in range(4))
RATE = 150
LOG = "cascade.strategic"

pytestmark = pytest.mark.timeout(400)


@contextmanager
def steady_flow(settings: Settings) -> Iterator[None]:
    """Send market data in both lanes at a steady rate, and all of it by the end."""
    producer = Producer(settings.client(partitioner="murmur2_random", enable_idempotence=True))
    stop = threading.Event()

    def send() -> None:
        sequence = 0
        while not stop.wait(len(SYMBOLS) / RATE):
            for symbol in (*SYMBOLS, *URGENT):
                priority = 2 if symbol in URGENT else 1
                value = encode(market_data(symbol, sequence, settings, priority=priority))
                topic = settings.topic(ingest_topic(priority))
                producer.produce(topic, value, symbol.encode())
            producer.poll(0)
            sequence += 1

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join(30)
        assert producer.flush(30) == 0


def counted(settings: Settings, topic: str = LOG) -> int:
    """Return how many records of a log count so far."""
    return len(oracle.accepted_records(read_log(settings, topic)))


def moves_on(settings: Settings, records: int = 100) -> None:
    """Wait until so many records more count than do now."""
    before = counted(settings)
    wait_until(lambda: counted(settings) >= before + records, f"{records} more", every_s=0.3)


def all_worked_off(settings: Settings) -> Log:
    """Wait until each input has its record, and return the log."""
    inputs = {
        (topic, partition): range(end)
        for topic in INGEST_TOPICS
        for partition, end in end_offsets(settings, topic).items()
    }
    assert all(sum(len(inputs[topic, n]) for n in range(4)) for topic in INGEST_TOPICS)
    total = sum(map(len, inputs.values()))
    wait_until(lambda: counted(settings) >= total, f"{total} records", every_s=0.3)
    log = read_log(settings, LOG)
    records = oracle.accepted_records(log)
    assert [] == oracle.one_record_per_input(inputs, records)
    assert [] == oracle.symbols_in_order(records)
    assert [] == oracle.foreign_records(log)
    return log


def decided_as_recomputed(settings: Settings, log: Log) -> None:
    """Check every decision against the same bars decided one by one in this process.

    A worker that came back with the wrong bars in its windows would decide otherwise.
    """
    market = {topic: read_log(settings, topic) for topic in INGEST_TOPICS}
    logic = StrategicLogic()
    states = {partition: logic.initial() for partition in log}
    for each in oracle.accepted_records(log):
        state, journal = states[each.partition], each.journal
        packet: Any = decode(market[journal.input_topic][each.partition][journal.input_offset][1])
        context = Context(ControlView(TradingState.HALTED, -1, current=True), -1)
        (draft,) = logic.decide(state, [_input(packet, journal)], context)
        assert draft.parts.get("strategic") == each.record.strategic
        logic.apply(state, each.record)


def _input(packet: Any, journal: Journal) -> Input:
    return Input(
        journal.input_topic, journal.input_partition, journal.input_offset, -1, -1, (-1, -1), 0,
        0, journal.now, None, None, packet, None, None,
    )  # fmt: skip


def count_markers(settings: Settings) -> int:
    """Return how many markers stand in the log."""
    return sum(map(len, markers(read_log(settings, LOG)).values()))


@pytest.mark.parametrize(("snapshots", "kills"), [(True, 2), (False, 1)], ids=["snapshot", "log"])
def test_a_killed_worker_is_replaced(
    run_settings: Settings, start_worker: StartWorker, snapshots: bool, kills: int
) -> None:
    """After a kill -9 in mid-flow another worker goes on where the log ends, and decides alike."""
    every_s = 0.3 if snapshots else 86_400.0
    settings = run_settings.model_copy(
        update={"snapshot_interval_s": every_s, "snapshot_records": 10_000_000}
    )
    with steady_flow(settings):
        worker = start_worker("strategic", settings)
        for _ in range(kills):
            moves_on(settings)
            if snapshots:
                wait_until(lambda: _snapshots(settings) > 0, "a snapshot")
            worker.kill()
            worker = start_worker("strategic", settings)
        moves_on(settings)
    log = all_worked_off(settings)
    assert [kills + 1] * 4 == [len(found) for found in markers(log).values()]
    decided_as_recomputed(settings, log)
    before = {p: found[-1][0] for p, found in markers(log).items()}
    recovered = sum(each.offset < before[each.partition] for each in oracle.accepted_records(log))
    folded = int(worker.log.rsplit("folded=", 1)[1].split()[0])
    assert folded < recovered if snapshots else folded == recovered
    assert snapshots == (_snapshots(settings) > 0)


def _snapshots(settings: Settings) -> int:
    return sum(end_offsets(settings, f"{LOG}.snapshots").values())


def test_workers_share_partitions_and_hand_them_over(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """A second worker takes its share when it joins, and all when the first leaves."""
    with steady_flow(run_settings):
        first = start_worker("strategic", run_settings)
        moves_on(run_settings)
        second = start_worker("strategic", run_settings)
        second.wait_for("took_over")
        first.wait_for("took_over", times=2)
        moves_on(run_settings)
        log = read_log(run_settings, LOG)
        owners = {found[-1][1].owner for found in markers(log).values()}
        assert 2 == len(owners)
        assert 0 == first.stop()
        second.wait_for("partitions=[0, 1, 2, 3]")
        moves_on(run_settings)
    log = all_worked_off(run_settings)
    assert {1} == {len({found[-1][1].owner for found in markers(log).values()})}


def test_a_frozen_owner_writes_in_vain(run_settings: Settings, start_worker: StartWorker) -> None:
    """What a worker writes after its session ended and its log was taken over, nobody reads."""
    with steady_flow(run_settings):
        frozen = start_worker("strategic", run_settings)
        reader = start_worker("tactical", run_settings)
        moves_on(run_settings)
        frozen.signal(signal.SIGSTOP)
        try:
            before = count_markers(run_settings)
            other = start_worker("strategic", run_settings)
            wait_until(lambda: count_markers(run_settings) == before + 4, "a take-over")
            planted = write_late(run_settings)
            other.wait_for("partitions=[0, 1, 2, 3]")
            moves_on(run_settings)
        finally:
            frozen.signal(signal.SIGCONT)
        frozen.wait_for("took_over", times=2)  # as a member of the group once more
        moves_on(run_settings)
    log = all_worked_off(run_settings)
    records = oracle.accepted_records(log)
    assert planted.isdisjoint((each.partition, each.offset) for each in records)
    inputs: dict[tuple[str, int], list[int]] = {}
    for each in records:
        inputs.setdefault((LOG, each.partition), []).append(each.offset)
    wait_until(lambda: counted(run_settings, "cascade.tactical") >= len(records), "the reader")
    tactical = oracle.accepted_records(read_log(run_settings, "cascade.tactical"))
    assert [] == oracle.one_record_per_input(inputs, tactical)
    assert [] == oracle.inputs_used_by_the_rule(LOG, records, tactical)
    assert [None, None] == [frozen.process.poll(), reader.process.poll()]


def write_late(settings: Settings) -> set[tuple[int, int]]:
    """Write what the former owner might have had under way; return (partition, offset) of it.

    In each partition: its next record, as if the next owner had not been there.
    """
    log = read_log(settings, LOG)
    former = {
        partition: [
            each for each in oracle.accepted_of(partition, entries) if each.journal.epoch == 0
        ]
        for partition, entries in log.items()
    }
    places: set[tuple[int, int]] = set()

    def delivered(error: object, message: Message) -> None:
        assert error is None
        places.add((int(message.partition() or 0), int(message.offset() or 0)))

    producer = Producer(settings.client())
    for partition, records in former.items():
        if records:
            last = records[-1]
            journal = replace(last.journal, log_sequence=last.journal.log_sequence + 1)
            value = encode(replace(last.record, journal=journal))
            producer.produce(settings.topic(LOG), value, partition=partition, on_delivery=delivered)
    assert producer.flush(30) == 0
    assert places
    return places
