"""Watches the cascade for the page: reads topics along and asks the broker, on threads of its own.

Without a broker it says so, and goes on asking; nothing here writes to Kafka.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pipeline.cascade.validation import CascadeValidationFramework
from pipeline.clock import Clock, WallClock
from pipeline.control.fences import NO_FENCES
from pipeline.control.latch import Latch
from pipeline.control.scope import STAGES
from pipeline.dashboard.board import HISTORY_S, FlowBoard
from pipeline.dashboard.notices import AlertBoard, emergency_view
from pipeline.dashboard.recalling import sample_of
from pipeline.dashboard.stages import control_view, stage_view
from pipeline.emergency.ledger import Ledger
from pipeline.emergency.membership import LiveWorkers
from pipeline.errors import PipelineError, UsageError
from pipeline.events import EventBus, Received
from pipeline.packets.events import Alert, EmergencyEvent, MetricsSnapshot
from pipeline.packets.models import ExecutionPlan, OrderEvent
from pipeline.rules.report import ValidationReport
from pipeline.watch.control_follower import ControlFollower
from pipeline.watch.group import Entry, GroupReader
from pipeline.watch.history import TOPIC as METRICS
from pipeline.watch.observations import FlowEnd
from pipeline.watch.offsets import Backlog, OffsetWatch

__all__ = ["Observer"]

_logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_COUNT_S = 2.0
_VALIDATE_S = 30.0
_ALERTS_BACK = timedelta(hours=24)
_FINDINGS = 20
_EMERGENCIES: Final = 20
_US: Final = 1_000_000


class Observer:
    """Knows what the page shows; thread-safe.

    Args:
        bus: Connection to Kafka; not closed here.
        watched: Says whether anybody looks: validations cost time, so nobody's are not run.
        clock: Clock.
    """

    def __init__(
        self, bus: EventBus, *, watched: Callable[[], bool], clock: Clock | None = None
    ) -> None:
        self._bus = bus
        self._watched = watched
        self._clock = clock or WallClock()
        settings = bus.settings
        self._latch = Latch.of(settings)
        self._lock = threading.Lock()
        self._board = FlowBoard(settings.performance.target_latency_ms, self._clock.now_us())
        self._alerts = AlertBoard()
        self._ledger = Ledger()
        self._backlog: Backlog | None = None
        self._workers: Mapping[str, int] | None = None
        self._control: dict[str, Any] | None = None
        self._trouble = "not connected yet"
        self._report: ValidationReport | None = None
        self._why_no_report = "not validated yet"
        self._follower = ControlFollower(bus.connect, "dashboard-control")
        now = datetime.now(UTC)
        self._readers = (
            (self._reader("dashboard", now - timedelta(seconds=HISTORY_S),
                          "cascade.execution", "cascade.fills"), self._take_flows),
            (self._reader("dashboard-alerts", now - _ALERTS_BACK, "cascade.alerts"),
             self._take_alerts),
            (self._reader("dashboard-emergencies", "earliest", "cascade.emergency"),
             self._take_emergencies),
            (self._reader("dashboard-metrics", now - timedelta(seconds=HISTORY_S), METRICS),
             self._take_metrics),
        )  # fmt: skip
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=f"dashboard-{name}", daemon=True)
            for name, target in (("look", self._run_looks), ("validate", self._run_validations))
        ]

    def start(self) -> None:
        """Begin, without waiting for anything."""
        for reader, take in self._readers:
            reader.start(take)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End all threads."""
        self._stopping.set()
        for reader, _ in self._readers:
            reader.close()
        for thread in self._threads:
            thread.join()
        self._follower.close()

    @property
    def trouble(self) -> str:
        """Why the cascade cannot be seen; empty where it can."""
        return self._trouble

    def picture(self) -> dict[str, Any]:
        """Return everything that the page shows, as JSON has it; of a bounded size."""
        now_us = self._clock.now_us()
        with self._lock:
            board, backlog, workers = self._board, self._backlog, self._workers
            board.tick(now_us)
            lags = backlog.systems if backlog else {}
            fences = self._follower.machine.fences.fences if self._control else NO_FENCES
            return {
                "at": now_us / _US,
                "connection": {
                    "live": not self._trouble,
                    "detail": self._trouble,
                    "broker": self._bus.settings.broker or "",
                    "namespace": self._bus.settings.namespace,
                },
                "control": self._control if not self._trouble else None,
                "latch": self._local_halt(),
                "figures": board.figures(now_us),
                "stages": [
                    stage_view(
                        stage, workers, fences, lags.get(stage),
                        board.stage_latency(stage, now_us), board.busy(stage, now_us),
                    )
                    for stage in STAGES
                ],
                "history": board.history(),
                "flows": board.newest(),
                "alerts": self._alerts.active(now_us),
                "alerts_ended": self._alerts.ended()[:5],
                "emergencies": self._emergencies(),
                "validation": self._validation(),
            }  # fmt: skip

    def symbol_of(self, flow_id: str) -> str | None:
        """Return the symbol of a flow that the page lists; None where it does not."""
        with self._lock:
            found = self._board.known(flow_id)
        return None if found is None else str(found["symbol"])

    def alert(self, alert_id: str) -> Alert:
        """Return an alert that stands.

        Raises:
            UsageError: If there is none of that id.
        """
        with self._lock:
            found = self._alerts.find(alert_id)
        if found is None:
            raise UsageError(f"Expected an alert that stands, was id {alert_id!r}")
        return found

    # -- what is shown ---------------------------------------------------------------------------

    def _local_halt(self) -> dict[str, Any]:
        latched = self._latch.current()
        return {
            "local": latched.local,
            "halt_id": latched.halt_id,
            "author": latched.author,
            "reason": latched.reason if latched.local else "",
        }

    def _emergencies(self) -> list[dict[str, Any]]:
        newest = sorted(self._ledger.all, key=lambda each: each.event.timestamp, reverse=True)
        active = [each for each in newest if each.active]
        ended = [each for each in newest if not each.active][:5]
        return [emergency_view(each) for each in [*active, *ended][:_EMERGENCIES]]

    def _validation(self) -> dict[str, Any]:
        report = self._report
        if report is None:
            return {"detail": self._why_no_report}
        findings = [each for each in report.validation_results if not each.passed]
        return {
            "detail": self._why_no_report,
            "at": report.timestamp / _US,
            "score": report.cascade_integrity_score,
            "passed": report.summary["passed"],
            "failed": report.summary["failed"] + report.summary["errors"],
            "no_data": report.summary["no_data"],
            "findings": [
                {
                    "rule": each.rule_id,
                    "level": each.level.value,
                    "message": each.message[:500],
                    "system": each.system_id,
                    "remedy": list(each.remediation_steps)[:2],
                }
                for each in findings[:_FINDINGS]
            ],
        }

    # -- threads ---------------------------------------------------------------------------------

    def _reader(self, name: str, start: Any, *topics: str) -> GroupReader:
        plain = () if "cascade.execution" in topics else topics
        return GroupReader(self._bus.connect, topics, name=name, plain=plain, start=start)

    def _take_flows(self, entries: Sequence[Entry]) -> None:
        now_us = self._clock.now_us()
        with self._lock:
            for each in entries:
                if isinstance(each.packet, ExecutionPlan):
                    ends = FlowEnd.all_of(each.packet, each.timestamp_ms)
                    self._board.take_ends(ends, now_us)
                elif isinstance(each.packet, OrderEvent):
                    self._board.take_order(each.packet)

    def _take_alerts(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for each in entries:
                if isinstance(each.packet, Alert):
                    self._alerts.take(each.packet)

    def _take_emergencies(self, entries: Sequence[Entry]) -> None:
        for topic, partition, offset, timestamp_ms, packet, *_ in entries:
            if isinstance(packet, EmergencyEvent):
                self._ledger.take(
                    Received(topic, partition, offset, timestamp_ms, None, {}, packet)
                )

    def _take_metrics(self, entries: Sequence[Entry]) -> None:
        packets = (each.packet for each in entries)
        samples = [sample_of(each) for each in packets if isinstance(each, MetricsSnapshot)]
        with self._lock:
            self._board.recall(samples)

    def _run_looks(self) -> None:
        offsets: OffsetWatch | None = None
        workers: LiveWorkers | None = None
        counted_s = float("-inf")
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                settings = self._bus.connect()
                offsets = offsets or OffsetWatch(settings)
                workers = workers or LiveWorkers(settings)
                self._follower.follow(self._clock.now_us())
                self._take_backlog(offsets.look())
                if began_s - counted_s > _COUNT_S:
                    self._workers = workers.count(STAGES)
                    counted_s = began_s
                self._show_control()
                self._trouble = ""
            except PipelineError as error:
                self._note_trouble(str(error))
            except Exception as error:
                _logger.exception("dashboard_could_not_look")
                self._note_trouble(f"the cascade cannot be seen: {error!r}")
            self._stopping.wait(max(0.1, began_s + _LOOK_S - time.monotonic()))

    def _take_backlog(self, backlog: Backlog) -> None:
        with self._lock:
            self._backlog = backlog
            self._board.take_backlog(backlog, self._clock.now_us())

    def _show_control(self) -> None:
        view = control_view(self._follower.machine, self._latch.current())
        with self._lock:
            self._control = view

    def _note_trouble(self, why: str) -> None:
        if not self._trouble:
            _logger.warning("dashboard_sees_nothing why=%s", why)
        with self._lock:
            self._trouble, self._workers, self._backlog = why, None, None

    def _run_validations(self) -> None:
        framework = CascadeValidationFramework(self._bus, continuous=False, alert_level=None)
        try:
            while not self._stopping.is_set():
                if self._watched() and not self._trouble:
                    self._validate(framework)
                    self._stopping.wait(_VALIDATE_S)
                else:
                    self._stopping.wait(_LOOK_S)
        finally:
            framework.close()

    def _validate(self, framework: CascadeValidationFramework) -> None:
        try:
            self._report = framework.run_comprehensive_validation(deep=False)
            self._why_no_report = ""
        except PipelineError as error:
            self._why_no_report = str(error)
        except Exception as error:
            _logger.exception("dashboard_could_not_validate")
            self._why_no_report = f"validation failed: {error!r}"
