"""Instants at which a worker can be killed, as what the proxy sees of them.

before-produce    its records were decided and never left the machine
unacked           its records stand in the log, and nobody told it so
marker            it has taken its log over, and has written nothing yet
restore           its snapshot is loaded, its marker written, its log is being read
snapshot          half of a snapshot was sent
result            (gateway) the venue took an order, and the log does not say so yet
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.frames import Api, Fate, Frame, kinds_in, prefix
from tests.faults.proxy import FaultProxy
from tests.faults.rig import RECORDS, Rig, now_ms
from tests.kafka_workers import Worker

__all__ = ["POINTS", "Point", "Strike", "held"]

_LIMIT_S = 90.0


@dataclass(frozen=True, slots=True)
class Point:
    """An instant.

    Attributes:
        hit: Says, of a stage, whether a frame marks the instant.
        fate: What becomes of that frame.
        afresh: Whether the instant is part of a take-over, so that the worker is started for it.
    """

    hit: Callable[[str, Frame], bool]
    fate: Fate
    afresh: bool = False


def _records(stage: str) -> tuple[bytes, ...]:
    return tuple(prefix(name) for name in RECORDS[stage])


def _produces(stage: str, frame: Frame) -> bool:
    return frame.asks(Api.PRODUCE, *_records(stage))


def _acknowledged(stage: str, frame: Frame) -> bool:
    return frame.acknowledges(*_records(stage))


def _reads_own_log(stage: str, frame: Frame) -> bool:
    return frame.brings(prefix("Marker"), *_records(stage))


def _writes_snapshot(stage: str, frame: Frame) -> bool:
    return frame.asks(Api.PRODUCE, prefix("Snapshot"))


def _writes_result(stage: str, frame: Frame) -> bool:
    return _produces(stage, frame) and any(each != "SUBMITTING" for each in kinds_in(frame.request))


POINTS = {
    "before-produce": Point(_produces, Fate.CUT),
    "unacked": Point(_acknowledged, Fate.CUT),
    "marker": Point(_produces, Fate.CUT, afresh=True),
    "restore": Point(_reads_own_log, Fate.CUT, afresh=True),
    "snapshot": Point(_writes_snapshot, Fate.TEAR),
    "result": Point(_writes_result, Fate.CUT),
}


class Strike:
    """Kills a stage's worker at a point, once.

    Args:
        rig: The pipeline.
        stage: Whose worker.
        point: When.
    """

    def __init__(self, rig: Rig, stage: str, point: Point) -> None:
        self._rig = rig
        self._stage = stage
        self._point = point
        self._struck = threading.Event()
        self._victim: Worker | None = None
        self.at_ms = 0

    def carry_out(self) -> int:
        """Wait for the instant and kill; return when it was, milliseconds since the Unix epoch."""
        if self._point.afresh:
            self._rig.workers[self._stage].stop()
            self._rig.restart(self._stage)
        self._victim = self._rig.workers[self._stage]
        self._rig.proxies[self._stage].rule = self._rule
        self._rig.seen.wait(self._struck.is_set, f"{self._stage} to reach the point", _LIMIT_S)
        return self.at_ms

    def _rule(self, frame: Frame) -> Fate:
        if self._struck.is_set() or not self._point.hit(self._stage, frame):
            return Fate.PASS
        assert self._victim is not None, "Expected a worker to kill"
        self.at_ms = now_ms()
        self._victim.kill()
        self._struck.set()
        return self._point.fate


def held(proxy: FaultProxy, hit: Callable[[Frame], bool]) -> threading.Event:
    """Have the proxy hold the first frame that fits; the event is set once it does."""
    holding = threading.Event()

    def rule(frame: Frame) -> Fate:
        if holding.is_set() or not hit(frame):
            return Fate.PASS
        holding.set()
        return Fate.HOLD

    proxy.rule = rule
    return holding
