"""The rolling upgrade itself: `python -m tests.upgrade.rolling`, run in the next version's tree.

It reads all logs along, so it must know the new schemas, as whoever is upgraded first must. Hence
the order: consumers first. The records of a stage are read by those after it, so the gateway is
replaced first and strategic last.
"""

import argparse
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.emergency.membership import LiveWorkers
from pipeline.gateway.application import paper_file
from pipeline.packets import schemas
from pipeline.packets.events import ControlKind
from pipeline.rules.oracle import Finding
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.faults.collector import LOGS, Collector
from tests.faults.rig import MODULES, ContinuedFeed, now_ms, settled_findings, steady_load
from tests.kafka_workers import Worker, read_topic

__all__ = ["ORDER", "Replaced", "Rolling"]

ORDER = ("gateway", "execution", "risk", "tactical", "strategic")
"""Consumers first."""

_STATIC = frozenset({"execution", "strategic"})
_CARRIERS = {
    "strategic": "StrategicSignal",
    "tactical": "TacticalSignal",
    "risk": "RiskAssessment",
    "execution": "ExecutionPlan",
}
_TIMEOUT_MS = 60_000
_LIMIT_S = 150.0
_DRAIN_S = 240.0
_LISTED = 20


class Replaced(msgspec.Struct, frozen=True):
    """One worker that was replaced.

    Attributes:
        stage: Its stage.
        way: `standby` (the new one joins before the old one leaves) or `static` (the new one has
            the old one's name in the group, and comes after it).
        gap_s: Longest time without a record of the stage meanwhile, seconds.
    """

    stage: str
    way: str
    gap_s: float


class Rolling:
    """A pipeline whose workers are replaced under load.

    Args:
        settings: Broker, namespace and home.
        old: Tree of the old code.
        new: Tree of the new code.
    """

    def __init__(self, settings: Settings, old: Path, new: Path) -> None:
        self.settings = settings
        self._old, self._new = old, new
        self._workers: dict[str, Worker] = {}
        self._started: list[Worker] = []
        self._groups = LiveWorkers(settings)
        apply_topics(settings, TopicFile.load())
        command = new_command(
            ControlKind.BOOTSTRAP, author="operator", reason="upgrade", clock=WallClock()
        )
        ControlWriter(settings, timeout_s=60.0).issue(command)
        self.seen = Collector(settings)

    def start(self) -> None:
        """Start a worker of each stage from the old tree, and wait until all own their logs."""
        for stage in LOGS:
            self._workers[stage] = self._spawn(stage, self._old)
        for stage in LOGS:
            owned = partial(self.seen.markers, stage)
            self.seen.wait(owned, f"a marker of {stage}", _LIMIT_S)

    def close(self) -> None:
        """Kill all workers."""
        for worker in self._started:
            worker.kill()
        self.seen.close()

    def flow(self, stage: str, records: int) -> None:
        """Wait until a stage's log has so many records more."""
        wanted = self.seen.count(stage) + records
        self.seen.wait(
            lambda: self.seen.count(stage) >= wanted, f"{records} more of {stage}", _LIMIT_S
        )

    def replace(self, stage: str, records: int) -> Replaced:
        """Replace the worker of a stage by one from the new tree; it must get on from there."""
        since_ms = now_ms()
        former = self._workers[stage]
        if stage in _STATIC:
            self._end(former)
            self._workers[stage] = self._spawn(stage, self._new)
        else:
            self._workers[stage] = self._spawn(stage, self._new)
            self.seen.wait(lambda: self._members(stage) > 1, f"a standby of {stage}", _LIMIT_S)
            self._end(former)
        # What is read is behind what is written: only an epoch opened since is the new worker's.
        self.seen.wait(
            lambda: self.seen.first_after_ms(stage, since_ms), f"a new {stage} to work", _LIMIT_S
        )
        # The gateway writes of flows with orders, and a busy machine has few of those.
        self.flow(stage, 1 if stage == "gateway" else records)
        gap_s = self.seen.longest_gap_s(stage, since_ms)
        return Replaced(stage, "static" if stage in _STATIC else "standby", round(gap_s, 2))

    def _members(self, stage: str) -> int:
        return self._groups.count((stage,)).get(stage, 0)

    def _spawn(self, stage: str, tree: Path) -> Worker:
        # Without a name of its own a standby would be taken for the one that it is to replace.
        instance = f"{stage}-1" if stage in _STATIC else ""
        settings = self.settings.model_copy(update={"instance": instance})
        worker = Worker(MODULES[stage], settings, len(self._started), tree)
        self._started.append(worker)
        return worker

    def _end(self, worker: Worker) -> None:
        worker.process.terminate()
        self.seen.wait(lambda: worker.process.poll() is not None, f"{worker.module} to end", 60.0)

    def findings(self) -> list[Finding]:
        """Wait until all that was sent is worked off; return what is wrong with it."""
        return settled_findings(self.seen, paper_file(self.settings), _DRAIN_S)

    def written(self) -> dict[str, dict[str, int]]:
        """Return how many records each stage wrote with the old schema, and with the new one."""
        return {stage: self._written(stage, name) for stage, name in _CARRIERS.items()}

    def _written(self, stage: str, name: str) -> dict[str, int]:
        new = b"\xc3\x01" + schemas.fingerprint_of(schemas.current(name))
        known = {b"\xc3\x01" + key for key, (kind, _) in schemas.history().items() if kind == name}
        counts = Counter(
            "new" if value[:10] == new else "old"
            for messages in read_topic(self.settings, LOGS[stage]).values()
            for each in messages
            if (value := bytes(each.value() or b""))[:10] in known
        )
        return {"old": counts["old"], "new": counts["new"]}


def _run(rolling: Rolling, rate: float, stages: Sequence[str]) -> dict[str, Any]:
    records = max(20, round(rate))
    rolling.start()
    began_s = time.monotonic()
    with steady_load(rolling.settings, ContinuedFeed(), rate):
        rolling.flow("gateway", 1)
        replaced = [rolling.replace(stage, records) for stage in stages]
        rolling.flow(stages[-1], records)
        seconds = time.monotonic() - began_s
    findings = rolling.findings()
    packets = rolling.seen.count("strategic")
    return {
        "offered_per_s": rate,
        "seconds": round(seconds, 1),
        "packets": packets,
        "packets_per_s": round(packets / seconds, 1),
        "lost": sum(each.lost for each in findings),
        "doubled": sum(each.doubled for each in findings),
        "violations": [f"{each.checker}: {each.text}" for each in findings[:_LISTED]],
        "replaced": [msgspec.structs.asdict(each) for each in replaced],
        "written": rolling.written(),
    }


def main() -> None:
    """Run it, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade.rolling")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--count", type=int, required=True)
    chosen = parser.parse_args()
    settings = load_settings(
        broker=chosen.broker, namespace=f"upgrade-{uuid.uuid4().hex[:8]}", home=chosen.home,
        cascade_timeout_ms=_TIMEOUT_MS, snapshot_interval_s=3.0,
    )  # fmt: skip
    rolling = Rolling(settings, chosen.old, Path.cwd())
    try:
        found = _run(rolling, chosen.rate, ORDER[: chosen.count])
    finally:
        rolling.close()
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main()
