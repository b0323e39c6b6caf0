"""What is remembered of a stream of facts, so that an observation can be made of it; pure."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.control.scope import POLICIES
from pipeline.emergency.observation import PacketFigures
from pipeline.emergency.supervising import WorkerSeen
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.fates import Fate
from pipeline.watch.observations import FlowEnd

__all__ = ["ExitTally", "PacketTally", "Standstill", "writer_before"]

_MOST = 100_000
_MINUTE_S = 60.0
_MARKET = "source:market"
_INVALID = frozenset({Fate.VALIDATION, Fate.ROUTING})
_FAILED = frozenset({Fate.POLICY_FAILED, Fate.BREAKER_OPEN})


def writer_before(stage: str) -> str:
    """Return who wrote what a stage reads: the stage before it, or the market."""
    if stage == "gateway":
        return POLICIES[-1]
    place = POLICIES.index(stage) if stage in POLICIES else 0
    return POLICIES[place - 1] if place else _MARKET


class _End(NamedTuple):
    at_s: float
    sign: str
    about: str
    symbol: str
    latency_ms: float
    spent_ms: tuple[tuple[str, float], ...]


_MALFORMED, _BROKEN, _FAILING, _FINE = "malformed", "invalid", "failed", "fine"


class PacketTally:
    """The packets that ended of late."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._ends: deque[_End] = deque(maxlen=_MOST)
        self.ended = 0

    def take(self, end: FlowEnd, now_s: float) -> None:
        """Take the end of a packet."""
        self.ended += 1
        sign, about = _sign_of(end)
        before, spent = end.accepted_at, []
        for hop in end.trace:
            spent.append((hop.stage, max(0, hop.finished - before) / 1000))
            before = hop.finished
        latency_ms = max(0, end.finished - end.accepted_at) / 1000 if end.finished else 0.0
        self._ends.append(_End(now_s, sign, about, end.symbol, latency_ms, tuple(spent)))
        self._forget(now_s)

    def take_unreadable(self, writer: str, now_s: float) -> None:
        """Take a record of a log that is no packet."""
        self.ended += 1
        self._ends.append(_End(now_s, _MALFORMED, writer, "", 0.0, ()))

    def figures(
        self, now_s: float, window_s: float, forced_open: Iterable[str] = ()
    ) -> PacketFigures:
        """Return the figures of the window that ends now.

        Args:
            now_s: Now, seconds.
            window_s: The window, seconds.
            forced_open: Stages whose breaker is open by command: that they hold packets is no
                failure.
        """
        ends = [each for each in self._ends if each.at_s > now_s - window_s]
        if not ends:
            return PacketFigures()
        commanded = set(forced_open)
        spent: Counter[str] = Counter()
        for each in ends:
            for stage, ms in each.spent_ms:
                spent[stage] += ms  # type: ignore[assignment]  # milliseconds have fractions
        readable = [each.latency_ms for each in ends if each.spent_ms]
        broken = [each for each in ends if each.sign == _BROKEN]
        return PacketFigures(
            ended=len(ends),
            malformed=Counter(each.about for each in ends if each.sign == _MALFORMED),
            invalid=Counter(each.about for each in broken),
            invalid_symbols=Counter(each.symbol for each in broken),
            failed=Counter(
                each.about for each in ends if each.sign == _FAILING and each.about not in commanded
            ),
            p95_ms=float(np.percentile(readable, 95)) if readable else None,
            slowest=max(spent, key=lambda stage: spent[stage]) if spent else "",
        )

    def _forget(self, now_s: float) -> None:
        while self._ends and self._ends[0].at_s <= now_s - self._window_s:
            self._ends.popleft()


def _sign_of(end: FlowEnd) -> tuple[str, str]:
    reasons = set(end.reasons)
    if end.kind is OutcomeKind.DEAD_LETTERED and Fate.MALFORMED in reasons:
        return _MALFORMED, writer_before(end.stage)
    if end.kind is OutcomeKind.DEAD_LETTERED and not _INVALID.isdisjoint(reasons):
        return _BROKEN, writer_before(end.stage)
    if not _FAILED.isdisjoint(reasons):
        return _FAILING, end.stage
    return _FINE, ""


class Standstill:
    """For how long packets have entered and none has left."""

    def __init__(self) -> None:
        self._ended = -1
        self._mark = 0
        self._since_s: float | None = None

    def take(self, offered: int, ended: int, now_s: float) -> float:
        """Take how many packets have ever entered and left; return the seconds, mostly 0."""
        if ended != self._ended:
            self._ended, self._mark, self._since_s = ended, offered, None
        elif offered > self._mark and self._since_s is None:
            self._since_s = now_s
        return 0.0 if self._since_s is None else now_s - self._since_s


@dataclass(slots=True)
class _Worker:
    exits: int
    pid: int | None
    stages: tuple[str, ...]
    started_s: float


class ExitTally:
    """Which worker processes ended, and which are new."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        self._exits: deque[tuple[float, str]] = deque(maxlen=_MOST)

    def take(self, workers: Iterable[WorkerSeen], now_s: float) -> None:
        """Take the workers as supervisors announce them now."""
        # What was there before the first look is no news: it may be hours old.
        since_s = now_s if self._workers else float("-inf")
        for each in workers:
            known = self._workers.get(each.name)
            if known is None:
                self._workers[each.name] = _Worker(each.exits, each.pid, each.stages, since_s)
                continue
            for _ in range(max(0, each.exits - known.exits)):
                self._exits.append((now_s, each.name))
            if each.pid != known.pid:
                known.started_s = now_s
            known.exits, known.pid, known.stages = each.exits, each.pid, each.stages

    def lately(self, now_s: float) -> Mapping[str, tuple[int, tuple[str, ...]]]:
        """Return how often each worker ended within the last minute, with its stages."""
        counts = Counter(name for at_s, name in self._exits if at_s > now_s - _MINUTE_S)
        return {name: (count, self._workers[name].stages) for name, count in counts.items()}

    def starting(self, stage: str, now_s: float, grace_s: float) -> bool:
        """Say whether a worker of a stage is in its first seconds."""
        return any(
            stage in each.stages and now_s - each.started_s < grace_s
            for each in self._workers.values()
        )
