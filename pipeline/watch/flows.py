"""What is known of the packets that ended: counts by second, figures of their times, traces."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.stages.fates import Fate
from pipeline.watch.latency import Buckets, LatencyFigures, Recorder
from pipeline.watch.ring import Ring
from pipeline.watch.traces import PacketTrace, TraceSource, flow_of

__all__ = ["DECIDED", "END_TO_END", "NETWORK", "RECORDED", "FlowCounts", "Flows", "part"]

END_TO_END: Final = "end_to_end"
"""Column of the latency of every packet."""

DECIDED: Final = "decided"
"""Column of the latency of packets that all their systems decided on."""

RECORDED: Final = "recorded"
"""Column of the time from acceptance until the broker had the record of the packet's end."""

NETWORK: Final = "network"
"""Column of the part of the latency between the systems."""

_PARTS = ("total", "queue_wait", "processing", "started")
_ROWS = 32_768
_LONGEST_S = 3600
_US = 1_000_000


def part(system: str, name: str) -> str:
    """Return the column of a system's part of the latency.

    Args:
        system: The system.
        name: broker, total, queue_wait, processing or started.
    """
    return f"{system}.{name}"


@dataclass(slots=True)
class FlowCounts:
    """Counts of packets that ended.

    Attributes:
        ended: How many.
        failed: Those that failed.
        retries: Retries of all of them.
        outcomes: How many by outcome; empty name for packets that are not the cascade's.
        sealed: How many by the system that sealed their fate, and outcome.
        worked: How many each system decided on.
        failed_at: How many failed at each system.
    """

    ended: int = 0
    failed: int = 0
    retries: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    sealed: Counter[tuple[str, str]] = field(default_factory=Counter)
    worked: Counter[str] = field(default_factory=Counter)
    failed_at: Counter[str] = field(default_factory=Counter)

    def take(self, trace: PacketTrace) -> None:
        """Count a packet."""
        self.ended += 1
        self.failed += not trace.success
        self.retries += trace.retries
        self.outcomes[trace.outcome] += 1
        self.sealed[trace.sealed_by, trace.outcome] += 1
        for each in trace.systems:
            if each.worked:
                self.worked[each.system] += 1
                if each.success is False:
                    self.failed_at[each.system] += 1

    def add(self, other: "FlowCounts") -> None:
        """Add the counts of another stretch of time."""
        self.ended += other.ended
        self.failed += other.failed
        self.retries += other.retries
        self.outcomes.update(other.outcomes)
        self.sealed.update(other.sealed)
        self.worked.update(other.worked)
        self.failed_at.update(other.failed_at)


class Flows:
    """Keeps what ended: traces of the last `history_size` packets, times of the last 32,768.

    A packet counts once, however many tell of its end; the cascade's own trace replaces one that
    somebody reported. A second packet under a sequence number that its source used before is one
    more packet, which failed.

    Args:
        history_size: Most traces.
        since_us: Since when ends are watched, microseconds since the Unix epoch.

    Attributes:
        ended: Packets that ended.
        failed: Those that failed.
        repeated: Ends that were told of again.
        ring: Times of the last packets, milliseconds, see `part`.
        whole: Counts of all of them.
        buckets: Latencies of all of them by bucket, by system and END_TO_END.
    """

    def __init__(self, history_size: int, since_us: int) -> None:
        self._history_size = history_size
        self._since_us = since_us
        self._traces: OrderedDict[str, PacketTrace] = OrderedDict()
        self._seconds: deque[tuple[int, FlowCounts]] = deque()
        self._systems: dict[str, None] = {}
        self._columns: dict[tuple[tuple[str, bool, bool], ...], NDArray[np.intp]] = {}
        self._recorders = {END_TO_END: Recorder(), DECIDED: Recorder()}
        self.ring = Ring(_ROWS)
        self.whole = FlowCounts()
        self.buckets = {END_TO_END: Buckets()}
        self.ended = 0
        self.failed = 0
        self.repeated = 0

    def take(self, trace: PacketTrace, now_us: int) -> bool:
        """Take a packet that ended; return whether it counts, as it does the first time only.

        Args:
            trace: Its trace.
            now_us: Now, microseconds since the Unix epoch: a packet that claims to end later, by a
                clock that is wrong, ends now.
        """
        known = self._traces.get(trace.flow_id)
        if known is not None and Fate.DUPLICATE not in trace.reasons:
            self.repeated += known.source is trace.source
            if known.source is TraceSource.MANUAL and trace.source is TraceSource.CASCADE:
                self._traces[trace.flow_id] = trace
            return False
        if known is None:
            self._traces[trace.flow_id] = trace
        if len(self._traces) > self._history_size:
            self._traces.popitem(last=False)
        self.ended += 1
        self.failed += not trace.success
        self.whole.take(trace)
        if trace.ended is not None:
            ended_us = min(trace.ended, now_us)
            self._since_us = min(self._since_us, ended_us)
            self._second(ended_us // _US).take(trace)
            self._add_row(trace, ended_us)
        return True

    def trace(self, packet_id: str) -> PacketTrace | None:
        """Return the trace of a packet that ended; None where it is not known, or not any more."""
        return self._traces.get(flow_of(packet_id))

    def latest(self, count: int) -> list[PacketTrace]:
        """Return the last traces, newest first."""
        newest = reversed(self._traces.values())
        return [trace for trace, _ in zip(newest, range(count), strict=False)]

    def counts(self, now_us: int, window_s: float) -> FlowCounts:
        """Return the counts of the last seconds of the clock.

        The second that runs is left out, and the one before it for half a second: not all that
        ended in it is known yet. The second in which watching began is not: what ended in it counts
        no less for the part that nobody watched.
        """
        found = FlowCounts()
        for _, counts in self._within(*_span(now_us, window_s)):
            found.add(counts)
        return found

    def failures(self, now_us: int, window_s: float) -> tuple[int, int]:
        """Return (packets that failed, packets that ended), as `counts` does."""
        within = [counts for _, counts in self._within(*_span(now_us, window_s))]
        return sum(each.failed for each in within), sum(each.ended for each in within)

    def per_second(self, now_us: int, window_s: float) -> NDArray[np.float64]:
        """Return how many packets ended without a failure in each of the last full seconds.

        There is none before the first second that was watched from its beginning to its end.
        """
        first, last = _span(now_us, window_s)
        begun = -(-self._since_us // _US)
        first = min(last, max(begun, first))
        found = np.zeros(last - first)
        for second, counts in self._within(first, last):
            found[second - first] = counts.ended - counts.failed
        return found

    def values(self, column: str, now_us: int, window_s: float) -> NDArray[np.float64]:
        """Return the times in a column, milliseconds, of the packets that ended lately."""
        return self.ring.values(column, now_us - int(window_s * _US))

    def mean_waiting(self, system: str, now_us: int, window_s: float) -> float | None:
        """Return how many packets waited at a system on average, by Little's law.

        The sum of the waiting times of all packets that ended in the window, over its length: exact
        for those, and blind for packets that do not end, see `pipeline.watch.lag` for these.
        """
        span_s = self.span_s(now_us, window_s)
        waits_ms = self.values(part(system, "queue_wait"), now_us, window_s)
        return float(waits_ms.sum()) / 1000 / span_s if span_s > 0.0 and len(waits_ms) else None

    def busy_share(self, system: str, now_us: int, window_s: float) -> float | None:
        """Return the share of the window in which a system decided, 0 to 1.

        Packets of one round are decided together, so it is the length of the union of all their
        intervals. Several workers of a system count as one that is busy while any of them is.
        """
        span_s = self.span_s(now_us, window_s)
        since_us = now_us - int(window_s * _US)
        columns = (part(system, "started"), part(system, "processing"))
        found = self.ring.rows(columns, since_us)
        if not found.shape[1] or span_s <= 0.0:
            return None
        starts, took_ms = found
        return min(1.0, _union(starts, starts + took_ms * 1000) / _US / span_s)

    def span_s(self, now_us: int, window_s: float) -> float:
        """Return for how much of a window ends have been watched, seconds."""
        return min(window_s, max(0.0, (now_us - self._since_us) / _US))

    def figures(self, column: str) -> LatencyFigures | None:
        """Return the figures of END_TO_END or DECIDED since the beginning; None without any."""
        return self._recorders[column].figures()

    def systems(self) -> list[str]:
        """Return the systems that packets went through, in the order in which they were met."""
        return list(self._systems)

    def _within(self, first: int, last: int) -> Iterator[tuple[int, FlowCounts]]:
        for second, counts in reversed(self._seconds):
            if second < first:
                return
            if second < last:
                yield second, counts

    def _second(self, second: int) -> FlowCounts:
        for known, counts in reversed(self._seconds):
            if known == second:
                return counts
            if known < second:
                break
        counts = FlowCounts()
        self._seconds.append((second, counts))
        if len(self._seconds) > 1 and self._seconds[-2][0] > second:  # ends come about in order
            self._seconds = deque(sorted(self._seconds, key=lambda each: each[0]))
        while self._seconds[0][0] < self._seconds[-1][0] - _LONGEST_S:
            self._seconds.popleft()
        return counts

    def _add_row(self, trace: PacketTrace, ended_us: int) -> None:
        """Add the packet's times to the ring, and to the histograms of the whole."""
        latency_us = max(0, ended_us - trace.began)
        self._recorders[END_TO_END].add(latency_us)
        self.buckets[END_TO_END].add(latency_us)
        if trace.decided:
            self._recorders[DECIDED].add(latency_us)
        latency_ms, network_ms = latency_us / 1000, 0.0
        recorded_us = np.nan if trace.recorded is None else trace.recorded - trace.began
        decided_ms = latency_ms if trace.decided else np.nan
        values = [latency_ms, decided_ms, recorded_us / 1000, np.nan]
        shape = []
        for each in trace.systems:
            broker_ms, total_ms = each.broker_ms, each.total_ms
            worked = each.worked and total_ms is not None
            shape.append((each.system, worked, broker_ms is not None))
            if broker_ms is not None:
                network_ms += broker_ms
                values.append(broker_ms)
            if worked:
                self._buckets_of(each.system).add(round((total_ms or 0.0) * 1000))
                processing_ms = each.processing_ms or 0.0
                values += (total_ms or 0.0, each.queue_wait_ms, processing_ms, each.started)
        values[3] = network_ms
        self.ring.put(ended_us, self._columns_of(tuple(shape)), values)

    def _buckets_of(self, system: str) -> Buckets:
        known = self.buckets.get(system)
        if known is None:
            known = self.buckets[system] = Buckets()
        return known

    def _columns_of(self, shape: tuple[tuple[str, bool, bool], ...]) -> NDArray[np.intp]:
        """Return the columns of a row; packets take few ways, so they are looked up once."""
        known = self._columns.get(shape)
        if known is None:
            names = [END_TO_END, DECIDED, RECORDED, NETWORK]
            for system, worked, broker in shape:
                self._systems.setdefault(system)
                parts = ("broker",) * broker + _PARTS * worked
                names += (part(system, each) for each in parts)
            known = self._columns[shape] = self.ring.columns(names)
        return known


def _span(now_us: int, window_s: float) -> tuple[int, int]:
    """Return (first second of a window, the one after its last), seconds since the Unix epoch."""
    last = (now_us - _US // 2) // _US
    return last - max(1, round(window_s)), last


def _union(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> float:
    """Return the length of the union of intervals."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    covered_to = np.concatenate(([starts[0]], ends[:-1]))
    return float(np.maximum(0.0, ends - np.maximum(starts, covered_to)).sum())
