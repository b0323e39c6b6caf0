"""Publishes a feed on the ingest topic, open loop: a slow broker delays nothing but itself."""

import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import sha256
from itertools import chain, islice

import msgspec
import numpy as np

from pipeline.clock import Clock, WallClock
from pipeline.errors import UsageError
from pipeline.market.faults import FaultPlan, Injector, ItemKind, SendItem
from pipeline.market.feed import Feed, MarketBar
from pipeline.market.ingest import IngestRecord, RecordMaker
from pipeline.market.outlet import Delivered, Delivery, KafkaOutlet, Outlet
from pipeline.market.schedule import Schedule, make_schedule
from pipeline.packets import codec, identity
from pipeline.packets.lanes import INGEST_TOPIC
from pipeline.packets.models import MarketData
from pipeline.settings import Settings

__all__ = ["ExpectedDeadLetter", "PublishReport", "Publisher"]

OnSent = Callable[[str, int, str], None]
OnProgress = Callable[[int, int], None]

_SECOND_US = 1_000_000
_SERVE_US = 20_000
_LEAST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.5
# Records give up by themselves after a minute; who has been stopped waits five seconds.
_FLUSH_STEP_S = 0.5
_FLUSH_STEPS = 140
_STOPPED_FLUSH_STEPS = 10


class ExpectedDeadLetter(msgspec.Struct, frozen=True, order=True):
    """A record sent on purpose that nobody can read.

    Attributes:
        partition: Of the ingest topic.
        offset: Its offset.
        kind: `poison`, `nan`, or `duplicate` of the latter.
        sha256: Of its bytes, hexadecimal.
    """

    partition: int
    offset: int
    kind: str
    sha256: str


class PublishReport(msgspec.Struct, frozen=True):
    """What was published, and how punctually.

    Attributes:
        source: What the feed is.
        bars: Bars taken from it, up to the last record sent.
        sent: Records handed to Kafka.
        delivered: Those that the broker acknowledged.
        failed: Those that it did not, or not yet.
        first_error: Why the first of them failed; empty for none.
        kinds: Records sent, by kind: bar, duplicate, out_of_order, nan, stale, poison.
        gaps: Bars left out on purpose.
        dead_letters_expected: Each record sent that nobody can read.
        start_sequence: Sequence number of each symbol's first bar.
        started_at_us: When record 0 was due, microseconds since the Unix epoch, UTC.
        duration_s: From then to the last record sent.
        records_per_second: sent / duration_s; 0 where that is too short to tell.
        late_ms_p99: Of sending after the intended time.
        late_ms_max: The latest.
        stopped: Whether it was told to stop before the end.
        rejected_rows: Rows of the source that could not be used.
        rejected: What was wrong with the first of them.
    """

    source: str
    bars: int
    sent: int
    delivered: int
    failed: int
    first_error: str
    kinds: dict[str, int]
    gaps: int
    dead_letters_expected: list[ExpectedDeadLetter]
    start_sequence: int
    started_at_us: int
    duration_s: float
    records_per_second: float
    late_ms_p99: float
    late_ms_max: float
    stopped: bool
    rejected_rows: int
    rejected: list[str]


class Publisher:
    """Sends feeds to the ingest topic.

    Args:
        settings: Broker, namespace, account, time-out and clock.
        outlet: Where records go; by default Kafka, connected here.
        clock: Wall clock that records are scheduled by.
        pause: Waits so many seconds; by default until stopped, at most.
        encode: Gives a packet its bytes; by default in our own framing.

    Raises:
        BrokerUnavailable, ConfigurationError: As `KafkaOutlet`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        outlet: Outlet | None = None,
        clock: Clock | None = None,
        pause: Callable[[float], None] | None = None,
        encode: Callable[[MarketData], bytes] = codec.encode,
    ) -> None:
        self._settings = settings
        self._encode = encode
        self._outlet = KafkaOutlet(settings) if outlet is None else outlet
        self._clock = WallClock() if clock is None else clock
        self._pause = pause

    def publish(
        self,
        feed: Feed,
        *,
        rate: float | None = None,
        speed: float | None = None,
        bars: int | None = None,
        seconds: float | None = None,
        faults: FaultPlan | None = None,
        seed: int = 1,
        start_sequence: int | None = None,
        on_sent: OnSent | None = None,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
    ) -> PublishReport:
        """Send a feed and return when all of it is delivered, or has failed.

        Record i has an intended time that depends on the schedule alone. One that is late is sent
        at once; none is skipped. Safe to run in a thread of its own; callbacks come on it.

        Args:
            feed: What to send.
            rate: Records a second; 0 or None: as fast as can be.
            speed: Instead, market seconds per second.
            bars: Most bars to take from the feed.
            seconds: Send what is due within this time.
            faults: What to spoil.
            seed: Of the faults.
            start_sequence: Sequence number of each symbol's first bar. By default 0 under the event
                clock, else the milliseconds since the Unix epoch times 1000, so that no two runs
                name the same flow.
            on_sent: Called as (flow id, intended time in microseconds since the Unix epoch, kind),
                just before a record goes out. A record that nobody can read has its flow id from
                its offset, so it is reported once delivered.
            on_progress: Called now and then as (bars taken, records sent).
            stop: Ends it early once set.

        Raises:
            BrokerUnavailable: If the producer can send no more.
            UsageError: Rate and speed together, or out of range.
        """
        schedule = make_schedule(rate, speed)
        if seconds is not None and not 0.0 < seconds < float("inf"):
            raise UsageError(f"Expected a time above 0 s, was {seconds}")
        if start_sequence is None:
            live = self._settings.clock == "wall"
            start_sequence = self._clock.now_us() // 1000 * 1000 if live else 0
        injector = Injector(faults or FaultPlan(), seed, start_sequence)
        stop = stop or threading.Event()
        pause = self._pause or _until(stop)
        run = _Run(
            outlet=self._outlet,
            clock=self._clock,
            pause=pause,
            stop=stop,
            injector=injector,
            on_sent=on_sent,
            on_progress=on_progress,
        )
        run.send_all(
            _bars(feed, bars), RecordMaker(self._settings, self._encode), schedule, seconds
        )
        return run.report(feed, start_sequence)


def _bars(feed: Feed, limit: int | None) -> Iterable[MarketBar]:
    return feed if limit is None else islice(feed, limit)


def _until(stop: threading.Event) -> Callable[[float], None]:
    def pause(seconds: float) -> None:
        stop.wait(seconds)

    return pause


class _Run:
    """One publication: what was sent, and what became of it."""

    def __init__(
        self,
        *,
        outlet: Outlet,
        clock: Clock,
        pause: Callable[[float], None],
        stop: threading.Event,
        injector: Injector,
        on_sent: OnSent | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._outlet = outlet
        self._clock = clock
        self._pause = pause
        self._stop = stop
        self._injector = injector
        self._on_sent = on_sent
        self._on_progress = on_progress
        self._kinds: Counter[str] = Counter()
        self._late_us = array("q")
        self._delivered = 0
        self._first_error = ""
        self._taken = (0, 0)
        self._unreadable: list[ExpectedDeadLetter] = []
        self._start_us = 0
        self._last_us = 0
        self._served_us = 0

    def send_all(
        self,
        bars: Iterable[MarketBar],
        maker: RecordMaker,
        schedule: Schedule | None,
        seconds: float | None,
    ) -> None:
        items = _started(self._injector.items(bars))
        limit_us = None if seconds is None else round(seconds * _SECOND_US)
        self._start_us = self._last_us = self._served_us = self._clock.now_us()
        for index, item in enumerate(items):
            due_us = self._clock.now_us() - self._start_us
            if schedule is not None:
                due_us = schedule.due_us(index, item.market_bar.time_us)
            if limit_us is not None and due_us >= limit_us:
                break
            self._wait(self._start_us + due_us)
            if self._stop.is_set():
                break
            self._send(item, maker, self._start_us + due_us)
        else:
            self._taken = self._injector.bars, self._injector.gaps
        self._flush()

    def _wait(self, intended_us: int) -> None:
        while not self._stop.is_set():
            now_us = self._clock.now_us()
            if now_us - self._served_us >= _SERVE_US:
                self._serve(now_us)
            left_s = (intended_us - now_us) / _SECOND_US
            if left_s <= 0.0:
                return
            # Waking for each of thousands of records a second would cost more than sending them.
            self._pause(min(max(left_s, _LEAST_PAUSE_S), _LONGEST_PAUSE_S))

    def _serve(self, now_us: int) -> None:
        self._served_us = now_us
        self._outlet.serve()
        if self._on_progress is not None:
            self._on_progress(self._taken[0], len(self._late_us))

    def _send(self, item: SendItem, maker: RecordMaker, intended_us: int) -> None:
        now_us = self._clock.now_us()
        record = maker.make(item, now_us)
        delivered: Delivered = self._count
        if not record.flow_id:
            delivered = partial(self._count_unreadable, record, item.kind, intended_us)
        elif self._on_sent is not None:
            self._on_sent(record.flow_id, intended_us, item.kind.value)
        self._outlet.send(record, delivered)
        self._kinds[item.kind.value] += 1
        # What the injector takes beyond the last record sent does not count.
        self._taken = self._injector.bars, self._injector.gaps
        self._late_us.append(now_us - intended_us)
        self._last_us = now_us

    def _count(self, delivery: Delivery) -> None:
        if delivery.error:
            self._first_error = self._first_error or delivery.error
        else:
            self._delivered += 1

    def _count_unreadable(
        self,
        record: IngestRecord,
        kind: ItemKind,
        intended_us: int,
        delivery: Delivery,
    ) -> None:
        self._count(delivery)
        error, partition, offset = delivery
        if error:
            return
        digest = sha256(record.value).hexdigest()
        self._unreadable.append(ExpectedDeadLetter(partition, offset, kind.value, digest))
        if self._on_sent is not None:
            flow_id = identity.unreadable_flow_id(INGEST_TOPIC, partition, offset)
            self._on_sent(flow_id, intended_us, kind.value)

    def _flush(self) -> None:
        for step in range(_FLUSH_STEPS):
            waited_enough = self._stop.is_set() and step >= _STOPPED_FLUSH_STEPS
            if waited_enough or not self._outlet.flush(_FLUSH_STEP_S):
                break
        if self._on_progress is not None:
            self._on_progress(self._taken[0], len(self._late_us))

    def report(self, feed: Feed, start_sequence: int) -> PublishReport:
        late_ms = np.asarray(self._late_us, dtype=np.float64) / 1000.0
        sent = len(self._late_us)
        bars, gaps = self._taken
        duration_s = (self._last_us - self._start_us) / _SECOND_US
        return PublishReport(
            source=feed.label,
            bars=bars,
            sent=sent,
            delivered=self._delivered,
            failed=sent - self._delivered,
            first_error=self._first_error,
            kinds={kind.value: self._kinds[kind.value] for kind in ItemKind},
            gaps=gaps,
            dead_letters_expected=sorted(self._unreadable),
            start_sequence=start_sequence,
            started_at_us=self._start_us,
            duration_s=duration_s,
            records_per_second=sent / duration_s if duration_s > 0.0 else 0.0,
            late_ms_p99=float(np.percentile(late_ms, 99)) if sent else 0.0,
            late_ms_max=float(late_ms.max()) if sent else 0.0,
            stopped=self._stop.is_set(),
            rejected_rows=feed.rejections.count,
            rejected=list(feed.rejections.listed),
        )


def _started(items: Iterator[SendItem]) -> Iterator[SendItem]:
    """Return the items, the first already made, so that opening a source makes no record late."""
    first = list(islice(items, 1))
    return chain(first, items)
