"""The monitor without threads, Kafka and clock: takes what is observed, says what follows."""

import math
import uuid
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.packets.events import Alert, CoordinationMessage
from pipeline.settings import Settings
from pipeline.watch.breakers import BreakerWatch
from pipeline.watch.coordination import CoordinationWatch
from pipeline.watch.defaults import OLDEST_OPEN_FLOW, default_thresholds
from pipeline.watch.flows import DECIDED, END_TO_END, NETWORK, RECORDED, Flows, part
from pipeline.watch.guard import TRENDS, Measured, ThresholdGuard
from pipeline.watch.host import HostFigures
from pipeline.watch.lag import SystemLag
from pipeline.watch.latency import figures_of
from pipeline.watch.metrics import (
    CascadePerformanceReport,
    ErrorFigures,
    LatencyMetrics,
    RealTimeMetrics,
    SystemLatency,
    ThroughputFigures,
)
from pipeline.watch.observations import FlowEnd
from pipeline.watch.offsets import Backlog
from pipeline.watch.reporting import latency_verdict, performance_score, recommendations
from pipeline.watch.ring import Ring
from pipeline.watch.thresholds import (
    CASCADE,
    MetricType,
    PerformanceThreshold,
    evaluate,
)
from pipeline.watch.traces import PacketTrace, trace_of
from pipeline.watch.tracking import Tracker
from pipeline.watch.trends import Trend, trend_of

__all__ = ["PerformanceCore"]

Floats = NDArray[np.float64]

_US: Final = 1_000_000
_NOW_S = 1.0
_BUSY_S = 2.0
# Offsets older than this say nothing of now.
_BACKLOG_S = 10.0
_OFFERED_ROWS = 8192
_OFFERED_EVERY_US = 500_000
_LEAST_OFFERED_S = 2.5
# Throughput counts against its limits only where more than this share of what is offered does not
# get through.
_SHORT = 0.1
_GAUGES = {
    MetricType.QUEUE_DEPTH: "queue_depth",
    MetricType.SYSTEM_LOAD: "system_load",
    MetricType.MEMORY_USAGE: "memory_usage",
    MetricType.CPU_USAGE: "cpu_usage",
}


class PerformanceCore:
    """Everything that the monitor knows. Not thread-safe.

    Args:
        settings: Time budgets of the stages.
        target_latency_ms: Target of the end-to-end latency, milliseconds.
        history_size: Most traces, samples and ended alerts that are kept.
        now_us: Now, microseconds since the Unix epoch, UTC.
    """

    def __init__(
        self, settings: Settings, target_latency_ms: float, history_size: int, now_us: int
    ) -> None:
        self.target_latency_ms = target_latency_ms
        self.flows = Flows(history_size, now_us)
        self.tracker = Tracker(history_size)
        self.breakers = BreakerWatch()
        self.coordination = CoordinationWatch()
        self.samples = Ring(history_size)
        self.host = HostFigures(None, None, None, {})
        self._now_us = now_us
        self._started = 0
        self._offered = Ring(_OFFERED_ROWS)
        self._offered_us = 0
        self._backlog: Backlog | None = None
        self._backlog_us = 0
        self._sampled = (now_us, 0, 0, 0)
        self.guard = ThresholdGuard(self._measured, history_size)
        for threshold in default_thresholds(settings, target_latency_ms):
            self.guard.set(threshold, now_us)

    # -- what is observed ------------------------------------------------------------------------

    def take_end(self, end: FlowEnd, now_us: int) -> None:
        """Take a record of the execution log."""
        self.breakers.take(end.stage, end.reasons, end.finished)
        self.flows.take(trace_of(end), now_us)

    def take_trace(self, trace: PacketTrace, now_us: int) -> None:
        """Take a packet whose end was reported by hand."""
        self.flows.take(trace, now_us)

    def start(self, packet_id: str, now_us: int) -> None:
        """Take the start of a packet that is reported by hand."""
        self.tracker.start(packet_id, now_us)
        self._started += 1

    def take_backlog(self, backlog: Backlog, now_us: int) -> None:
        """Take what waits before each system."""
        self._backlog, self._backlog_us = backlog, now_us

    def take_message(self, message: CoordinationMessage, appended_ms: int) -> None:
        """Take a message on the coordination topic."""
        self.coordination.take(message, appended_ms)

    def restore(self, time_us: int, values: Mapping[str, float]) -> None:
        """Take a sample that was taken before this monitor began; oldest first, before any other.

        Args:
            time_us: When, microseconds since the Unix epoch.
            values: Numbers by the name of the sample.
        """
        self.samples.append(time_us, values)

    # -- sampling --------------------------------------------------------------------------------

    def sample(self, now_us: int, host: HostFigures) -> list[Alert]:
        """Take a sample, hold it against the thresholds; return what is to be told of."""
        self._now_us = now_us
        announced = self.coordination.loads(now_us)
        busy = {
            name: share
            for name in self.flows.systems()
            if (share := self.flows.busy_share(name, now_us, _BUSY_S)) is not None
        }
        loads = {**busy, **announced}
        self.host = HostFigures(host.cpu_usage, host.memory_usage, host.run_queue_load, loads)
        self._note_offered(now_us)
        self._add_sample(now_us)
        return self.guard.judge(now_us)

    def _add_sample(self, now_us: int) -> None:
        before_us, appended, ended, failed = self._sampled
        flows, rows = self.flows, self.flows.ring.appended
        self._sampled = (now_us, rows, flows.ended, flows.failed)
        values: dict[str, float | None] = {
            "cpu_usage": self.host.cpu_usage,
            "memory_usage": self.host.memory_usage,
            "system_load": self.host.system_load,
            OLDEST_OPEN_FLOW: self._oldest_open_ms(now_us),
        }
        latest = flows.ring.latest(END_TO_END, rows - appended)
        if len(latest):
            values["latency_ms"] = float(np.median(latest))
        new, span_s = flows.ended - ended, (now_us - before_us) / _US
        if new:
            values["failure_rate"] = (flows.failed - failed) / new
        if span_s > 0.0 and (new or flows.ended):
            values["packets_per_second"] = (new - (flows.failed - failed)) / span_s
        depths = self._depths(now_us, _NOW_S)
        known = {name: depth for name, depth in depths.items() if depth is not None}
        values |= {part(name, "queue_depth"): depth for name, depth in known.items()}
        values |= {part(name, "system_load"): load for name, load in self.host.system_loads.items()}
        values["queue_depth"] = max(known.values()) if known else None
        self.samples.append(
            now_us, {name: value for name, value in values.items() if value is not None}
        )

    def _note_offered(self, now_us: int) -> None:
        if now_us - self._offered_us < _OFFERED_EVERY_US:
            return
        self._offered_us = now_us
        row = {"started": float(self._started)} if self._started else {}
        if (backlog := self._fresh_backlog(now_us)) is not None:
            row["offered"] = float(backlog.offered)
        self._offered.append(now_us, row)

    # -- what is held against thresholds ---------------------------------------------------------

    def _measured(self, threshold: PerformanceThreshold, now_us: int) -> Measured:
        """Return what is held against the limits of a threshold."""
        metric, window_s = threshold.metric_type, threshold.window_size
        if metric is MetricType.ERROR_RATE:
            bad, whole = self.flows.failures(now_us, window_s)
            if threshold.subject != CASCADE:
                counts = self.flows.counts(now_us, window_s)
                whole = counts.worked[threshold.subject]
                bad = counts.failed_at[threshold.subject]
            return Measured(bad / whole if whole >= threshold.minimum_samples else None)
        values = self._values(threshold, now_us)
        if len(values) < threshold.minimum_samples:
            return Measured(None)
        value = evaluate(threshold.evaluation_method, values)
        if metric is not MetricType.THROUGHPUT:
            return Measured(value)
        offered = self.offered_per_second(now_us, window_s)
        if value is None or offered is None or (offered == 0.0 and value == 0.0):
            return Measured(None)
        return Measured(value, exempt=value >= offered * (1.0 - _SHORT))

    def _values(self, threshold: PerformanceThreshold, now_us: int) -> Floats:
        metric, subject, window_s = (
            threshold.metric_type, threshold.subject, threshold.window_size,
        )  # fmt: skip
        if metric is MetricType.THROUGHPUT:
            # No further back than what was offered is known: both must be of the same time.
            watched_s = self._watched_s(now_us, window_s)
            known = watched_s >= min(_LEAST_OFFERED_S, window_s)
            return self.flows.per_second(now_us, watched_s) if known else np.empty(0)
        since_us = now_us - int(window_s * _US)
        if metric is MetricType.LATENCY:
            if subject == OLDEST_OPEN_FLOW:
                return self.samples.values(OLDEST_OPEN_FLOW, since_us)
            column = END_TO_END if subject == CASCADE else part(subject, "total")
            return self.flows.ring.values(column, since_us)
        gauge = _GAUGES[metric]
        return self.samples.values(gauge if subject == CASCADE else part(subject, gauge), since_us)

    # -- figures ---------------------------------------------------------------------------------

    def metrics(
        self, now_us: int, window_s: float, *, connected: bool, undecodable: int = 0
    ) -> RealTimeMetrics:
        """Return the figures of the window that ends now."""
        latency = self._latency(now_us, window_s)
        flows = self.flows
        return RealTimeMetrics(
            timestamp=now_us,
            window_s=window_s,
            connected=connected,
            packets=flows.ended,
            success_rate=1.0 - flows.failed / flows.ended if flows.ended else None,
            latency_target_ms=self.target_latency_ms,
            latency_verdict=latency_verdict(latency.end_to_end_ms, self.target_latency_ms),
            latency=latency,
            throughput=self._throughput(now_us, window_s),
            errors=self._errors(now_us, window_s, undecodable),
            coordination=self.coordination.figures(now_us, window_s),
            host=self.host,
            thresholds=self.guard.statuses(),
            alerts=self.guard.alerts.active(),
        )

    def report(
        self, now_us: int, window_s: float, *, undecodable: int = 0
    ) -> CascadePerformanceReport:
        """Return a report over the window that ends now."""
        latency = self._latency(now_us, window_s)
        whole, systems = latency.end_to_end_ms, latency.systems
        throughput = self._throughput(now_us, window_s)
        errors = self._errors(now_us, window_s, undecodable)
        trends = self.trends()
        target_ms = self.target_latency_ms
        return CascadePerformanceReport(
            report_id=uuid.uuid4().hex,
            timestamp=now_us,
            window_s=window_s,
            end_to_end_latency_ms=whole,
            system_latencies=systems,
            throughput_metrics=throughput,
            error_rates=errors,
            queue_depths=throughput.queue_depths,
            system_loads=self.host.system_loads,
            performance_score=performance_score(whole, throughput, errors, target_ms),
            latency_verdict=latency_verdict(whole, target_ms),
            alerts=self.guard.alerts.active(),
            recommendations=recommendations(whole, systems, throughput, errors, trends, target_ms),
            trend_analysis=trends,
        )

    def backlog(self, now_us: int) -> Backlog | None:
        """Return what waits in Kafka; None where the broker did not say lately."""
        return self._fresh_backlog(now_us)

    def trends(self, window_s: float = math.inf) -> dict[str, Trend]:
        """Return the trend of each metric over the samples of the last `window_s` seconds."""
        since_us = 0 if math.isinf(window_s) else self._now_us - int(window_s * _US)
        found = {}
        for name in TRENDS:
            times_us, values = self.samples.points(name, since_us)
            found[name] = trend_of(times_us / _US - self._now_us / _US, values)
        return found

    def trace(self, packet_id: str) -> PacketTrace | None:
        """Return the trace of a packet, ended or under way; None where it is not known."""
        return self.flows.trace(packet_id) or self.tracker.trace(packet_id)

    def offered_per_second(self, now_us: int, window_s: float) -> float | None:
        """Return packets a second that were offered within a window; None where nobody knows."""
        rates = []
        for name in ("started", "offered"):
            times_us, counts = self._offered.points(name, now_us - int(window_s * _US))
            if len(times_us) and times_us[-1] > times_us[0]:
                rates.append(float((counts[-1] - counts[0]) * _US / (times_us[-1] - times_us[0])))
        return max(0.0, sum(rates)) if rates else None

    def _watched_s(self, now_us: int, window_s: float) -> float:
        """Return for how much of a window it is known what was offered, seconds."""
        times_us, _ = self._offered.points("offered", now_us - int(window_s * _US))
        if not len(times_us):
            times_us, _ = self._offered.points("started", now_us - int(window_s * _US))
        return min(window_s, (now_us - int(times_us[0])) / _US) if len(times_us) else 0.0

    def _latency(self, now_us: int, window_s: float) -> LatencyMetrics:
        def of(column: str) -> Any:
            return figures_of(self.flows.values(column, now_us, window_s))

        systems = {
            name: SystemLatency(
                of(part(name, "broker")),
                of(part(name, "queue_wait")),
                of(part(name, "processing")),
                of(part(name, "total")),
            )
            for name in self.flows.systems()
        }
        since_start = self.flows.figures(END_TO_END)
        return LatencyMetrics(
            of(END_TO_END), of(DECIDED), of(RECORDED), of(NETWORK), since_start, systems
        )

    def _throughput(self, now_us: int, window_s: float) -> ThroughputFigures:
        per_second = self.flows.per_second(now_us, window_s)
        offered = self.offered_per_second(now_us, window_s)
        known = len(per_second) and (self.flows.ended or offered is not None)
        backlog = self._fresh_backlog(now_us)
        names = self._names(backlog)
        oldest_ms = self._oldest_open_ms(now_us)
        return ThroughputFigures(
            float(per_second.mean()) if known else None,
            offered,
            {name: self.flows.busy_share(name, now_us, window_s) for name in self.flows.systems()},
            {
                name: depth
                for name, depth in self._depths(now_us, window_s).items()
                if name in names
            },
            dict(backlog.systems) if backlog else {},
            len(self.tracker),
            None if oldest_ms is None else oldest_ms / 1000,
        )

    def _errors(self, now_us: int, window_s: float, undecodable: int) -> ErrorFigures:
        counts = self.flows.counts(now_us, window_s)
        return ErrorFigures(
            counts.failed / counts.ended if counts.ended else None,
            {name: counts.failed_at[name] / worked for name, worked in counts.worked.items()},
            {name: count for name, count in counts.outcomes.items() if name},
            counts.retries,
            counts.retries / counts.ended if counts.ended else None,
            dict(self.breakers.trips),
            undecodable,
        )

    def _depths(self, now_us: int, window_s: float) -> dict[str, float | None]:
        backlog = self._fresh_backlog(now_us)
        found: dict[str, float | None] = {}
        for name in self._names(backlog):
            lag: SystemLag | None = backlog.systems.get(name) if backlog else None
            records = None if lag is None or lag.records is None else float(lag.records)
            found[name] = _larger(records, self.flows.mean_waiting(name, now_us, window_s))
        return found

    def _names(self, backlog: Backlog | None) -> list[str]:
        names = list(backlog.systems) if backlog else []
        return names + [name for name in self.flows.systems() if name not in names]

    def _fresh_backlog(self, now_us: int) -> Backlog | None:
        fresh = now_us - self._backlog_us <= _BACKLOG_S * _US
        return self._backlog if fresh else None

    def _oldest_open_ms(self, now_us: int) -> float | None:
        backlog = self._fresh_backlog(now_us)
        lags = backlog.systems.values() if backlog else ()
        ages = [lag.seconds for lag in lags if lag.seconds is not None]
        if (age_s := self.tracker.oldest_age_s(now_us)) is not None:
            ages.append(age_s)
        return max(ages) * 1000 if ages else None


def _larger(first: float | None, second: float | None) -> float | None:
    known = [each for each in (first, second) if each is not None]
    return max(known) if known else None
