"""From findings to alerts: one when a rule begins to fail or gets worse, one when it passes again.

| finding  | alert     |
|----------|-----------|
| WARNING  | WARNING   |
| ERROR    | CRITICAL  |
| CRITICAL | EMERGENCY |
"""

import json
import logging
import queue
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pipeline.packets.events import Alert, PerformanceAlert, ValidationLevel
from pipeline.rules.model import ValidationResult, rank
from pipeline.rules.running import RuleOutcome, Status

__all__ = ["AlertBook", "AlertSender"]

_logger = logging.getLogger(__name__)
_TOPIC = "cascade.alerts"
_LEVELS = {
    ValidationLevel.INFO: PerformanceAlert.INFO,
    ValidationLevel.WARNING: PerformanceAlert.WARNING,
    ValidationLevel.ERROR: PerformanceAlert.CRITICAL,
    ValidationLevel.CRITICAL: PerformanceAlert.EMERGENCY,
}
_MOST_PACKETS = 10
_MOST_WAITING = 1000


class AlertBook:
    """Knows which rules fail, and so what is news.

    Args:
        least: Findings below that level are no alert; None: no finding is.
        repeat_s: While a rule goes on failing, it is told again after that many seconds.
    """

    def __init__(self, least: ValidationLevel | None, repeat_s: float) -> None:
        self.least = least
        self._repeat_us = int(repeat_s * 1e6)
        self._lock = threading.Lock()
        self._failing: dict[str, tuple[ValidationLevel, int]] = {}

    def news(self, outcomes: Iterable[RuleOutcome], now_us: int) -> list[Alert]:
        """Return the alerts that a comprehensive validation gives rise to."""
        alerts = []
        for outcome in outcomes:
            name = outcome.rule.rule_id
            with self._lock:
                if outcome.status in (Status.FAILED, Status.ERROR):
                    if self._is_news(name, outcome.level, now_us):
                        alerts.append(_alert(outcome.findings, outcome.found, now_us))
                elif outcome.status is Status.PASSED and name in self._failing:
                    del self._failing[name]
                    alerts.append(_passed_again(outcome, now_us))
        return alerts

    def packet_news(self, outcomes: Iterable[RuleOutcome], now_us: int) -> list[Alert]:
        """Return the alerts that one packet gives rise to; a later one that passes ends nothing."""
        alerts = []
        for outcome in outcomes:
            if outcome.status not in (Status.FAILED, Status.ERROR):
                continue
            with self._lock:
                if self._is_news(f"packet:{outcome.rule.rule_id}", outcome.level, now_us):
                    alerts.append(_alert(outcome.findings, outcome.found, now_us))
        return alerts

    def _is_news(self, name: str, level: ValidationLevel, now_us: int) -> bool:
        if self.least is None or rank(level) < rank(self.least):
            return False
        known, since_us = self._failing.get(name, (ValidationLevel.INFO, 0))
        if rank(level) <= rank(known) and now_us - since_us < self._repeat_us:
            return False
        self._failing[name] = (level, now_us)
        return True


class AlertSender:
    """Publishes alerts from a thread of its own, so that nobody who validates waits for a broker.

    Args:
        publish: Publishes an alert: (topic, alert, key=...).
    """

    def __init__(self, publish: Callable[..., Any]) -> None:
        self._publish = publish
        self._waiting: queue.Queue[Alert | None] = queue.Queue(_MOST_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, alerts: Iterable[Alert]) -> None:
        """Have alerts published; where too many wait already, they are logged alone."""
        for alert in alerts:
            _logger.warning("validation_alert level=%s %s", alert.level, alert.message)
            try:
                self._waiting.put_nowait(alert)
            except queue.Full:
                continue
            self._started()

    def close(self, timeout_s: float = 5.0) -> None:
        """Publish what waits, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(timeout_s)

    def _started(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="validation-alerts", daemon=True
                )
                self._thread.start()

    def _serve(self) -> None:
        while (alert := self._waiting.get()) is not None:
            try:
                self._publish(_TOPIC, alert, key=alert.id.encode())
            except Exception as error:  # noqa: BLE001  # whatever it is, the next may get through
                _logger.warning("alert_not_published id=%s why=%s", alert.id, error)


def _alert(findings: Sequence[ValidationResult], found: int, now_us: int) -> Alert:
    worst = max(findings, key=lambda each: rank(each.level))
    packets = [each.packet_id for each in findings if each.packet_id]
    flows = [each.details["flow_id"] for each in findings if each.details.get("flow_id")]
    context = {
        "rule_id": worst.rule_id,
        "validation_type": worst.validation_type,
        "level": worst.level,
        "system_id": worst.system_id,
        "findings": found,
        "packet_ids": packets[:_MOST_PACKETS],
        "flow_ids": flows[:_MOST_PACKETS],
        "remediation_steps": list(worst.remediation_steps),
    }
    more = f" ({found} findings)" if found > 1 else ""
    message = f"{worst.rule_id}: {worst.message}{more}"
    return _made(worst.level, message, context, now_us)


def _passed_again(outcome: RuleOutcome, now_us: int) -> Alert:
    rule = outcome.rule
    context = {"rule_id": rule.rule_id, "validation_type": rule.validation_type, "findings": 0}
    return _made(
        ValidationLevel.INFO, f"{rule.rule_id}: passes again: {rule.rule_name}", context, now_us
    )


def _made(level: ValidationLevel, message: str, context: dict[str, Any], now_us: int) -> Alert:
    return Alert(
        id=f"validation-{uuid.uuid4().hex}",
        level=_LEVELS[level],
        message=message[:4000],
        context=json.dumps(context),
        timestamp=now_us,
        acknowledged=False,
    )
