"""Alerts and emergencies as the page shows them; pure."""

import json
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

from pipeline.emergency.ledger import Emergency
from pipeline.packets.events import Alert, EmergencyCourse, PerformanceAlert

__all__ = ["AlertBoard", "emergency_view"]

_MOST_ACTIVE = 200
_MOST_ENDED = 20
_SHOWN = 50
_NOTICE_US = 3_600_000_000
_LONGEST = 2000


class AlertBoard:
    """Folds the records of `cascade.alerts`. Not thread-safe.

    Records of one id are one alert; its context's `state` says how it stands. An alert whose
    context has none is a notice, which nobody ends: it goes after an hour.
    """

    def __init__(self) -> None:
        self._active: OrderedDict[str, Alert] = OrderedDict()
        self._ended: deque[Alert] = deque(maxlen=_MOST_ENDED)

    def take(self, alert: Alert) -> None:
        """Fold one record."""
        before = self._active.pop(alert.id, None)
        context = _context(alert)
        if context.get("state") == "resolved" or context.get("ended_us"):
            if before is not None:
                self._ended.append(alert)
            return
        self._active[alert.id] = alert
        while len(self._active) > _MOST_ACTIVE:
            self._active.popitem(last=False)

    def find(self, alert_id: str) -> Alert | None:
        """Return an alert that stands; None where there is none of that id."""
        return self._active.get(alert_id)

    def active(self, now_us: int) -> list[dict[str, Any]]:
        """Return the alerts that stand, the most urgent and newest first."""
        for alert_id, alert in list(self._active.items()):
            if "state" not in _context(alert) and now_us - alert.timestamp > _NOTICE_US:
                del self._active[alert_id]
        ranks = list(PerformanceAlert)
        newest = sorted(
            self._active.values(),
            key=lambda each: (each.acknowledged, -ranks.index(each.level), -each.timestamp),
        )
        return [_alert_view(each) for each in newest[:_SHOWN]]

    def ended(self) -> list[dict[str, Any]]:
        """Return the last alerts that ended, newest first."""
        return [_alert_view(each) for each in reversed(self._ended)]


def emergency_view(emergency: Emergency) -> dict[str, Any]:
    """Return an emergency as the page shows it."""
    event = emergency.event
    return {
        "id": event.event_id,
        "type": event.emergency_type.value,
        "level": event.emergency_level.value,
        "course": event.course.value,
        "systems": list(event.affected_systems)[:10],
        "source": event.source_system,
        "description": event.description[:_LONGEST],
        "declared": event.timestamp / 1e6,
        "updated": max(event.updated_at, event.timestamp) / 1e6,
        "active": emergency.active,
        "acknowledged": _acknowledged_by(emergency.history),
        "history": [
            {
                "course": each.course.value,
                "at": max(each.updated_at, each.timestamp) / 1e6,
                "author": each.author,
                "note": each.note[:_LONGEST],
            }
            for each in emergency.history[-20:]
        ],
    }


def _acknowledged_by(history: Iterable[Any]) -> str:
    authors = [each.author for each in history if each.course is EmergencyCourse.ACKNOWLEDGED]
    return str(authors[-1]) if authors else ""


def _alert_view(alert: Alert) -> dict[str, Any]:
    context = _context(alert)
    return {
        "id": alert.id,
        "level": alert.level.value,
        "message": alert.message[:_LONGEST],
        "subject": str(context.get("subject", ""))[:200],
        "state": str(context.get("state", "notice")),
        "at": alert.timestamp / 1e6,
        "acknowledged": alert.acknowledged,
        "acknowledged_by": str(context.get("acknowledged_by", ""))[:200],
    }


def _context(alert: Alert) -> dict[str, Any]:
    try:
        found = json.loads(alert.context)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
