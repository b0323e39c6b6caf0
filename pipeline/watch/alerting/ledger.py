"""What `cascade.alerts` tells: each alert as it stands, whoever raised it."""

import threading
from collections import OrderedDict
from typing import Final

from pipeline.errors import UsageError
from pipeline.packets.events import Alert
from pipeline.watch.alerting.entry import Entry

__all__ = ["TOPIC", "AlertLedger"]

TOPIC: Final = "cascade.alerts"

_ENDED_KEPT = 1000


class AlertLedger:
    """Folds the records of `cascade.alerts`; thread-safe.

    What has ended stays so, whoever is late with a record of before.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._history: dict[str, list[Alert]] = {}

    def take(self, alert: Alert) -> Entry:
        """Fold one record; return the alert as it stands then."""
        with self._changed:
            entry = self._fold(alert)
            self._changed.notify_all()
        return entry

    def wait_for(self, alert_id: str, after: int, timeout_s: float) -> int:
        """Wait until there are more than `after` records of an alert; return how many there are."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._history.get(alert_id, ())) > after, timeout_s)
            return len(self._history.get(alert_id, ()))

    @property
    def active(self) -> tuple[Entry, ...]:
        """The alerts that are raised, oldest first."""
        with self._changed:
            return tuple(each for each in self._entries.values() if not each.ended)

    @property
    def all(self) -> tuple[Entry, ...]:
        """Those that are raised, and the last 1000 that have ended, oldest first."""
        with self._changed:
            return tuple(self._entries.values())

    def find(self, alert_id: str) -> Entry:
        """Return an alert by its id, or by the beginning of it where that is enough.

        Raises:
            UsageError: If there is none, or there are several.
        """
        with self._changed:
            found = [each for key, each in self._entries.items() if key.startswith(alert_id)]
        if len(found) != 1 or not alert_id:
            raise UsageError(
                f"Expected the id of one alert, was {alert_id!r} of {len(found)}; see"
                " `cascade alerts list --all`"
            )
        return found[0]

    def history(self, alert_id: str) -> tuple[Alert, ...]:
        """Return all records of an alert, oldest first."""
        with self._changed:
            return tuple(self._history.get(alert_id, ()))

    def _fold(self, alert: Alert) -> Entry:
        entry = Entry.read(alert)
        before = self._entries.get(alert.id)
        self._history.setdefault(alert.id, []).append(alert)
        if before is not None and before.ended and not entry.ended:
            return before
        if before is not None and entry.foreign:
            entry = entry.carrying_on(before)
        self._entries[alert.id] = entry
        if entry.ended:
            self._forget()
        return entry

    def _forget(self) -> None:
        ended = [key for key, each in self._entries.items() if each.ended]
        for key in ended[:-_ENDED_KEPT]:
            del self._entries[key], self._history[key]
