"""Two stages on a real Kafka: one record per input, dead letters, positions, one run for all."""

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Message

from pipeline.cli import main
from pipeline.packets.codec import encode, is_marker
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.replay import collect
from pipeline.rules import oracle
from pipeline.rules.oracle import Accepted, Log
from pipeline.settings import Settings, load_settings
from pipeline.stages.fates import Fate
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.kafka_workers import (
    MANY_MS,
    Worker,
    as_bytes,
    committed,
    end_offsets,
    market_data,
    read_log,
    read_topic,
    send,
    wait_until,
)

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT", "NFLX")
LARGEST = 1_048_000  # of a value; the topic takes 1,048,588 bytes with all around it


@dataclass(frozen=True)
class Run:
    """What was sent, and what stood in Kafka when all of it was worked off."""

    settings: Settings
    market: dict[int, list[Message]]
    strategic: Log
    tactical: Log
    dead: list[Message]
    planted: Counter[str]

    @property
    def sent(self) -> int:
        """Records of the ingest topic."""
        return sum(map(len, self.market.values()))

    def records(self, stage: str) -> list[Accepted]:
        """Records of a stage's log that count."""
        return oracle.accepted_records(getattr(self, stage))


def _records(settings: Settings, planted: Counter[str]) -> Iterator[tuple[bytes, bytes]]:
    """Yield market data of six symbols with every fault in it."""
    rng = random.Random(7)
    for sequence in range(60):
        for symbol in SYMBOLS:
            key, value = symbol.encode(), encode(market_data(symbol, sequence, settings))
            if (symbol, sequence) == ("IBM", 30):  # comes one too late, below
                continue
            yield key, value
            if rng.random() < 0.03:
                planted[Fate.DUPLICATE] += 1
                yield key, value
            if rng.random() < 0.03:
                planted[Fate.MALFORMED] += 1
                yield key, rng.choice([b"", b"\x00noise", value[:40], value + b"\x00"])
        if sequence == 31:
            planted[Fate.SUPERSEDED] += 1
            yield b"IBM", encode(market_data("IBM", 30, settings))
    yield from _odd_ones(settings, planted)


def _odd_ones(settings: Settings, planted: Counter[str]) -> Iterator[tuple[bytes, bytes]]:
    planted[Fate.MALFORMED] += 1
    yield b"AAPL", b"\xc3\x01" + bytes(LARGEST)
    planted[Fate.VALIDATION] += 1
    yield b"FB", _with_nan(encode(market_data("FB", 60, settings)))
    planted[Fate.DEADLINE] += 1
    yield b"GOOG", encode(market_data("GOOG", 60, settings, accepted_at=1000, deadline=2000))
    for symbol in SYMBOLS:  # and all goes on after them
        yield symbol.encode(), encode(market_data(symbol, 61, settings))


def _with_nan(value: bytes) -> bytes:
    """Return a packet with NaN for its volume: the last double before the interval."""
    nan = b"\x00\x00\x00\x00\x00\x00\xf8\x7f"
    volume = value.rindex(b"\x00\x00\x00\x00\x00\x40\x8f\x40")  # 1000.0
    return value[:volume] + nan + value[volume + len(nan) :]


@pytest.fixture(scope="module")
def run(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of the strategic and the tactical stage, never allowed to trade."""
    home = tmp_path_factory.mktemp("engine")
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    settings = load_settings(
        broker=kafka, namespace=namespace, home=home, cascade_timeout_ms=MANY_MS
    )
    apply_topics(settings, TopicFile.load())
    planted: Counter[str] = Counter()
    records = list(_records(settings, planted))
    send(settings, "cascade.market", records[: len(records) // 2])
    workers = [
        Worker(f"pipeline.stages.{stage}", settings, 0) for stage in ("strategic", "tactical")
    ]
    try:
        for worker in workers:
            worker.wait_for("took_over")
        send(settings, "cascade.market", records[len(records) // 2 :])
        count = len(records)
        wait_until(lambda: _logged(settings, "cascade.tactical") >= count + 4, f"{count} records")
        wait_until(lambda: _lag(settings) == 0, "offsets to be committed", every_s=0.5)
        assert [0, 0] == [worker.stop() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    dead = read_topic(settings, "cascade.market.dead").values()
    return Run(
        settings,
        read_topic(settings, "cascade.market"),
        read_log(settings, "cascade.strategic"),
        read_log(settings, "cascade.tactical"),
        [letter for partition in dead for letter in partition],
        planted,
    )


def _logged(settings: Settings, topic: str) -> int:
    return sum(end_offsets(settings, topic).values())


def _lag(settings: Settings) -> int:
    """Return what a lag tool would say of both groups together."""
    lag = 0
    for stage, topic in (("strategic", "cascade.market"), ("tactical", "cascade.strategic")):
        offsets = committed(settings, f"cascade.{stage}")
        ends = end_offsets(settings, topic)
        lag += sum(end - offsets.get((topic, each), 0) for each, end in ends.items())
    return lag


def test_each_market_record_has_one_strategic_record(run: Run) -> None:
    """Whatever a record holds, the strategic log has exactly one record of it."""
    inputs = {("cascade.market", p): range(len(found)) for p, found in run.market.items()}
    assert [] == oracle.one_record_per_input(inputs, run.records("strategic"))


def test_each_strategic_record_has_one_tactical_record(run: Run) -> None:
    """Sealed flows travel on: the tactical log has one record for each, made by the rule."""
    strategic = run.records("strategic")
    inputs: dict[tuple[str, int], list[int]] = {}
    for each in strategic:
        inputs.setdefault(("cascade.strategic", each.partition), []).append(each.offset)
    tactical = run.records("tactical")
    assert [] == oracle.one_record_per_input(inputs, tactical)
    assert [] == oracle.inputs_used_by_the_rule("cascade.strategic", strategic, tactical)


@pytest.mark.parametrize("stage", ["strategic", "tactical"])
def test_symbols_stay_in_order(run: Run, stage: str) -> None:
    """Bars count in the order of their sequence numbers, and all but the faulty ones count."""
    records = run.records(stage)
    assert [] == oracle.symbols_in_order(records)
    counted = sum(each.record.bar is not None for each in records)
    assert 60 * len(SYMBOLS) - 1 + 1 + len(SYMBOLS) == counted


@pytest.mark.parametrize("stage", ["strategic", "tactical"])
def test_logs_open_with_a_marker_and_hold_nothing_foreign(run: Run, stage: str) -> None:
    """The first record of each partition is the owner's marker; all others are of its epoch."""
    log: Log = getattr(run, stage)
    assert [True] * 4 == [is_marker(entries[0][1]) for _, entries in sorted(log.items())]
    assert [] == oracle.foreign_records(log)


def test_records_lie_in_the_partition_of_their_input(run: Run) -> None:
    """Partition n of the input gives partition n of the log, so that keys stay together."""
    for stage in ("strategic", "tactical"):
        for each in run.records(stage):
            assert each.partition == each.journal.input_partition


def test_resume_positions_move_to_the_end(run: Run) -> None:
    """The last record of each partition says to resume after the last input."""
    last = {each.partition: each.journal for each in run.records("strategic")}
    expected = {p: len(found) for p, found in run.market.items() if found}
    assert expected == {p: journal.resume_offset for p, journal in last.items()}


def test_group_offsets_are_committed_for_lag_tools(run: Run) -> None:
    """The lag of both groups is 0 when everything is worked off."""
    assert 0 == _lag(run.settings)


def test_faults_end_as_they_should(run: Run) -> None:
    """Each planted fault has its own reason; nothing else was sealed around the decisions."""
    fates: Counter[str] = Counter()
    for each in run.records("strategic"):
        outcome = each.record.envelope.outcome
        if outcome is not None and outcome.reasons and outcome.reasons[0] in set(Fate):
            fates[outcome.reasons[0]] += 1
            kind = OutcomeKind.DEAD_LETTERED
            if outcome.reasons[0] in (Fate.SUPERSEDED, Fate.DEADLINE):
                kind = OutcomeKind.EXPIRED
            assert kind is outcome.kind
    assert run.planted == fates


def test_fates_travel_on_unchanged(run: Run) -> None:
    """The tactical record of a sealed flow bears the outcome that the strategic stage sealed."""
    sealed = {
        each.record.envelope.flow_id: each.record.envelope.outcome
        for each in run.records("strategic")
        if each.record.envelope.outcome is not None
    }
    tactical = {
        each.record.envelope.flow_id: each.record.envelope.outcome
        for each in run.records("tactical")
        if each.record.envelope.flow_id in sealed
    }
    assert sealed == tactical


def test_dead_letters_hold_the_original_bytes(run: Run) -> None:
    """Every dead letter has key, value and coordinates of the record it stands for, and why."""
    found = collect(run.dead)
    assert () == found.unreadable
    expected = {
        reason: count
        for reason, count in run.planted.items()
        if reason not in (Fate.SUPERSEDED, Fate.DEADLINE)
    }
    assert expected == dict(Counter(each.letter.error_class for each in found.records))
    for each in found.records:
        original = run.market[each.letter.partition][each.letter.offset]
        assert (as_bytes(original.key()), as_bytes(original.value())) == (each.key, each.value)
        assert ("cascade.market", "strategic") == (each.letter.topic, each.letter.stage)
        assert each.letter.timestamp == original.timestamp()[1]
        assert each.letter.message


def test_halted_stages_before_risk_go_on(run: Run) -> None:
    """Nobody allowed trading here, which is risk's business: directions were decided all along."""
    decided = [each for each in run.records("strategic") if each.record.strategic is not None]
    assert {-1} == {each.journal.control_epoch for each in decided}
    assert 60 * len(SYMBOLS) - 1 + len(SYMBOLS) == len(decided)


def _dlq(run: Run, *arguments: str) -> Any:
    settings = run.settings
    environment = {
        "CASCADE_BROKER": settings.broker or "",
        "CASCADE_NAMESPACE": settings.namespace,
        "CASCADE_HOME": str(settings.home),
    }
    return CliRunner().invoke(main, ["dlq", *arguments], env=environment)


def test_dlq_list_shows_all_with_hash_and_bytes(run: Run) -> None:
    """`cascade dlq list --json` names each record, its cause and its bytes."""
    result = _dlq(run, "list", "--json", "--limit", "0")
    content = json.loads(result.stdout)
    expected = {
        f"cascade.market:{p}:{n}": sha256(as_bytes(found[n].value()) or b"").hexdigest()
        for p, found in run.market.items()
        for n in {r.letter.offset for r in collect(run.dead).records if r.letter.partition == p}
    }
    assert expected == {each["coordinates"]: each["sha256"] for each in content["dead_letters"]}
    assert len(expected) == content["total"] == sum(content["causes"].values())


def test_dlq_list_groups_by_cause_and_selects(run: Run) -> None:
    """The table counts by cause; a stage or topic without letters has an empty one."""
    table = _dlq(run, "list").stdout
    malformed = run.planted[Fate.MALFORMED]
    assert f"MALFORMED  {malformed} of cascade.market, given up by strategic" in table
    assert _dlq(run, "list", "--stage", "risk").stdout.startswith("0 records")
    assert _dlq(run, "list", "--topic", "cascade.risk").stdout.startswith("0 records")


def test_dlq_show_prints_one_record(run: Run) -> None:
    """`cascade dlq show` finds a record by its coordinates, and says so where there is none."""
    record = collect(run.dead).records[0]
    result = _dlq(run, "show", str(record.coordinates))
    assert record.sha256 in result.stdout
    assert record.letter.message in result.stdout
    missing = _dlq(run, "show", "cascade.market:0:999999")
    assert (1, True) == (missing.exit_code, "was none" in missing.stderr)
