"""The monitor's work: it measures the cascade, and writes down what it measured.

It reads the execution log in the group `cascade.monitor`; of several monitors the one that has the
log's partition speaks, the others stand by. Each `metrics_interval_s` one snapshot goes to
`cascade.metrics`. At the start the snapshots of before are read back, so that history and trends go
on where they were.
"""

import logging
import threading
from collections.abc import Iterable
from typing import Final

import msgspec
from prometheus_client.core import Metric

from pipeline.clock import Clock, WallClock
from pipeline.control.state import ControlView
from pipeline.coordination.messages import new_instance
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.metrics.families import gauge
from pipeline.packets.events import MetricsSnapshot
from pipeline.settings import Settings
from pipeline.watch.alerting.worker import AlertWorker
from pipeline.watch.catalogue import figures, spelled
from pipeline.watch.control_follower import ControlFollower
from pipeline.watch.core import PerformanceCore
from pipeline.watch.exposition import families
from pipeline.watch.history import TOPIC, HistoryReader, MetricsHistory
from pipeline.watch.host import read_host
from pipeline.watch.monitoring import Monitor
from pipeline.watch.scaling import (
    RECOMMENDED,
    ScalingAdvice,
    ScalingAdvisor,
    partitions_of_stages,
)
from pipeline.watch.source import KafkaFlows
from pipeline.watch.tracing.live import LiveTracing
from pipeline.watch.uptime import Uptime
from pipeline.watch.view import MonitorView, view_of

__all__ = ["GROUP", "MonitorWorker"]

_logger = logging.getLogger(__name__)

GROUP: Final = "cascade.monitor"
"""Consumer group that reads the ends of flows."""

WINDOW_S: Final = 10.0
"""Seconds that the figures of a snapshot are over."""

_TRIES = 40
_TRY_S = 0.5

_RESTORED: Final = {
    "latency_ms": ('cascade_end_to_end_latency_quantile_seconds{path="any",quantile="0.5"}', 1e3),
    "failure_rate": ("cascade_failure_ratio", 1.0),
    "packets_per_second": ("cascade_throughput_packets_per_second", 1.0),
    "cpu_usage": ("cascade_host_cpu_ratio", 1.0),
    "memory_usage": ("cascade_host_memory_ratio", 1.0),
}
"""Samples that trends are taken of, each with its series in snapshots and the factor between."""


class MonitorWorker:
    """One monitor.

    Args:
        settings: Settings.
        clock: Clock.

    Attributes:
        history: What was measured, before this start too.
        monitor: What measures.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or WallClock()
        self._instance = new_instance()
        self._bus = EventBus(settings=settings)
        limits = settings.performance
        self._source = KafkaFlows(self._bus.connect, group=GROUP)
        self.monitor = Monitor(
            PerformanceCore(
                settings, limits.target_latency_ms, limits.history_size, self._clock.now_us()
            ),
            self._bus,
            self._source,
            look=None,
            read_host=read_host,
            clock=self._clock,
            sampling_interval_s=limits.sampling_interval,
            report_interval_s=limits.report_interval,
        )
        self.history = MetricsHistory()
        self._reader = HistoryReader(self._bus.connect, self.history)
        self._control = ControlFollower(self._bus.connect, "monitor")
        self._alerts = AlertWorker(
            settings, self._bus,
            acting=lambda: self._source.assigned, history=self.history, clock=self._clock,
        )  # fmt: skip
        self._advisor = ScalingAdvisor(
            self.history.points, partitions_of_stages(), settings.scaling
        )
        self._advice: tuple[ScalingAdvice, ...] = ()
        self._uptime = Uptime()
        self._tracing = LiveTracing.of(settings, self._bus.connect, self._clock)
        if self._tracing is not None:
            self.monitor.add_ends_callback(self._tracing.take_ends)
        self._view: MonitorView | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor-snapshots", daemon=True)

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._reader.start()
        self._alerts.start()
        if self._tracing is not None:
            self._tracing.start()
        self._thread.start()

    def close(self) -> None:
        """End everything that was begun."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._alerts.close()
        self._reader.close()
        self.monitor.close()
        if self._tracing is not None:
            self._tracing.close()
        self._control.close()
        self._bus.close()

    def collect(self) -> Iterable[Metric]:
        """Return what Prometheus is told, as of the last snapshot."""
        yield from families(self._view)
        if self._tracing is not None:
            yield from self._tracing.collect()
        yield gauge(
            RECOMMENDED,
            "Workers that a stage should have, at most as many as it has partitions.",
            ("stage",),
            [((each.stage,), float(each.recommended)) for each in self._advice],
        )

    def _look(self) -> MonitorView:
        """Return what is known now; called by one thread."""
        now_us = self._clock.now_us()
        control = self._control_view(now_us)
        with self.monitor.lock:
            return view_of(
                self.monitor.core,
                self._uptime,
                control,
                now_us,
                WINDOW_S,
                connected=self._source.connected,
                undecodable=self._source.undecodable,
            )

    def _control_view(self, now_us: int) -> ControlView | None:
        try:
            self._control.follow(now_us)
        except PipelineError as error:
            _logger.debug("monitor has no control log: %s", error)
            return None
        return self._control.machine.view(current=True)

    def _run(self) -> None:
        self._go_on_where_it_was()
        self.monitor.start()
        while not self._closing.wait(self._settings.metrics_interval_s):
            try:
                if self._tracing is not None:
                    self._tracing.sweep()
                self._write_down()
            except PipelineError as error:
                _logger.debug("snapshot not written: %s", error)
            except Exception:
                _logger.exception("monitor could not make a snapshot")

    def _go_on_where_it_was(self) -> None:
        if not self._has_history():
            _logger.warning("monitor begins without its history: no broker to read it from")
        rows: dict[int, dict[str, float]] = {}
        for sample, (series, factor) in _RESTORED.items():
            times_us, numbers = self.history.points(series)
            for time_us, number in zip(times_us.tolist(), numbers.tolist(), strict=True):
                rows.setdefault(time_us, {})[sample] = number * factor
        with self.monitor.lock:
            for time_us in sorted(rows):
                self.monitor.core.restore(time_us, rows[time_us])

    def _has_history(self) -> bool:
        for _ in range(_TRIES):
            try:
                self._reader.ready(_TRY_S)
            except PipelineError:
                if self._closing.is_set():
                    return False
            else:
                return True
        return False

    def _write_down(self) -> None:
        if not self._source.assigned:
            self._view, self._advice = None, ()
            return  # another monitor speaks
        view = self._view = self._look()
        measured = figures(view)
        self._advice = self._advisor.advise(measured, view.metrics.timestamp)
        measured |= {
            spelled(RECOMMENDED, {"stage": each.stage}): float(each.recommended)
            for each in self._advice
        }
        rounded = {series: float(f"{number:.6g}") for series, number in measured.items()}
        snapshot = MetricsSnapshot(
            view.metrics.timestamp,
            self._instance,
            self._settings.metrics_interval_s,
            msgspec.json.encode(rounded).decode(),
        )
        # It comes back through the history's reader.
        self._bus.publish_soon(TOPIC, snapshot, key=self._instance.encode())
