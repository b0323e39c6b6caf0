"""What watching costs the path, and whether the monitor measures what is there.

One turn of the pipeline; beside it the workers that watch are started and stopped again and again,
so that runs with and without them are interleaved: off, on, on, off, off, on. Each run has a phase
at a steady rate, for latencies, and a flood, for throughput. Packets have a patient deadline, so
that the flood is worked off whole.

The bench takes latencies from the execution log by its own reader, after the fact: from when its
load accepted a packet until the broker had the record of its end. The monitor's percentiles of the
same are those of its snapshot whose window covers the phase.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.reading import newest_progress
from pipeline.bench.contenders import contender
from pipeline.bench.cost import CostMeter
from pipeline.bench.lab import Check, Lab, at_least, at_most
from pipeline.bench.reader import Arrival, check
from pipeline.bench.turn import Turn
from pipeline.bench.waiting import wait_until
from pipeline.clock import WallClock
from pipeline.run import WATCHERS, Supervisor, child_environment, worker_specs
from pipeline.watch.history import HistoryReader, MetricsHistory
from pipeline.watch.worker import WINDOW_S

__all__ = ["WatchRun", "Watched", "interleaving", "ratios", "watch", "watch_table"]

_PATIENT_MS = 30_000
_WITHIN = 0.05
_MOST_P50_RATIO = 1.10
_UP_S = 120.0
_POLL_S = 0.1
_STOP_S = 15.0
_DRAIN_S = 60.0
_FLOOD_RATE = 5000.0
# What ended last must have been read before the snapshot: its fetch and the sample take so long.
_READ_US = 700_000
_SECOND_US = 1_000_000
_SERIES = 'cascade_end_to_end_latency_quantile_seconds{{path="recorded",quantile="{}"}}'
_MIDDLE = (0.1, 0.9)


@dataclass(slots=True)
class WatchRun:
    """One run; times in milliseconds.

    Attributes:
        watched: Whether the workers that watch were there.
        p50: Of the path, from due to recorded, at the steady rate.
        p99: The same.
        per_second: Packets a second that the flood was worked off at.
        lost: Packets without an outcome.
        duplicates: Packets with two.
        watchers_cpu: Share of one core that the watchers used at the steady rate.
        measured: p50 and p99 as the bench measured them over the monitor's window; None where
            nobody watched.
        monitored: The same as the monitor measured them.
    """

    watched: bool
    p50: float
    p99: float
    per_second: float
    lost: int
    duplicates: int
    watchers_cpu: float = 0.0
    measured: tuple[float, float] | None = None
    monitored: tuple[float, float] | None = None


@dataclass(slots=True)
class Watched:
    """What came of it.

    Attributes:
        watchers: Who watched.
        rate: Packets a second of the steady phases.
        runs: The runs, in their order.
    """

    watchers: tuple[str, ...] = ()
    rate: float = 0.0
    runs: list[WatchRun] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it, with the ratios of on against off."""
        spreads = {
            name: dict(zip(("median", "least", "most"), _spread(found), strict=True))
            for name, found in ratios(self.runs).items()
        }
        return {**asdict(self), "ratios": spreads}


def watch(lab: Lab, mode: str, rate: float, pairs: int, flood: int, found: Watched) -> list[Check]:
    """Measure the path with and without the workers that watch, and them.

    Args:
        lab: The bench.
        mode: single, paired or processes.
        rate: Packets a second of the steady phases.
        pairs: How many pairs of runs.
        flood: Packets of a flood.
        found: Where the figures go.
    """
    patient = replace(
        contender(mode), timeout_ms=_PATIENT_MS, overrides={"cascade_timeout_ms": _PATIENT_MS}
    )
    found.watchers, found.rate = tuple(name for name, _ in WATCHERS), rate
    with lab.turn(patient) as turn:
        for number, watched in enumerate(interleaving(pairs), 1):
            lab.ground.say(f"watch: run {number} of {2 * pairs}, {'on' if watched else 'off'}.")
            with _watchers(turn) if watched else nullcontext() as supervisor:
                found.runs.append(_run(turn, rate, flood, supervisor))
    return _checks(found)


def interleaving(pairs: int) -> Iterator[bool]:
    """Yield whether somebody watches, run by run: neither is always first."""
    for number in range(pairs):
        yield from (False, True) if number % 2 == 0 else (True, False)


def ratios(runs: Sequence[WatchRun]) -> dict[str, list[float]]:
    """Return the ratios of on against off, pair by pair, by figure."""
    couples = [sorted(runs[at : at + 2], key=lambda each: each.watched)
               for at in range(0, len(runs) - 1, 2)]  # fmt: skip
    return {
        "p50": [on.p50 / off.p50 for off, on in couples],
        "p99": [on.p99 / off.p99 for off, on in couples],
        "throughput": [on.per_second / off.per_second for off, on in couples],
    }


def watch_table(found: Watched) -> str:
    """Return the runs and the ratios as text."""
    lines = [
        f"watched by {', '.join(found.watchers)}; {found.rate:g} packets/s, then a flood",
        "watched   p50 ms   p99 ms  flood/s  watchers' CPU   bench p50, p99   monitor p50, p99",
    ]
    for each in found.runs:
        seen = "".join(
            f"   {pair[0]:7.2f} {pair[1]:7.2f}"
            for pair in (each.measured, each.monitored)
            if pair is not None
        )
        lines.append(
            f"{'on' if each.watched else 'off':>7} {each.p50:8.2f} {each.p99:8.2f}"
            f" {each.per_second:8.0f} {each.watchers_cpu:14.2f}{seen}"
        )
    for name, values in ratios(found.runs).items():
        middle, least, most = _spread(values)
        lines.append(f"{name}, on / off: {middle:.3f} ({least:.3f} to {most:.3f})")
    return "\n".join(lines)


def _checks(found: Watched) -> list[Check]:
    on = [each for each in found.runs if each.watched]
    compared = [(each.measured, each.monitored) for each in on if each.measured and each.monitored]
    off_by = [
        max((abs(theirs[at] / ours[at] - 1.0) for ours, theirs in compared), default=None)
        for at in (0, 1)
    ]
    p50 = median(ratios(found.runs)["p50"])
    return [
        at_least("runs in which the monitor was compared", len(compared), len(on)),
        at_most("monitor's p50 off by, worst run", off_by[0], _WITHIN),
        at_most("monitor's p99 off by, worst run", off_by[1], _WITHIN),
        at_most("path's p50, on over off, median", p50, _MOST_P50_RATIO),
        at_most("packets lost", sum(each.lost for each in found.runs), 0),
        at_most("packets with two outcomes", sum(each.duplicates for each in found.runs), 0),
    ]


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


@contextmanager
def _watchers(turn: Turn) -> Iterator[Supervisor]:
    """Have the workers watch that `cascade run` starts for it, until the block ends."""
    names = {name for name, _ in WATCHERS}
    supervisor = Supervisor(
        [spec for spec in worker_specs(watch=True) if spec.name in names],
        environment=child_environment(turn.settings, os.environ),
        log_folder=turn.folder / "logs",
    )
    try:
        since_us = WallClock().now_us()
        supervisor.start()
        with closing(_history(turn)) as reader:
            _await(reader.history, since_us)
        # What went through without it is no work of the run that is measured.
        _await_audit(turn, since_us)
        yield supervisor
    finally:
        supervisor.stop(_STOP_S)


def _run(turn: Turn, rate: float, flood: int, supervisor: Supervisor | None) -> WatchRun:
    # The monitor's window has to cover the phase, and what is read after it.
    seconds = 0.75 * WINDOW_S
    pids = [each.pid for each in supervisor.workers() if each.pid] if supervisor else []
    meter = CostMeter({"watchers": pids})
    before_s, began_s = meter.cpu_s()["watchers"], time.monotonic()
    steady, checked = _phase(turn, round(rate * seconds), rate)
    used = (meter.cpu_s()["watchers"] - before_s) / (time.monotonic() - began_s)
    p50, p99 = np.percentile(checked.latency_us, [50, 99]) / 1000
    compared = _compared(turn, steady) if supervisor else (None, None)
    flooded, swamped = _phase(turn, flood, _FLOOD_RATE)
    return WatchRun(
        supervisor is not None,
        float(p50),
        float(p99),
        _per_second(flooded),
        checked.lost + swamped.lost,
        checked.duplicates + swamped.duplicates,
        used,
        *compared,
    )


def _phase(turn: Turn, count: int, rate: float) -> tuple[list[Arrival], Any]:
    turn.begin(count, rate)
    sent = turn.end(count, _DRAIN_S)
    arrivals = turn.reader.read()
    return arrivals, check(arrivals, sent.first, sent.count, turn.ground.symbols)


def _per_second(arrivals: Sequence[Arrival]) -> float:
    """Return how fast a flood was worked off, its beginning and end left out."""
    at_us = np.sort(np.array([each.appended_us for each in arrivals], dtype=np.float64))
    first, last = (int(share * (len(at_us) - 1)) for share in _MIDDLE)
    return (last - first) * _SECOND_US / max(1.0, float(at_us[last] - at_us[first]))


def _compared(
    turn: Turn, arrivals: Sequence[Arrival]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (p50, p99) as the bench and as the monitor measured them over the same packets."""
    last_us = max(each.appended_us for each in arrivals)
    with closing(_history(turn)) as reader:
        _await(reader.history, last_us + _READ_US)
        times_us, halves = reader.history.points(_SERIES.format("0.5"), last_us + _READ_US)
        _, tails = reader.history.points(_SERIES.format("0.99"), last_us + _READ_US)
    since_us = int(times_us[0]) - int(WINDOW_S * _SECOND_US)
    ours = _percentiles(
        np.array(
            [
                each.appended_us - each.seen.accepted_us
                for each in arrivals
                if each.appended_us >= since_us
            ],
            dtype=np.float64,
        )
    )
    return ours, (float(halves[0]) * 1000, float(tails[0]) * 1000)


def _percentiles(latency_us: NDArray[np.float64]) -> tuple[float, float]:
    p50, p99 = np.percentile(latency_us, [50, 99]) / 1000
    return float(p50), float(p99)


def _history(turn: Turn) -> HistoryReader:
    reader = HistoryReader(lambda: turn.settings, MetricsHistory(), look_back_s=3 * WINDOW_S)
    reader.start()
    return reader


def _await(history: MetricsHistory, since_us: int) -> None:
    """Wait for a snapshot of the moment or later."""
    wait_until(
        lambda: history.latest is not None and history.latest.time >= since_us,
        "a snapshot of the monitor", _UP_S, every_s=_POLL_S,
    )  # fmt: skip


def _await_audit(turn: Turn, since_us: int) -> None:
    """Wait until all before the moment is audited."""
    wait_until(
        lambda: (found := newest_progress(turn.settings)) and found.audited_until >= since_us,
        "the auditor to have caught up", _UP_S, every_s=_POLL_S,
    )  # fmt: skip
