"""The history of the cascade's metrics, from the snapshots on `cascade.metrics`.

A snapshot has one number for each series, a series is spelled as Prometheus spells it; names and
meaning of all of them stand in `pipeline.watch.catalogue`.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.packets.events import MetricsSnapshot
from pipeline.settings import Settings
from pipeline.watch.group import Entry, GroupReader
from pipeline.watch.ring import Ring

__all__ = ["TOPIC", "HistoryReader", "MetricsHistory", "figures_of_snapshot"]

_logger = logging.getLogger(__name__)

TOPIC: Final = "cascade.metrics"

_ROWS = 3600
_US = 1_000_000
_LEAST_SHARE = 0.5


def figures_of_snapshot(snapshot: MetricsSnapshot) -> dict[str, float]:
    """Return a snapshot's numbers by series; none where they cannot be read."""
    try:
        return msgspec.json.decode(snapshot.figures, type=dict[str, float])
    except msgspec.DecodeError as error:
        _logger.warning("snapshot of %s not read: %s", snapshot.instance, error)
        return {}


class MetricsHistory:
    """The last snapshots, as series over time; thread-safe.

    Several monitors may run: then one snapshot an interval counts, whoever made it.

    Args:
        rows: Most snapshots that are kept; the oldest makes room.
    """

    def __init__(self, rows: int = _ROWS) -> None:
        self._ring = Ring(rows)
        self._lock = threading.Lock()
        self._latest: MetricsSnapshot | None = None

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def latest(self) -> MetricsSnapshot | None:
        """The newest snapshot; None before the first."""
        return self._latest

    def take(self, snapshot: MetricsSnapshot) -> bool:
        """Take a snapshot; return whether it counts, as one that comes too soon does not."""
        figures = figures_of_snapshot(snapshot)
        with self._lock:
            before = self._latest
            soon_us = int(snapshot.interval * _LEAST_SHARE * _US)
            if before is not None and snapshot.time - before.time < max(1, soon_us):
                return False
            self._latest = snapshot
            try:
                self._ring.append(snapshot.time, figures)
            except UsageError as error:
                _logger.warning("snapshot of %s not kept: %s", snapshot.instance, error)
                return False
        return True

    def points(
        self, series: str, since_us: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return (moments, numbers) of a series, oldest first; nothing where it is not known.

        Args:
            series: As Prometheus spells it, labels in alphabetical order.
            since_us: From when on, microseconds since the Unix epoch, UTC.
        """
        with self._lock:
            return self._ring.points(series, since_us)

    def figures(self) -> Mapping[str, float]:
        """Return the numbers of the newest snapshot by series."""
        latest = self._latest
        return {} if latest is None else figures_of_snapshot(latest)


class HistoryReader:
    """Fills a history from the topic, on a thread of its own: what is there first, then what comes.

    Args:
        connect: Returns settings with a broker, or raises `BrokerUnavailable`; tried again until
            it returns.
        history: Where to.
        look_back_s: How far back to begin, seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Settings],
        history: MetricsHistory,
        *,
        look_back_s: float = _ROWS,
    ) -> None:
        self.history = history
        start = datetime.now(UTC) - timedelta(seconds=look_back_s)
        self._reader = GroupReader(connect, (TOPIC,), name="metrics", plain=(TOPIC,), start=start)

    @property
    def connected(self) -> bool:
        """Whether snapshots are being read now."""
        return self._reader.connected

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._reader.start(self._take)

    def ready(self, timeout_s: float) -> None:
        """Wait until the history has what was there at the start.

        Raises:
            BrokerUnavailable: If that is not within `timeout_s`; it goes on trying.
        """
        self._reader.ready(timeout_s)

    def close(self) -> None:
        """End it; the history stays as it is."""
        self._reader.close()

    def _take(self, entries: Sequence[Entry]) -> None:
        for each in entries:
            if isinstance(each.packet, MetricsSnapshot):
                self.history.take(each.packet)
