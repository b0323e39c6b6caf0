import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest

from pipeline.errors import PoisonError, UsageError
from pipeline.market import FaultPlan, MarketBar, Publisher, Rejections
from pipeline.market.ingest import IngestRecord
from pipeline.market.outlet import Delivered, Delivery
from pipeline.packets import codec, identity
from pipeline.packets.models import Bar, MarketData
from pipeline.settings import Settings
from pipeline.testing import ManualClock

START_US = 1_700_000_000_123_456
SECOND_US = 1_000_000


@dataclass
class _ListFeed:
    """Bars from a list."""

    items: list[MarketBar]
    label: str = "list"
    expected_bars: int | None = None
    rejections: Rejections = field(default_factory=Rejections)

    def __iter__(self) -> Iterator[MarketBar]:
        return iter(self.items)


@dataclass
class _MemoryOutlet:
    """Keeps records, one partition per key, and delivers them when served."""

    clock: ManualClock
    send_us: Callable[[int], int] = lambda _: 0
    failing: set[int] = field(default_factory=set)
    sent: list[tuple[int, IngestRecord]] = field(default_factory=list)
    waiting: list[tuple[Delivered, Delivery]] = field(default_factory=list)
    logs: dict[bytes, list[bytes]] = field(default_factory=dict)

    def send(self, record: IngestRecord, delivered: Delivered) -> None:
        index = len(self.sent)
        self.sent.append((self.clock.now_us(), record))
        self.clock.advance(us=self.send_us(index))
        if index in self.failing:
            self.waiting.append((delivered, Delivery("broker is gone", -1, -1)))
            return
        log = self.logs.setdefault(record.key, [])
        partition = list(self.logs).index(record.key)
        self.waiting.append((delivered, Delivery("", partition, len(log))))
        log.append(record.value)

    def serve(self) -> None:
        waiting, self.waiting = self.waiting, []
        for delivered, delivery in waiting:
            delivered(delivery)

    def flush(self, timeout_s: float) -> int:
        del timeout_s
        self.serve()
        return 0


@dataclass
class _Rig:
    """A publisher whose time is made by hand: waiting moves the clock."""

    settings: Settings = field(default_factory=Settings)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START_US))
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outlet = _MemoryOutlet(self.clock)
        self.publisher = Publisher(
            self.settings, outlet=self.outlet, clock=self.clock, pause=self._pause
        )

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(us=round(seconds * SECOND_US))

    def packets(self) -> list[MarketData]:
        return [codec.decode_as(record.value, MarketData) for _, record in self.outlet.sent]


def _feed(count: int, symbols: int = 2) -> _ListFeed:
    bar = Bar(10.0, 11.0, 9.0, 10.5, 100.0, 60)
    start = 1_330_000_000_000_000
    return _ListFeed(
        [
            MarketBar(f"S{i % symbols}", start + i // symbols * 60 * SECOND_US, bar)
            for i in range(count)
        ]
    )


def test_records_go_out_on_schedule() -> None:
    """At 100 a second record i goes out i times 10 ms after the start."""
    rig = _Rig()
    report = rig.publisher.publish(_feed(50), rate=100.0)
    assert [time - START_US for time, _ in rig.outlet.sent] == [i * 10_000 for i in range(50)]
    assert (report.bars, report.sent, report.delivered, report.failed) == (50, 50, 50, 0)
    assert (report.late_ms_max, report.late_ms_p99) == (0.0, 0.0)
    assert report.started_at_us == START_US
    assert report.duration_s == 0.49


def test_late_records_are_sent_at_once_and_none_is_skipped() -> None:
    """After a stall of 100 ms the backlog goes out at once, then the schedule is met again."""
    rig = _Rig()
    rig.outlet.send_us = lambda index: 100_000 if index == 5 else 0
    report = rig.publisher.publish(_feed(40), rate=100.0)
    times = [time - START_US for time, _ in rig.outlet.sent]
    assert times[6:16] == [150_000] * 10
    assert times[16:] == [i * 10_000 for i in range(16, 40)]
    assert report.sent == 40
    assert report.late_ms_max == 90.0
    assert 80.0 < report.late_ms_p99 <= 90.0


def test_intended_times_do_not_move_with_lateness() -> None:
    """`on_sent` is told the schedule's time of each flow, however late it went out."""
    rig = _Rig()
    rig.outlet.send_us = lambda _: 50_000
    told: list[tuple[str, int, str]] = []
    rig.publisher.publish(_feed(20), rate=100.0, on_sent=lambda *sent: told.append(sent))
    flows = [packet.envelope.flow_id for packet in rig.packets()]
    assert told == [(flow, START_US + i * 10_000, "bar") for i, flow in enumerate(flows)]


def test_on_sent_comes_before_the_record_goes_out() -> None:
    """Who counts latency knows a flow before anybody can answer it."""
    rig = _Rig()
    counts: list[int] = []
    rig.publisher.publish(
        _feed(3), rate=1.0, on_sent=lambda *_: counts.append(len(rig.outlet.sent))
    )
    assert counts == [0, 1, 2]


def test_waits_are_neither_idle_spins_nor_deaf() -> None:
    """No pause is under a millisecond, none so long that a stop would go unheard."""
    rig = _Rig()
    rig.publisher.publish(_feed(40), rate=4000.0)
    rig.publisher.publish(_feed(3), rate=0.5)
    assert min(rig.pauses) >= 0.001
    assert max(rig.pauses) <= 0.5


def test_speed_follows_the_bars_times() -> None:
    """At speed 60 minute bars go out a second apart."""
    rig = _Rig()
    rig.publisher.publish(_feed(6), speed=60.0)
    times = [time - START_US for time, _ in rig.outlet.sent]
    assert times == [0, 0, SECOND_US, SECOND_US, 2 * SECOND_US, 2 * SECOND_US]


def test_without_a_rate_nothing_waits() -> None:
    """Rate 0 sends all at once; nothing is late, for nothing was due."""
    rig = _Rig()
    rig.outlet.send_us = lambda _: 1000
    report = rig.publisher.publish(_feed(50), rate=0.0)
    assert rig.pauses == []
    assert (report.sent, report.late_ms_max) == (50, 0.0)


def test_bars_bound_what_is_taken() -> None:
    """`bars` counts bars of the feed."""
    report = _Rig().publisher.publish(_feed(50), rate=100.0, bars=7)
    assert (report.bars, report.sent) == (7, 7)


@pytest.mark.parametrize("rate", [50.0, 0.0])
def test_seconds_bound_what_is_due(rate: float) -> None:
    """What is due within the time is sent, also when it goes out late."""
    rig = _Rig()
    rig.outlet.send_us = lambda _: 30_000
    report = rig.publisher.publish(_feed(500), rate=rate, seconds=2.0)
    assert report.sent == report.bars == (100 if rate else 67)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_times_are_refused(seconds: float) -> None:
    """`seconds` is above 0 and finite."""
    with pytest.raises(UsageError, match="Expected a time above 0"):
        _Rig().publisher.publish(_feed(1), seconds=seconds)


def test_stop_ends_early_and_waits_for_what_is_under_way() -> None:
    """Once stopped nothing more is sent, and what was sent is still counted."""
    rig = _Rig()
    stop = threading.Event()

    def stop_after_ten(*_: object) -> None:
        if len(rig.outlet.sent) == 9:
            stop.set()

    report = rig.publisher.publish(_feed(50), rate=100.0, on_sent=stop_after_ten, stop=stop)
    assert report.stopped
    assert report.sent == report.delivered == report.bars == 10


def test_failed_deliveries_are_counted_with_their_reason() -> None:
    """Records that the broker did not take are failed, not delivered."""
    rig = _Rig()
    rig.outlet.failing = {3, 4}
    report = rig.publisher.publish(_feed(10), rate=100.0)
    assert (report.sent, report.delivered, report.failed) == (10, 8, 2)
    assert report.first_error == "broker is gone"


def test_live_runs_do_not_repeat_flow_ids() -> None:
    """Sequences begin at the milliseconds since 1970 times 1000, so later runs begin later."""
    rig = _Rig()
    first = rig.publisher.publish(_feed(10), rate=1000.0)
    second = rig.publisher.publish(_feed(10), rate=1000.0)
    assert first.start_sequence == START_US // 1000 * 1000
    assert second.start_sequence > first.start_sequence
    flows = {packet.envelope.flow_id for packet in rig.packets()}
    assert len(flows) == 20


def test_sequences_count_per_symbol_from_the_start_given() -> None:
    """Each symbol counts for itself."""
    rig = _Rig()
    rig.publisher.publish(_feed(6), rate=100.0, start_sequence=40)
    found = [(p.envelope.symbol, p.envelope.sequence) for p in rig.packets()]
    assert found == [("S0", 40), ("S1", 40), ("S0", 41), ("S1", 41), ("S0", 42), ("S1", 42)]


def test_event_clock_makes_the_same_bytes_at_any_time() -> None:
    """Under the event clock two runs at different hours and rates send the same bytes."""
    plan = FaultPlan.parse("duplicates=0.1,out_of_order=0.1,nan=0.1,stale=0.1,poison=0.1,gaps=0.1")
    values = []
    for start_us, rate in ((START_US, 100.0), (START_US + 99 * SECOND_US, 0.0)):
        rig = _Rig(Settings(clock="event"), ManualClock(start_us))
        report = rig.publisher.publish(_feed(400), rate=rate, faults=plan)
        assert report.start_sequence == 0
        values.append([record.value for _, record in rig.outlet.sent])
    assert values[0] == values[1]


def test_report_counts_each_fault() -> None:
    """Kinds and gaps of the report add up to what was taken and sent."""
    rig = _Rig()
    plan = FaultPlan.parse("duplicates=0.1,out_of_order=0.1,nan=0.1,stale=0.1,poison=0.1,gaps=0.1")
    report = rig.publisher.publish(_feed(1000), rate=1000.0, faults=plan)
    kinds = report.kinds
    assert all(kinds.values())
    assert sum(kinds.values()) == report.sent == report.delivered == len(rig.outlet.sent)
    assert report.bars == 1000
    assert report.sent - kinds["duplicate"] - kinds["poison"] == 1000 - report.gaps


def test_report_names_every_record_that_cannot_be_read() -> None:
    """Coordinates and sha256 of poison and NaN records are those of the unreadable ones sent."""
    rig = _Rig()
    plan = FaultPlan.parse("nan=0.1,poison=0.1,duplicates=0.2")
    told: dict[str, str] = {}
    report = rig.publisher.publish(
        _feed(600),
        rate=1000.0,
        faults=plan,
        on_sent=lambda flow, _, kind: told.update({flow: kind}),
    )
    unreadable = {
        (partition, offset): sha256(value).hexdigest()
        for partition, log in enumerate(rig.outlet.logs.values())
        for offset, value in enumerate(log)
        if not _readable(value)
    }
    expected = {(dead.partition, dead.offset): dead.sha256 for dead in report.dead_letters_expected}
    assert expected == unreadable
    assert {dead.kind for dead in report.dead_letters_expected} == {"nan", "poison", "duplicate"}
    flows = [identity.unreadable_flow_id("cascade.market", *place) for place in unreadable]
    assert all(told[flow] != "bar" for flow in flows)


def _readable(value: bytes) -> bool:
    try:
        codec.decode(value)
    except PoisonError:
        return False
    return True


def test_report_carries_what_the_source_left_out() -> None:
    """Rows that were no bars are in the report."""
    source = _feed(3)
    source.rejections.add("Expected a number, was 'x', at a.csv row 3, column open")
    report = _Rig().publisher.publish(source, rate=10.0)
    assert report.rejected_rows == 1
    assert report.rejected == source.rejections.listed


def test_progress_ends_with_the_whole() -> None:
    """The last progress report counts everything."""
    seen: list[Any] = []
    _Rig().publisher.publish(_feed(30), rate=100.0, on_progress=lambda *at: seen.append(at))
    assert seen[-1] == (30, 30)
    assert len(seen) > 2


def test_empty_feed_is_published_too() -> None:
    """Nothing to send is no error."""
    report = _Rig().publisher.publish(_feed(0), rate=100.0)
    assert (report.sent, report.late_ms_max, report.records_per_second) == (0, 0.0, 0.0)


def test_bars_left_out_at_the_end_count() -> None:
    """Where gaps swallow the last bars of a feed, they are in the report all the same."""
    report = _Rig().publisher.publish(_feed(30), rate=100.0, faults=FaultPlan({"gaps": 1.0}))
    assert (report.bars, report.gaps, report.sent) == (30, 30, 0)
