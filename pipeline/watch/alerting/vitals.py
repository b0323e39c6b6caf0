"""Who is alive: figures that nobody's packets tell, for the rules.

| series | what it says |
|---|---|
| `cascade_heartbeat_silence_seconds{system}` | since a worker of the system was last heard of |
| `cascade_broker_silence_seconds` | since the broker last answered |
| `cascade_worker_exits{worker}` | how often it ended unasked within the last minute |

Exits are what supervisors (`cascade run`) announce. A system that said farewell is not
silent, nor is one that nobody has heard of since this process began.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.coordination.membership import Directory
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.vocabulary import Role
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.kafka_logging import ClientLog
from pipeline.watch.alerting.ledger import TOPIC
from pipeline.watch.catalogue import spelled

__all__ = ["ExitCounts", "VitalSigns", "figures_of_directory"]

_logger = logging.getLogger(__name__)

_ASK_S = 1.0
_EXITS_S = 60.0
_WORKERS = "workers"


class _Announced(msgspec.Struct, frozen=True):
    name: str
    exits: int = 0


def figures_of_directory(directory: Directory, monotonic_s: float) -> dict[str, float]:
    """Return how long each system of workers has been silent.

    Args:
        directory: Who was heard of.
        monotonic_s: Now, on the clock of the directory.
    """
    silent: dict[str, float] = {}
    for member in (*directory.live(monotonic_s), *directory.lost(monotonic_s)):
        if member.said.role is not Role.WORKER:
            continue
        silent_s = directory.silent_s(member, monotonic_s)
        silent[member.system_id] = min(silent_s, silent.get(member.system_id, silent_s))
    return {
        spelled("cascade_heartbeat_silence_seconds", {"system": name}): silent_s
        for name, silent_s in silent.items()
    }


class ExitCounts:
    """Counts exits of workers within the last minute, from totals that their supervisors tell."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._seen: dict[str, deque[float]] = {}

    def take(self, totals: Mapping[str, int], now_s: float) -> dict[str, int]:
        """Take totals by worker; return how many came to them within the last minute."""
        for name, total in totals.items():
            more = total - self._totals.get(name, total)
            self._seen.setdefault(name, deque()).extend([now_s] * max(0, more))
            self._totals[name] = total
        for name in self._totals.keys() - totals.keys():
            del self._totals[name], self._seen[name]
        for times in self._seen.values():
            while times and times[0] < now_s - _EXITS_S:
                times.popleft()
        return {name: len(times) for name, times in self._seen.items()}


class VitalSigns:
    """Listens to heartbeats, and asks the broker for a sign of life once a second.

    Args:
        bus: Connection to Kafka; it is not closed here.
        monotonic: Seconds that only run forward.
    """

    def __init__(self, bus: EventBus, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._monotonic = monotonic
        self._service = CoordinationService(bus, monotonic=monotonic)
        self._exits = ExitCounts()
        self._answered_s: float | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts-broker", daemon=True)

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._service.start_soon()
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._service.close()

    @property
    def broker_silent_s(self) -> float:
        """Seconds since the broker last answered; 0 before it ever has."""
        answered_s = self._answered_s
        return 0.0 if answered_s is None else max(0.0, self._monotonic() - answered_s)

    def figures(self) -> dict[str, float]:
        """Return the figures as of now."""
        now_s = self._monotonic()
        directory = self._service.directory
        found = {
            "cascade_broker_silence_seconds": self.broker_silent_s,
            **figures_of_directory(directory, now_s),
        }
        workers = [
            worker
            for member in directory.live(now_s)
            for worker in _workers(member.said.configuration)
        ]
        exits = self._exits.take({each.name: each.exits for each in workers}, now_s)
        for each in workers:
            series = spelled("cascade_worker_exits", {"worker": each.name})
            found[series] = float(exits[each.name])
        return found

    def _run(self) -> None:
        admin: AdminClient | None = None
        while not self._closing.is_set():
            try:
                settings = self._bus.connect()
                if admin is None:
                    properties = settings.client(client_id=settings.group("alerts"))
                    admin = AdminClient(properties, logger=ClientLog(_logger))
                admin.list_topics(settings.topic(TOPIC), timeout=_ASK_S)
            except (KafkaException, PipelineError) as error:
                _logger.debug("the broker gives no sign of life: %s", error)
            else:
                self._answered_s = self._monotonic()
            self._closing.wait(_ASK_S)


def _workers(configuration: Mapping[str, Any]) -> tuple[_Announced, ...]:
    try:
        return msgspec.convert(configuration.get(_WORKERS, ()), tuple[_Announced, ...])
    except msgspec.ValidationError:
        return ()
