"""Cost per packet and memory while something grows, and while nothing should."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.bench.contenders import contender, ours, pipeline
from pipeline.bench.lab import Check, Lab, at_most
from pipeline.bench.measurement import Measurement
from pipeline.bench.worker import Decisions

__all__ = ["growth", "slope_share", "soak"]

SYMBOLS = (10, 100, 1000, 10_000)
PARTITIONS = (1, 2, 4, 8, 16)
WORKERS = (1, 2, 4)
PADDINGS = (0, 1000, 4000, 16_000, 63_000)
HISTORY = (0, 10_000, 30_000, 60_000)
_PREFILL_RATE = 1000.0
_MINUTE_S = 60.0
_SETTLED_MINUTES = 2
_MOST_GROWTH = 0.05
# Forwarded packets have patient deadlines, the pipeline's own would expire on a busy machine and
# then cost less than they do.
_PATIENT: Mapping[str, Any] = {"cascade_timeout_ms": 10_000}


def growth(lab: Lab, over: Sequence[str], rate: float) -> list[Check]:
    """Measure a rate while one thing after the other grows.

    Args:
        lab: The bench.
        over: What grows: symbols, partitions, workers, size, history; all where empty.
        rate: Packets a second.
    """
    chosen = over or tuple(_GROWTHS)
    for name in chosen:
        _GROWTHS[name](lab, rate)
    faults = sum(each.lost + each.duplicates + each.misordered for each in lab.measurements)
    worst = max(each.error_rate for each in lab.measurements)
    return [
        at_most("packets lost, repeated or out of order", float(faults), 0.0),
        at_most("error rate, worst", worst, 0.01),
    ]


def _symbols(lab: Lab, rate: float) -> None:
    for symbols in SYMBOLS:
        who = pipeline("single", "the pipeline in one process", single=True, overrides=_PATIENT)
        with lab.turn(who, symbols=symbols) as turn:
            lab.measure(turn, rate, lab.pace.hold_s, {"symbols": symbols})


def _partitions(lab: Lab, rate: float) -> None:
    for partitions in PARTITIONS:
        who = pipeline("single", "the pipeline in one process", single=True, overrides=_PATIENT)
        with lab.turn(who, partitions=partitions) as turn:
            lab.measure(turn, rate, lab.pace.hold_s, {"partitions": partitions})


def _workers(lab: Lab, rate: float) -> None:
    """Grow the two stages that are keyed by symbol; risk is one sequencer per account."""
    for workers in WORKERS:
        counts = {"strategic": workers, "tactical": workers}
        title = f"{workers} workers of strategic and tactical each"
        who = pipeline("processes", title, workers=counts, overrides=_PATIENT)
        with lab.turn(who, partitions=max(WORKERS)) as turn:
            lab.measure(turn, rate, lab.pace.hold_s, {"workers": workers})


def _size(lab: Lab, rate: float) -> None:
    for padding in PADDINGS:
        title = f"forwarding stages, {padding} bytes more"
        who = ours("forward", title, decisions=Decisions.FORWARD, padding=padding)
        with lab.turn(who) as turn:
            lab.measure(turn, rate, lab.pace.hold_s, {"padding": padding})


def _history(lab: Lab, rate: float) -> None:
    """Let one pipeline's logs grow and measure at each length."""
    who = pipeline("single", "the pipeline in one process", single=True, overrides=_PATIENT)
    with lab.turn(who) as turn:
        done = 0
        for records in HISTORY:
            if records > done:
                turn.warm_up(records - done, _PREFILL_RATE)
            found = lab.measure(turn, rate, lab.pace.hold_s, {"history": records})
            done = records + found.sent


_GROWTHS = {
    "symbols": _symbols,
    "partitions": _partitions,
    "workers": _workers,
    "size": _size,
    "history": _history,
}


def soak(lab: Lab, mode: str, rate: float, seconds: float) -> list[Check]:
    """Offer a rate for long, and check minute by minute that nothing grows.

    Args:
        lab: The bench.
        mode: single, paired or processes.
        rate: Packets a second.
        seconds: How long; under five minutes nothing can be said of growth.
    """
    found: list[Measurement] = []
    with lab.turn(contender(mode)) as turn:
        minutes = max(1, round(seconds / _MINUTE_S))
        for minute in range(1, minutes + 1):
            length_s = min(seconds, _MINUTE_S)
            found.append(lab.measure(turn, rate, length_s, {"minute": minute}))
    # Caches fill in the first minutes, and Python keeps what it once had.
    settled = found[_SETTLED_MINUTES:]
    memory = [each.rss_mb["worker"] for each in settled]
    p50 = [each.latency.p50 for each in settled if each.latency]
    lost = sum(each.lost + each.duplicates + each.misordered for each in found)
    return [
        at_most("growth of the workers' memory, share", slope_share(memory), _MOST_GROWTH),
        at_most("growth of p50, share", slope_share(p50), 1.0),
        at_most("packets lost, repeated or out of order", float(lost), 0.0),
        at_most("error rate, worst minute", max(each.error_rate for each in found), 0.01),
    ]


def slope_share(values: Sequence[float]) -> float | None:
    """Return by what share of its mean a series grows from its first to its last value.

    By a least-squares line, so that a single high value does not count as growth; None for fewer
    than three values, which tell nothing.
    """
    if len(values) < 3:  # noqa: PLR2004  # two points are a line whatever they are
        return None
    mean = float(np.mean(values))
    slope = float(np.polyfit(np.arange(len(values)), values, 1)[0])
    return slope * (len(values) - 1) / mean
