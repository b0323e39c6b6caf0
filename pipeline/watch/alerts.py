"""Alerts: what is raised, what has ended, who has taken note; pure."""

import json
import uuid
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from pipeline.errors import UsageError
from pipeline.packets.events import Alert, PerformanceAlert

__all__ = ["AlertBook"]


class AlertBook:
    """The alerts that are raised; one for each subject, however its level changes. Not thread-safe.

    An alert is told of when it is raised, when its level changes, when somebody acknowledges it,
    and when it ends; always under the same id, its context's `state` says which: `raised`,
    `changed`, `acknowledged`, `resolved` (then its level is INFO).

    Args:
        history_size: Most alerts that are remembered after their end.
    """

    def __init__(self, history_size: int) -> None:
        self._active: OrderedDict[str, Alert] = OrderedDict()
        self._ended: deque[Alert] = deque(maxlen=history_size)

    def raise_(
        self,
        subject: str,
        level: PerformanceAlert,
        message: str,
        context: Mapping[str, Any],
        now_us: int,
    ) -> Alert:
        """Raise an alert, or change the one that is raised; return it as it is now.

        Args:
            subject: What it is about: at most one alert of it is raised at a time.
            level: How urgent it is; a higher one than before takes an acknowledgement back.
            message: What people should know.
            context: Figures, as JSON can hold them.
            now_us: Now, microseconds since the Unix epoch, UTC.
        """
        before = self._active.get(subject)
        state = "raised" if before is None else "changed"
        worse = before is not None and _RANK[level] > _RANK[before.level]
        alert = Alert(
            before.id if before else uuid.uuid4().hex,
            level,
            message,
            _document(context, subject, state),
            now_us,
            before is not None and before.acknowledged and not worse,
        )
        self._active[subject] = alert
        return alert

    def resolve(
        self, subject: str, message: str, context: Mapping[str, Any], now_us: int
    ) -> Alert | None:
        """End an alert; return it as it is now, None where none was raised."""
        before = self._active.pop(subject, None)
        if before is None:
            return None
        ended = structs.replace(
            before,
            level=PerformanceAlert.INFO,
            message=message,
            context=_document(context, subject, "resolved"),
            timestamp=now_us,
        )
        self._ended.append(ended)
        return ended

    def acknowledge(self, alert_id: str, now_us: int, author: str) -> Alert:
        """Note that somebody takes care of an alert; return it as it is now.

        Raises:
            UsageError: If no such alert is raised.
        """
        for subject, alert in self._active.items():
            if alert.id == alert_id:
                context = {**json.loads(alert.context), "acknowledged_by": author}
                noted = structs.replace(
                    alert,
                    acknowledged=True,
                    timestamp=now_us,
                    context=_document(context, subject, "acknowledged"),
                )
                self._active[subject] = noted
                return noted
        raise UsageError(f"Expected an alert that is raised, was id {alert_id!r}")

    def of(self, subject: str) -> Alert | None:
        """Return the alert that is raised about a subject; None where there is none."""
        return self._active.get(subject)

    def active(self) -> tuple[Alert, ...]:
        """Return the alerts that are raised, oldest first."""
        return tuple(self._active.values())

    def ended(self) -> tuple[Alert, ...]:
        """Return the last alerts that ended, oldest first."""
        return tuple(self._ended)


_RANK = {level: rank for rank, level in enumerate(PerformanceAlert)}


def _document(context: Mapping[str, Any], subject: str, state: str) -> str:
    return json.dumps({**context, "subject": subject, "state": state}, sort_keys=True, default=str)
