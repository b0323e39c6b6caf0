"""`cascade run --autoscale` as a process, what it says, and all that its cascade writes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

from pipeline.gateway.application import paper_file
from pipeline.packets.codec import decode
from pipeline.packets.events import MetricsSnapshot
from pipeline.rules.oracle import Finding
from pipeline.run.workers import child_environment
from pipeline.settings import Settings
from pipeline.watch.catalogue import spelled
from pipeline.watch.history import TOPIC, figures_of_snapshot
from tests.cluster import prepare
from tests.faults.collector import LOGS, Collector
from tests.faults.rig import ContinuedFeed, now_ms, settled_findings, steady_load
from tests.kafka_workers import as_bytes, read_topic

__all__ = ["Autoscaled", "Change"]

_START_S = 150.0
_SCALE_S = 120.0
_DRAIN_S = 180.0
_END_S = 30.0


class Change(NamedTuple):
    """A worker that was added, or that ended because it was one too many.

    Attributes:
        worker: Its name.
        event: `started` or `stopped`.
        pid: Its process.
        at_s: When, monotonic clock, seconds.
        at_ms: When, milliseconds since the Unix epoch.
    """

    worker: str
    event: str
    pid: int
    at_s: float
    at_ms: int

    @property
    def stage(self) -> str:
        """Its stage."""
        return self.worker.partition("-")[0]

    @property
    def added(self) -> bool:
        """Whether it is one that scaling brought."""
        return "-auto-" in self.worker


class Autoscaled:
    """A cascade whose supervisor adds and ends workers.

    Args:
        settings: Broker, namespace, home, and the limits of scaling.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        prepare(settings)
        self.seen = Collector(settings)
        self.changes: list[Change] = []
        self._lines: list[str] = []
        self._feed = ContinuedFeed()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "run", "--autoscale", "--no-emergency",
             "--json"],
            env=child_environment(settings, os.environ), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End it in order, and by force where that is not enough."""
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its workers end with it
            self._process.wait(_END_S)
        self._reader.join(_END_S)
        self.seen.close()

    def wait_ready(self) -> None:
        """Wait until all logs have an owner."""
        self._wait(lambda: all(map(self.seen.markers, LOGS)), "owners of all logs", _START_S)

    @contextmanager
    def load(self, rate: float) -> Iterator[None]:
        """Offer so many packets a second, until the block ends."""
        with steady_load(self.settings, self._feed, rate):
            yield

    def wait_added(self, since_s: float) -> Change:
        """Wait until a worker is added; return the first since a moment."""
        self._wait(lambda: self.added(since_s), "a worker to be added", _SCALE_S)
        return self.added(since_s)[0]

    def wait_works(self, added: Change) -> None:
        """Wait until partitions of its stage have a new owner that decides."""
        self._wait(
            lambda: self.seen.first_after_ms(added.stage, added.at_ms),
            f"an owner of {added.stage} since {added.worker} is there",
            _SCALE_S,
        )

    def wait_alone(self) -> float:
        """Wait until each stage has one worker again; return when that was, monotonic clock."""
        self._wait(lambda: not self.surplus(), "all that were added to end", 2 * _SCALE_S)
        return max((each.at_s for each in list(self.changes)), default=time.monotonic())

    def surplus(self) -> set[str]:
        """Return the workers that scaling brought and that run."""
        running: set[str] = set()
        for each in list(self.changes):
            if each.added:
                (running.add if each.event == "started" else running.discard)(each.worker)
        return running

    def kill(self, worker: str) -> None:
        """Kill -9 a worker; its supervisor starts it again."""
        pids = [each.pid for each in list(self.changes) if each.worker == worker]
        os.kill(pids[-1], signal.SIGKILL)

    def restarted(self, worker: str) -> bool:
        """Say whether a worker was started more than once."""
        starts = [each for each in self.changes if (each.worker, each.event) == (worker, "started")]
        return len(starts) > 1

    def findings(self) -> list[Finding]:
        """Wait until all that was sent is worked off; return what is wrong with it."""
        return settled_findings(self.seen, paper_file(self.settings), _DRAIN_S)

    def busy(self, stage: str, since_us: int, until_us: int) -> float | None:
        """Return for what share of a time the busiest worker of a stage was busy, its median."""
        shares = [
            max(
                figures.get(spelled("cascade_stage_utilisation_ratio", {"stage": stage}), 0.0),
                figures.get(spelled("cascade_worker_cpu_ratio", {"system": stage}), 0.0),
            )
            for message in read_topic(self.settings, TOPIC)[0]
            if isinstance(found := decode(as_bytes(message.value())), MetricsSnapshot)
            and since_us <= found.time <= until_us
            for figures in [figures_of_snapshot(found)]
        ]
        return round(median(shares), 3) if shares else None

    def said(self) -> list[str]:
        """Return the lines in which it told why it scaled."""
        return [each for each in list(self._lines) if "are recommended" in each]

    def added(self, since_s: float) -> list[Change]:
        """Return the workers that were added since a moment, monotonic clock."""
        return [
            each
            for each in list(self.changes)
            if each.added and each.event == "started" and each.at_s >= since_s
        ]

    def _wait(self, condition: Callable[[], object], what: str, limit_s: float) -> None:
        def met() -> object:
            assert self._process.poll() is None, f"Expected the run to go on: {self._lines[-5:]}"
            return condition()

        self.seen.wait(met, what, limit_s)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            self._lines.append(said["text"])
            if said.get("event") in ("started", "stopped"):
                self.changes.append(
                    Change(said["worker"], said["event"], said["pid"], time.monotonic(), now_ms())
                )
