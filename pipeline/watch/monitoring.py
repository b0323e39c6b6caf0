"""The monitor at work: threads that observe, sample and report. None of them is in packets' way."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pipeline.clock import Clock
from pipeline.errors import PipelineError, UsageError
from pipeline.packets.events import Alert, CoordinationMessage
from pipeline.settings import Settings
from pipeline.watch.core import PerformanceCore
from pipeline.watch.host import HostFigures
from pipeline.watch.metrics import CascadePerformanceReport
from pipeline.watch.observations import FlowEnd
from pipeline.watch.offsets import Backlog, OffsetWatch
from pipeline.watch.outbox import AlertOutbox, Publisher
from pipeline.watch.source import FlowSource

__all__ = ["Bus", "Monitor", "ReportCallback"]

_logger = logging.getLogger(__name__)

ReportCallback = Callable[[CascadePerformanceReport], None]
EndsCallback = Callable[[Sequence[FlowEnd]], None]
Look = Callable[[], Backlog]

_OFFSETS_S = 1.0
_LAST_REPORTS = 100


class _Subscription(Protocol):
    def close(self) -> Any: ...


class Bus(Publisher, Protocol):
    """What is needed of `pipeline.events.EventBus`."""

    @property
    def settings(self) -> Settings:
        """Settings."""
        ...

    def connect(self) -> Settings:
        """Return settings with a broker that answers, or raise."""
        ...

    def subscribe(self, topic: str, handler: Callable[[Any], None]) -> _Subscription:
        """Have `handler` called for each record that comes."""
        ...


class Monitor:
    """Runs a `PerformanceCore`; thread-safe through `lock`, which whoever uses `core` holds.

    Args:
        core: What is known.
        bus: Connection to Kafka, for alerts and coordination.
        source: Where ends of packets come from.
        look: Returns what waits before each system; None asks the broker.
        read_host: Returns how busy this machine is.
        clock: Clock.
        sampling_interval_s: Seconds between samples.
        report_interval_s: Seconds between reports; each covers the time since the one before.

    Attributes:
        lock: Guards `core`.
        reports: The last reports, oldest first.
    """

    def __init__(
        self,
        core: PerformanceCore,
        bus: Bus,
        source: FlowSource,
        *,
        look: Look | None,
        read_host: Callable[[], HostFigures],
        clock: Clock,
        sampling_interval_s: float,
        report_interval_s: float,
    ) -> None:
        self.core = core
        self.lock = threading.RLock()
        self.reports: deque[CascadePerformanceReport] = deque(maxlen=_LAST_REPORTS)
        self.outbox = AlertOutbox(bus)
        self._bus = bus
        self._source = source
        self._look = look
        self._read_host = read_host
        self._clock = clock
        self._report_interval_s = report_interval_s
        self._sampling_interval_s = sampling_interval_s
        self._report_callbacks: list[ReportCallback] = []
        self._ends_callbacks: list[EndsCallback] = []
        self._subscription: _Subscription | None = None
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=f"monitor-{name}", daemon=True)
            for name, target in (
                ("samples", self._run_samples),
                ("reports", self._run_reports),
                ("offsets", self._run_offsets),
            )
        ]

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._source.start(self._take_ends)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End all threads; alerts that wait are told of first, for a moment."""
        self._closing.set()
        self._source.close()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join()
        if self._subscription is not None:
            self._subscription.close()
        self.outbox.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing.is_set()

    def add_report_callback(self, callback: ReportCallback) -> None:
        """Have `callback` called with each report, on the reports' thread."""
        self._report_callbacks.append(callback)

    def add_ends_callback(self, callback: EndsCallback) -> None:
        """Have `callback` called with ends of flows as they come, on their reader's thread."""
        self._ends_callbacks.append(callback)

    def sample(self) -> None:
        """Take a sample now."""
        host = self._read_host()
        with self.lock:
            self.tell(self.core.sample(self._clock.now_us(), host))

    def report(self, window_s: float | None = None) -> CascadePerformanceReport:
        """Return a report over the last seconds; those of a report interval where None."""
        with self.lock:
            return self.core.report(
                self._clock.now_us(),
                self._report_interval_s if window_s is None else window_s,
                undecodable=self._source.undecodable,
            )

    def tell(self, alerts: Sequence[Alert]) -> None:
        """Tell of alerts, soon."""
        for alert in alerts:
            self.outbox.send(alert)

    # -- threads ---------------------------------------------------------------------------------

    def _take_ends(self, ends: Sequence[FlowEnd]) -> None:
        now_us = self._clock.now_us()
        with self.lock:
            for end in ends:
                self.core.take_end(end, now_us)
        for callback in self._ends_callbacks:
            callback(ends)

    def _take_message(self, received: Any) -> None:
        if isinstance(received.packet, CoordinationMessage):
            with self.lock:
                self.core.take_message(received.packet, received.timestamp_ms)

    def _run_samples(self) -> None:
        while not self._closing.wait(self._sampling_interval_s):
            try:
                self.sample()
            except Exception:
                _logger.exception("monitor could not take a sample")

    def _run_reports(self) -> None:
        while not self._closing.wait(self._report_interval_s):
            try:
                self._report()
            except Exception:
                _logger.exception("monitor could not report")

    def _report(self) -> None:
        report = self.report()
        with self.lock:
            self.tell(self.core.guard.foresee(report.trend_analysis, self._clock.now_us()))
        self.reports.append(report)
        for callback in list(self._report_callbacks):
            try:
                callback(report)
            except Exception:
                _logger.exception("report callback failed")

    def _run_offsets(self) -> None:
        while not self._closing.is_set():
            try:
                if self._subscription is None:
                    self._subscription = self._bus.subscribe(
                        "cascade.coordination", self._take_message
                    )
                if self._look is None:
                    self._look = OffsetWatch(self._bus.connect()).look
                backlog = self._look()
            except UsageError as error:
                _logger.debug("monitor asks for offsets no more: %s", error)
                return
            except PipelineError as error:
                _logger.debug("monitor has no offsets: %s", error)
            except Exception:
                _logger.exception("monitor could not ask for offsets")
            else:
                with self.lock:
                    self.core.take_backlog(backlog, self._clock.now_us())
            self._closing.wait(_OFFSETS_S)
