"""A whole pipeline under test: five worker processes, each behind a proxy, and a steady load."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.gateway.application import paper_file
from pipeline.gateway.paper import PaperVenue
from pipeline.market import MarketBar, Publisher, PublishReport, open_feed
from pipeline.market.feed import Rejections
from pipeline.packets.events import ControlKind
from pipeline.rules.oracle import Finding, VenueFact, examine
from pipeline.settings import Settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.faults.collector import LOGS, Collector
from tests.faults.proxy import FaultProxy
from tests.kafka_workers import Worker

__all__ = [
    "MODULES",
    "RECORDS",
    "STAGES",
    "ContinuedFeed",
    "Rig",
    "now_ms",
    "settled_findings",
    "steady_load",
]

STAGES = tuple(LOGS)
RECORDS = {
    "strategic": ("StrategicSignal",),
    "tactical": ("TacticalSignal",),
    "risk": ("RiskAssessment", "PortfolioUpdate"),
    "execution": ("ExecutionPlan",),
    "gateway": ("OrderEvent",),
}
"""What each log holds beside markers."""

MODULES = {**{s: f"pipeline.stages.{s}" for s in STAGES}, "gateway": "pipeline.gateway"}
"""Module of each stage's app."""

_RATE = 60.0
# Longer than a take-over, so that orders outlive it; a quarter of it is how long orders wait.
_TIMEOUT_MS = 20_000
_START_S = 120.0
_FLOW_S = 60.0
_DRAIN_S = 90.0
_RESTART_PAUSE_S = 0.2  # as the supervisor of `cascade run` waits


def now_ms() -> int:
    """Return the wall clock, milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class ContinuedFeed:
    """The sample's bars, going on where the last load stopped."""

    def __init__(self) -> None:
        self._feed = open_feed("sample", seed=1)
        self._bars = iter(self._feed)
        self.label = self._feed.label
        self.expected_bars: int | None = None
        self.rejections: Rejections = self._feed.rejections

    def __iter__(self) -> Iterator[MarketBar]:
        return self._bars


@contextmanager
def steady_load(settings: Settings, feed: ContinuedFeed, rate: float) -> Iterator[None]:
    """Send market data at a steady rate all the while, and all of it by the end.

    Args:
        settings: Broker and namespace; the time that packets have.
        feed: What to send.
        rate: Packets a second.
    """
    publisher = Publisher(settings)
    stop = threading.Event()
    reports: list[PublishReport] = []

    def publish() -> None:
        reports.append(publisher.publish(feed, rate=rate, stop=stop))

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60.0)
    assert reports, "Expected the publisher to end, was still at it"
    assert reports[0].failed == 0, f"Expected all to be sent, was {reports[0].first_error}"


def settled_findings(seen: Collector, venue_file: Path, limit_s: float) -> list[Finding]:
    """Wait until all that was sent is worked off; return what is wrong with it.

    Args:
        seen: What was written to the topics.
        venue_file: Of the paper venue.
        limit_s: The longest wait, seconds; what is not worked off then is a finding.
    """
    found = []
    try:
        seen.wait(seen.at_rest, "all to be worked off", limit_s)
    except AssertionError as error:
        found.append(Finding("at-rest", str(error), lost=True))
    return [*found, *examine(seen.evidence(_venue_facts(venue_file)))]


def _venue_facts(file: Path) -> list[VenueFact]:
    """Return what the venue of a file took, each time that it took it."""
    with PaperVenue(file) as venue:
        filled = {each.report.client_order_id: each.report.filled for each in venue.orders()}
        taken = [each for each in venue.submissions() if each.outcome == "accepted"]
    facts: dict[str, VenueFact] = {}
    repeated = []
    for each in taken:
        name = each.client_order_id
        if name in facts:
            repeated.append(replace(facts[name], filled=0.0, taken_at=each.at))
        else:
            facts[name] = VenueFact(name, each.at, filled[name])
    return [*facts.values(), *repeated]


class Rig:
    """A namespace with its workers; made once, it stands many faults.

    Args:
        settings: Broker, namespace and home. Limits of sessions and heartbeats are as they come.
        broker: The broker's own address, for the workers' proxies.
    """

    def __init__(self, settings: Settings, broker: str) -> None:
        self.settings = settings.model_copy(
            update={"cascade_timeout_ms": _TIMEOUT_MS, "snapshot_interval_s": 3.0}
        )
        self.broker = broker
        self.proxies: dict[str, FaultProxy] = {}
        self.workers: dict[str, Worker] = {}
        self._others: list[tuple[Worker, FaultProxy]] = []
        self._started = 0
        self._feed = ContinuedFeed()
        self._collector: Collector | None = None

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make topics, allow trading, start all workers, and wait until packets flow."""
        apply_topics(self.settings, TopicFile.load())
        command = new_command(
            ControlKind.BOOTSTRAP, author="operator", reason="fault suite", clock=WallClock()
        )
        ControlWriter(self.settings, timeout_s=30.0).issue(command)
        self._collector = Collector(self.settings)
        for stage in STAGES:
            self.proxies[stage] = FaultProxy(self.broker)
            self.workers[stage] = self._spawn(stage, self.proxies[stage])
        for stage in STAGES:
            owned = partial(self.seen.markers, stage)
            self.seen.wait(owned, f"a marker of {stage}", _START_S)

    def close(self) -> None:
        """Kill all workers and end the proxies."""
        for worker in (*self.workers.values(), *(each for each, _ in self._others)):
            worker.kill()
        for proxy in (*self.proxies.values(), *(each for _, each in self._others)):
            proxy.close()
        if self._collector is not None:
            self._collector.close()

    def calm(self) -> None:
        """Take all faults away, and all workers but one of each stage."""
        for proxy in self.proxies.values():
            proxy.reset()
        while self._others:
            worker, proxy = self._others.pop()
            proxy.reset()
            worker.kill()
            proxy.close()
        for stage in STAGES:
            if self.workers[stage].process.poll() is not None:
                self.restart(stage)

    @property
    def seen(self) -> Collector:
        """What was read of the topics."""
        assert self._collector is not None, "Expected a rig that was started"
        return self._collector

    def moved_to(self, broker: str) -> None:
        """Note that the broker came back at another address."""
        self.broker = broker
        for proxy in (*self.proxies.values(), *(each for _, each in self._others)):
            proxy.upstream = broker

    # -- workers -----------------------------------------------------------------------------------

    def _spawn(self, stage: str, proxy: FaultProxy) -> Worker:
        self._started += 1
        settings = self.settings.model_copy(update={"broker": proxy.address})
        return Worker(MODULES[stage], settings, self._started)

    def restart(self, stage: str) -> None:
        """Start a stage's worker again after it was killed or stopped, as `cascade run` does."""
        self.proxies[stage].reset()
        time.sleep(_RESTART_PAUSE_S)
        self.workers[stage] = self._spawn(stage, self.proxies[stage])

    def add(self, stage: str, proxy: FaultProxy | None = None) -> tuple[Worker, FaultProxy]:
        """Start one more worker of a stage."""
        proxy = proxy or FaultProxy(self.broker)
        worker = self._spawn(stage, proxy)
        self._others.append((worker, proxy))
        return worker, proxy

    def rival(self, stage: str) -> tuple[Worker, FaultProxy]:
        """Start a worker that is in a group of its own, so that nobody keeps it from the log."""
        group = self.settings.group(f"cascade.{stage}").encode()
        return self.add(stage, FaultProxy(self.broker, rename=(group, group[:-1] + b"~")))

    def exchange(self, stage: str, worker: Worker) -> Worker:
        """Make one of the added workers the stage's own; return the one that it was."""
        index = next(i for i, (each, _) in enumerate(self._others) if each is worker)
        _, proxy = self._others[index]
        former = self.workers[stage]
        self._others[index] = (former, self.proxies[stage])
        self.workers[stage], self.proxies[stage] = worker, proxy
        return former

    # -- load --------------------------------------------------------------------------------------

    @contextmanager
    def load(self, *, timeout_ms: int = _TIMEOUT_MS) -> Iterator[None]:
        """Send market data at a steady rate all the while, and all of it by the end.

        Args:
            timeout_ms: From acceptance to deadline.
        """
        settings = self.settings.model_copy(update={"cascade_timeout_ms": timeout_ms})
        with steady_load(settings, self._feed, _RATE):
            yield

    def flows(self, *stages: str, records: int = 5) -> None:
        """Wait until logs grow: those of `stages`, of all where none is named."""
        wanted = {stage: self.seen.count(stage) + records for stage in stages or STAGES}

        def grown() -> bool:
            return all(self.seen.count(stage) >= count for stage, count in wanted.items())

        self.seen.wait(grown, f"{records} more records of {', '.join(wanted)}", _FLOW_S)

    def taken_over(self, stage: str, before: int) -> None:
        """Wait until partition 0 of a stage's log has more markers than `before`."""
        self.seen.wait(
            lambda: self.seen.markers(stage) > before, f"a take-over of {stage}", _FLOW_S
        )

    def recovered_s(self, stage: str, since_ms: int, *, new_owner: bool = True) -> float:
        """Wait for the first record of a stage after a fault; return how long it took, seconds.

        Args:
            stage: The stage.
            since_ms: When the fault was, milliseconds since the Unix epoch.
            new_owner: Whether it must be one of an epoch opened since.
        """
        find = self.seen.first_after_ms if new_owner else self.seen.next_after_ms
        self.seen.wait(lambda: find(stage, since_ms), f"{stage} to come back", _FLOW_S)
        return max(0.0, ((find(stage, since_ms) or since_ms) - since_ms) / 1000)

    # -- judgement ---------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """Wait until all that was sent is worked off; return what is wrong with it."""
        return settled_findings(self.seen, self.venue_file, _DRAIN_S)

    def refused(self) -> int:
        """Return how often the venue refused an id that it knew."""
        with PaperVenue(self.venue_file) as venue:
            return sum(1 for each in venue.submissions() if each.outcome == "duplicate")

    @property
    def venue_file(self) -> Path:
        """File of the paper broker."""
        return paper_file(self.settings)

    def losses(self, stage: str) -> int:
        """Return how often a stage's worker has noticed so far that it was taken over."""
        return len(re.findall(r"ownership_lost|revoked", self.workers[stage].log))
