"""CascadeValidationFramework: every packet, the whole cascade at intervals, any when asked."""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from pipeline.cascade.validation.alerts import AlertBook, AlertSender
from pipeline.cascade.validation.auditor import (
    DECODABLE,
    Auditor,
    AuditTotals,
    EntrySource,
    kafka_entries,
)
from pipeline.cascade.validation.observer import ClusterObserver, Observer
from pipeline.errors import PoisonError, UsageError
from pipeline.events import EventBus
from pipeline.packets.codec import decode
from pipeline.packets.events import ValidationLevel
from pipeline.rules.context import ValidationContext
from pipeline.rules.model import Need, ValidationResult, ValidationRule, system_of
from pipeline.rules.registry import RuleSet
from pipeline.rules.report import ValidationReport, report_of, results_of
from pipeline.rules.running import RuleOutcome, Status, ask, ask_about
from pipeline.rules.windows import Logs
from pipeline.settings import Settings

__all__ = ["CascadeValidationFramework"]

_logger = logging.getLogger(__name__)
_HISTORY = 100


def _now_us() -> int:
    return time.time_ns() // 1000


class CascadeValidationFramework:
    """Validates packets, flows and the cluster by rules; see `pipeline.rules` for how to write one.

    Every `validation_interval` seconds the newest records of all logs are validated, and every
    `deep_validation_interval` more of them and the broker, too. A deep validation adds:

    - configuration: topics against topics.yaml, trading state, one build per stage;
    - connectivity: leaders and replicas in sync, a worker per stage, lag;
    - continuity: one record per input between all stages, by the oracle, over the last
      `deep_records` of each partition; packets in = sum of outcomes, over the cascade's life;
    - security: who gave commands.

    Meanwhile the auditor asks all rules about single packets of every packet of every log, in the
    consumer group `cascade.auditor`, on one thread beside those of the validations: `audited` and
    `audit_findings`. It begins at the oldest packets, and goes on where the group's last auditor
    stopped.

    Findings go to `cascade.alerts`: one alert when a rule begins to fail, one when it passes again.
    This all happens beside the packets' path; what runs in it is in `pipeline.rules.path`.

    Args:
        event_bus: Connection to Kafka; None: one of its own, at first use.
        validation_interval: Seconds between validations; None: the setting.
        deep_validation_interval: Seconds between deep ones; None: the setting.
        max_concurrent_validations: Most rules, and most packets handed in, that are being
            validated at once; None: the setting.
        settings: Settings; None: those of the bus.
        rules: Rules; None: the built-in ones and those of installed packages.
        observer: Says what there is to validate; None: the cluster.
        source: Where the auditor has its packets from; None: the cluster.
        continuous: Whether it validates at intervals and audits by itself from now on; None: if a
            bus was given. `start` and `stop` change it.
        sample_records: Newest entries of each partition in a validation.
        deep_records: The same in a deep one.
        alert_level: Least level of findings that are alerts; None: no alerts.
        alert_repeat_s: A rule that goes on failing is told again after that many seconds.
        now_us: Clock, microseconds since the Unix epoch, UTC.
    """

    def __init__(
        self,
        event_bus: EventBus | None = None,
        validation_interval: float | None = None,
        deep_validation_interval: float | None = None,
        max_concurrent_validations: int | None = None,
        *,
        settings: Settings | None = None,
        rules: RuleSet | None = None,
        observer: Observer | None = None,
        source: EntrySource | None = None,
        continuous: bool | None = None,
        sample_records: int = 100,
        deep_records: int = 1000,
        alert_level: ValidationLevel | None = ValidationLevel.WARNING,
        alert_repeat_s: float = 300.0,
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        self._own_bus = event_bus is None
        self._bus = event_bus or EventBus(settings=settings)
        chosen = (settings or self._bus.settings).validation
        self.validation_interval = _positive(
            "validation_interval", validation_interval, chosen.interval
        )
        self.deep_validation_interval = _positive(
            "deep_validation_interval", deep_validation_interval, chosen.deep_interval
        )
        self._most = int(
            _positive(
                "max_concurrent_validations",
                max_concurrent_validations,
                chosen.max_concurrent_validations,
            )
        )
        self.rules = RuleSet() if rules is None else rules
        self._settings = settings
        self._observer = observer
        self._samples = {False: sample_records, True: deep_records}
        self._now_us = now_us
        self._book = AlertBook(alert_level, alert_repeat_s)
        self._sender = AlertSender(self._bus.publish)
        self._auditor = Auditor(
            self.rules,
            source or kafka_entries(self._located),
            settings=lambda: self._effective,
            tell=self._tell_of_packet,
            now_us=now_us,
        )
        self._slots = threading.BoundedSemaphore(self._most)
        self._running = threading.Lock()
        self._reports: deque[ValidationReport] = deque(maxlen=_HISTORY)
        self._callbacks: list[Callable[[ValidationReport], None]] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._audits = False
        if continuous or (continuous is None and event_bus is not None):
            self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CascadeValidationFramework of {len(self.rules)} rules>"

    # -- validating ----------------------------------------------------------------------------

    def validate_packet(self, packet: Struct | bytes) -> list[ValidationResult]:
        """Validate one packet, without a broker.

        Args:
            packet: A packet or record of any stage; or its bytes, as they stand in a topic.

        Returns:
            One result per rule that looked at it, of level INFO where it passed, and one per
            finding. A packet is good if it has results and all of them have `passed`.

        Raises:
            UsageError: If it is neither.
        """
        timestamp, report = self._now_us(), f"packet-{uuid.uuid4().hex}"
        if isinstance(packet, bytes):
            try:
                packet = decode(packet)
            except PoisonError as error:
                return [_unreadable(error, timestamp, report)]
        if not isinstance(packet, Struct):
            raise UsageError(f"Expected a packet or its bytes, was a {type(packet).__name__}")
        context = ValidationContext(self._effective, timestamp, packet=packet)
        with self._slots:
            outcomes = [ask_about(rule, [packet], context) for rule in self.rules.of_packets()]
        self._tell_of_packet(outcomes, timestamp)
        results = [each for outcome in outcomes for each in results_of(outcome, timestamp)]
        subject = getattr(getattr(packet, "envelope", None), "packet_id", "")
        return [
            replace(
                each,
                validation_id=f"{report}-{number}",
                system_id=each.system_id or system_of(packet),
                packet_id=each.packet_id or subject,
            )
            for number, each in enumerate(results)
        ]

    def run_comprehensive_validation(self, *, deep: bool = True) -> ValidationReport:
        """Validate the cascade as it is now, and report.

        Args:
            deep: Whether the broker is asked, too, and more records are read; see the class.

        Raises:
            BrokerUnavailable: If no broker runs or answers.
            ConfigurationError: If there are no topics in the namespace.
        """
        with self._running:
            observer = self._connected()
            logs = observer.logs(self._samples[deep])
            # After the records: the clock is then no earlier than any of them.
            timestamp = self._now_us()
            context = ValidationContext(
                self._effective,
                timestamp,
                logs=logs,
                broker=observer.broker(logs, timestamp) if deep else None,
                deep=deep,
            )
            outcomes = self._ask_all(context)
            report = report_of(
                outcomes,
                report_id=f"validation-{uuid.uuid4().hex}",
                timestamp=timestamp,
                deep=deep,
                seen=_seen(logs),
                audit=self.audited.as_dict() if self._audits else None,
            )
            self._reports.append(report)
        self._sender.send(self._book.news(outcomes, timestamp))
        self._tell(report)
        return report

    # -- rules ---------------------------------------------------------------------------------

    def add_rule(self, rule: Any, *, replace: bool = False) -> ValidationRule:
        """Add a user's rule: an instance, a class, or a function of the context.

        Args:
            rule: The rule.
            replace: Whether it may take the place of one with its id.

        Raises:
            UsageError: If it is none, or its id is taken.
        """
        return self.rules.add(rule, replace=replace)

    def remove_rule(self, rule_id: str) -> None:
        """Take a rule out; UsageError if there is no such rule."""
        self.rules.remove(rule_id)

    def enable_rule(self, rule_id: str, *, enabled: bool = True) -> None:
        """Switch a rule on or off; UsageError if there is no such rule."""
        self.rules.enable(rule_id, enabled=enabled)

    # -- continuously --------------------------------------------------------------------------

    @property
    def latest_report(self) -> ValidationReport | None:
        """The newest report; None before the first."""
        return self._reports[-1] if self._reports else None

    @property
    def reports(self) -> Sequence[ValidationReport]:
        """The newest reports, the last 100, oldest first."""
        return tuple(self._reports)

    @property
    def audited(self) -> AuditTotals:
        """What the auditor has done since this framework was made, by topic and by rule."""
        return self._auditor.totals

    @property
    def audit_findings(self) -> Sequence[ValidationResult]:
        """What the auditor found, the last 1000, oldest first.

        `details` has topic, partition, offset and flow_id of the packet.
        """
        return self._auditor.findings

    @property
    def alert_level(self) -> ValidationLevel | None:
        """Least level of findings that are alerts; may be set while it runs."""
        return self._book.least

    @alert_level.setter
    def alert_level(self, level: ValidationLevel | None) -> None:
        self._book.least = level

    def on_report(self, callback: Callable[[ValidationReport], None]) -> None:
        """Have `callback` called with each report; what it raises is logged."""
        self._callbacks.append(callback)

    def start(self) -> None:
        """Validate at intervals and audit from now on, on threads of their own."""
        self._audits = True
        self._auditor.start()
        if self._thread is None or not self._thread.is_alive():
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._validate_at_intervals,
                args=(self._stopping,),
                name="validation",
                daemon=True,
            )
            self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End validating at intervals and auditing; a validation under way is waited for."""
        self._stopping.set()
        self._auditor.stop()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def close(self) -> None:
        """Stop, publish the alerts that wait, and close what is its own."""
        self.stop()
        self._sender.close()
        if self._observer is not None:
            self._observer.close()
        if self._own_bus:
            self._bus.close()

    # ------------------------------------------------------------------------------------------

    @property
    def _effective(self) -> Settings:
        return self._settings or self._bus.settings

    def _connected(self) -> Observer:
        if self._observer is None:
            self._observer = ClusterObserver(self._located())
        return self._observer

    def _located(self) -> Settings:
        """Return the settings with the broker that the bus found."""
        connected = self._bus.connect()
        if self._settings is not None:
            self._settings = self._settings.model_copy(update={"broker": connected.broker})
        return self._effective

    def _tell_of_packet(self, outcomes: Sequence[RuleOutcome], timestamp: int) -> None:
        self._sender.send(self._book.packet_news(outcomes, timestamp))

    def _ask_all(self, context: ValidationContext) -> list[RuleOutcome]:
        rules = list(self.rules)
        with ThreadPoolExecutor(self._most, thread_name_prefix="rule") as pool:
            return list(pool.map(lambda rule: self._ask(rule, context), rules))

    def _ask(self, rule: ValidationRule, context: ValidationContext) -> RuleOutcome:
        if not self.rules.is_enabled(rule):
            return RuleOutcome(rule, Status.DISABLED)
        if not context.deep and (rule.deep or rule.needs is Need.BROKER):
            return RuleOutcome(rule, Status.NO_DATA, why="Expected a deep validation, was none")
        with self._slots:
            return ask(rule, context)

    def _validate_at_intervals(self, stopping: threading.Event) -> None:
        deep_at_s = time.monotonic() + self.deep_validation_interval
        while not stopping.wait(self.validation_interval):
            deep = time.monotonic() >= deep_at_s
            if deep:
                deep_at_s = time.monotonic() + self.deep_validation_interval
            try:
                self.run_comprehensive_validation(deep=deep)
            except Exception as error:  # noqa: BLE001  # it goes on, whatever happened
                _logger.warning("validation_failed why=%s", error)

    def _tell(self, report: ValidationReport) -> None:
        for callback in tuple(self._callbacks):
            try:
                callback(report)
            except Exception:
                _logger.exception("report_callback_failed")


def _positive(name: str, given: float | None, setting: float) -> float:
    value = setting if given is None else given
    if isinstance(value, bool) or not value > 0:
        raise UsageError(f"Expected {name} above 0, was {value}")
    return value


def _unreadable(error: PoisonError, timestamp: int, report: str) -> ValidationResult:
    finding = DECODABLE.finding(error.message)
    return replace(finding, validation_id=f"{report}-0", timestamp=timestamp)


def _seen(logs: Logs) -> dict[str, int]:
    """Return how many packets there are by the system that wrote them."""
    counts: dict[str, int] = {}
    for packet in logs.packets:
        system = system_of(packet)
        counts[system] = counts.get(system, 0) + 1
    return counts
