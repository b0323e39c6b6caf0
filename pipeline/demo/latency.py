"""Latencies of flows, from the moment a record was due to the moment a stage had decided."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

from pipeline.demo.observations import FlowEnd
from pipeline.packets.vocabulary import OutcomeKind

__all__ = ["Latencies", "LatencyFigures", "Recorder", "passed_all_stages"]

_HIGHEST_US = 3_600_000_000
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Figures of a latency, milliseconds; percentiles to three digits.

    Attributes:
        count: How many were measured.
        mean: Arithmetic mean.
        p50: Median.
        p95: 95th percentile.
        p99: 99th percentile.
        max: Longest.
    """

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float


class Recorder:
    """Counts latencies in a high dynamic range histogram: 1 us to an hour, three digits."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _HIGHEST_US, _DIGITS)
        self._count = 0
        self._total_us = 0
        self._longest_us = 0

    def add(self, latency_us: int) -> None:
        """Count one; what is below a microsecond, as clocks that are read twice give, counts so."""
        latency_us = min(max(latency_us, 1), _HIGHEST_US)
        self._histogram.record_value(latency_us)
        self._count += 1
        self._total_us += latency_us
        self._longest_us = max(self._longest_us, latency_us)

    def figures(self) -> LatencyFigures | None:
        """Return the figures so far; None without any latency."""
        if not self._count:
            return None
        p50, p95, p99 = (
            min(self._histogram.get_value_at_percentile(p), self._longest_us) / 1000
            for p in (50.0, 95.0, 99.0)
        )
        mean = self._total_us / self._count / 1000
        return LatencyFigures(self._count, mean, p50, p95, p99, self._longest_us / 1000)


def passed_all_stages(end: FlowEnd) -> bool:
    """Say whether no stage before execution sealed the flow, so that all four decided."""
    return end.stage == "execution" and end.kind is not OutcomeKind.DEAD_LETTERED


class Latencies:
    """All latencies of a run.

    The share of a stage is from the decision of the stage before it (for the first, from the
    moment the record was due) to its own: transport included, so that the shares of a flow add up
    to its end-to-end latency.

    Attributes:
        end_to_end: Of flows that all four stages decided on.
        every_flow: Of all flows, however early their fate was sealed.
        stages: Share of each stage, over all flows.
        to_fill: From due to the gateway's last record of the flow.
    """

    def __init__(self) -> None:
        self.end_to_end = Recorder()
        self.every_flow = Recorder()
        self.to_fill = Recorder()
        # Not `setdefault`: making a histogram costs more than all else here.
        self.stages: defaultdict[str, Recorder] = defaultdict(Recorder)

    def add_end(self, end: FlowEnd, intended_us: int) -> None:
        """Count the end of a flow that was due at `intended_us`."""
        if not end.trace:
            return
        latency_us = end.finished - intended_us
        self.every_flow.add(latency_us)
        if passed_all_stages(end):
            self.end_to_end.add(latency_us)
        before_us = intended_us
        for hop in end.trace:
            self.stages[hop.stage].add(hop.finished - before_us)
            before_us = hop.finished

    def add_fill(self, appended_ms: int, intended_us: int) -> None:
        """Count the last record of a flow in the fills log."""
        self.to_fill.add(appended_ms * 1000 - intended_us)

    @classmethod
    def of(
        cls,
        ends: Iterable[FlowEnd],
        final_fills_ms: Mapping[str, int],
        intended_us: Callable[[str], int | None],
    ) -> "Latencies":
        """Return the latencies of finished flows.

        Args:
            ends: Their ends.
            final_fills_ms: When the fills log had the last record of a flow, milliseconds.
            intended_us: When a flow was due; None for one that does not count.
        """
        latencies = cls()
        for end in ends:
            due_us = intended_us(end.flow_id)
            if due_us is not None:
                latencies.add_end(end, due_us)
        for flow_id, appended_ms in final_fills_ms.items():
            due_us = intended_us(flow_id)
            if due_us is not None:
                latencies.add_fill(appended_ms, due_us)
        return latencies
