"""Past capacity: what is still delivered, how late, what is shed, and how soon it is over."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.bench.contenders import contender
from pipeline.bench.driver import Task
from pipeline.bench.lab import Check, Lab, at_least, at_most
from pipeline.bench.measurement import latency_of
from pipeline.bench.reader import Arrival, check
from pipeline.bench.search import highest_sustained
from pipeline.bench.turn import Turn
from pipeline.packets.vocabulary import OutcomeKind

__all__ = ["FACTORS", "Overload", "overload", "overload_table", "phase_of"]

FACTORS = (1.0, 2.0, 5.0)
LEAST_OF_BEST = 0.8
MOST_MEMORY = 1.5
_DELIVERED = (OutcomeKind.EXECUTED, OutcomeKind.HELD, OutcomeKind.REJECTED)
_AFTER_SHARE = 0.3
_AFTER_S = 5.0
_LOOK_S = 0.25
_WINDOW_US = 500_000
_DRAIN_S = 120.0
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Overload:
    """A rate offered for a while, then a low one.

    Attributes:
        factor: Offered rate over capacity.
        rate: Packets a second offered.
        seconds: For how long.
        sent: Packets sent, those at the low rate included.
        delivered_rate: Packets a second of the offered ones that ended executed, held or rejected.
        p50_ms: Median latency of these from acceptance to the execution log.
        p99_ms: 99th percentile of the same.
        p99_due_ms: 99th percentile from the moment they were due, how late they were sent included.
        outcomes: All packets sent, by outcome.
        unaccounted: Packets without exactly one end.
        recovered_s: After the offered rate ended, until packets were delivered again as before.
        rss_mb: Most resident memory of the workers, megabytes.
        load_late_ms_p99: How late the load was sent.
    """

    factor: float
    rate: float
    seconds: float
    sent: int
    delivered_rate: float
    p50_ms: float | None
    p99_ms: float | None
    p99_due_ms: float | None
    outcomes: dict[str, int]
    unaccounted: int
    recovered_s: float | None
    rss_mb: float
    load_late_ms_p99: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def overload(
    lab: Lab, mode: str, capacity: float | None, factors: Sequence[float], found: list[Overload]
) -> list[Check]:
    """Offer multiples of what the pipeline sustains, and check that it delivers on.

    Args:
        lab: The bench.
        mode: single, paired or processes.
        capacity: Packets a second; searched for where None.
        factors: Multiples of it.
        found: Takes what was measured.
    """
    who = contender(mode)
    with lab.turn(replace(who, overrides={**who.overrides, "overload": "shed"})) as turn:
        rate = capacity or _capacity(lab, turn)
        for factor in factors if rate else ():
            each = _phase(lab, turn, factor, float(rate or 0.0) * factor)
            found.append(each)
            lab.ground.say(_sentence(each))
        deadline_ms = float(turn.settings.cascade_timeout_ms)
    return _checks(found, deadline_ms)


def _capacity(lab: Lab, turn: Turn) -> float | None:
    def probe(rate: float) -> bool:
        return lab.measure(turn, rate, lab.pace.probe_s, {"probe": True}).sustained

    return highest_sustained(probe, probe, start=800.0, precision=max(1.2, lab.pace.precision))


def _phase(lab: Lab, turn: Turn, factor: float, rate: float) -> Overload:
    """Offer a rate, then a low one without a pause, and take stock when all has come to rest."""
    low = max(1.0, rate / factor * _AFTER_SHARE)
    meter = turn.meter()
    rss_mb = 0.0
    task = turn.begin(round(rate * lab.pace.hold_s), rate, round(low * _AFTER_S), low)
    while (sent := turn.sent_all()) is None:
        rss_mb = max(rss_mb, meter.rss_mb()["worker"])
        time.sleep(_LOOK_S)
    arrivals: list[Arrival] = []
    deadline_s = time.monotonic() + _DRAIN_S
    wanted = range(sent.first, sent.first + sent.count)
    missing = set(wanted)
    while missing and time.monotonic() < deadline_s:
        new = turn.reader.read()
        arrivals.extend(new)
        missing.difference_update(each.seen.number for each in new)
        time.sleep(_LOOK_S)
    checked = check(arrivals, sent.first, sent.count, turn.ground.symbols)
    return phase_of(
        arrivals, task, factor=factor, first=sent.first, start_us=sent.start_us, rss_mb=rss_mb,
        unaccounted=checked.lost + checked.duplicates + checked.strays + sent.failed,
        late_ms_p99=sent.late_ms_p99,
    )  # fmt: skip


def phase_of(
    arrivals: Iterable[Arrival],
    task: Task,
    *,
    factor: float,
    first: int,
    start_us: int,
    rss_mb: float,
    unaccounted: int,
    late_ms_p99: float,
) -> Overload:
    """Return what a phase showed; pure.

    Args:
        arrivals: What came out.
        task: What was sent.
        factor: Offered rate over capacity.
        first: Number of the first packet.
        start_us: When it was due.
        rss_mb: Most memory.
        unaccounted: Packets without exactly one end.
        late_ms_p99: How late the load was sent.
    """
    ends = [each for each in arrivals if 0 <= each.seen.number - first < task.total]
    offered = [each for each in ends if each.seen.number - first < task.count]
    delivered = [each for each in offered if each.seen.outcome in _DELIVERED]
    from_accepted = latency_of(
        np.array([each.appended_us - each.seen.accepted_us for each in delivered], dtype=np.int64)
    )
    from_due = latency_of(
        np.array([each.appended_us - each.seen.due_us for each in delivered], dtype=np.int64)
    )
    counts = Counter(each.seen.outcome for each in ends)
    seconds = task.count / task.rate
    return Overload(
        factor=factor,
        rate=task.rate,
        seconds=seconds,
        sent=task.total,
        delivered_rate=len(delivered) / seconds,
        p50_ms=from_accepted.p50 if from_accepted else None,
        p99_ms=from_accepted.p99 if from_accepted else None,
        p99_due_ms=from_due.p99 if from_due else None,
        outcomes={kind.value: counts[kind] for kind in OutcomeKind},
        unaccounted=unaccounted,
        recovered_s=_recovered_s(ends, task, first, start_us),
        rss_mb=rss_mb,
        load_late_ms_p99=late_ms_p99,
    )


def _recovered_s(ends: Iterable[Arrival], task: Task, first: int, start_us: int) -> float | None:
    """Return how long after the offered rate the last half second began that lost packets.

    None where packets were still lost in the last half second: it did not recover.
    """
    over_us = start_us + task.due_us(task.count)
    after = [each for each in ends if each.seen.number - first >= task.count]
    lost = [each.seen.due_us for each in after if each.seen.outcome not in _DELIVERED]
    if not lost:
        return 0.0
    last_us = max(lost)
    end_us = start_us + task.due_us(task.total)
    return None if last_us > end_us - _WINDOW_US else (last_us - over_us) / _SECOND_US


def _checks(found: Sequence[Overload], deadline_ms: float) -> list[Check]:
    if not found:
        return [at_least("packets/s sustained", None, 1.0)]
    best = max(each.delivered_rate for each in found)
    worst = max(found, key=lambda each: each.factor)
    p99 = [each.p99_ms for each in found]
    recovered = [each.recovered_s for each in found]
    least = min(found, key=lambda each: each.factor)
    return [
        at_least(
            f"delivered at {worst.factor:g} x capacity over the best",
            worst.delivered_rate / best if best else None,
            LEAST_OF_BEST,
        ),
        at_most("p99 of what is delivered, ms, worst", _worst(p99), deadline_ms),
        at_most("packets unaccounted for", float(sum(each.unaccounted for each in found)), 0.0),
        at_most("seconds to recover, worst", _worst(recovered), _AFTER_S),
        at_most(
            f"memory at {worst.factor:g} x over that at {least.factor:g} x",
            worst.rss_mb / least.rss_mb if least.rss_mb else None,
            MOST_MEMORY,
        ),
    ]


def _worst(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def _sentence(each: Overload) -> str:
    return (
        f"{each.factor:g} x capacity, {each.rate:g}/s: {each.delivered_rate:.0f}/s delivered,"
        f" p99 {_text(each.p99_ms)} ms, {each.outcomes[OutcomeKind.SHED]} shed,"
        f" {each.unaccounted} unaccounted for."
    )


def overload_table(found: Sequence[Overload]) -> str:
    """Return the phases as text in columns."""
    head = (
        "x", "offered/s", "delivered/s", "p50 ms", "p99 ms", "p99 due", "executed", "held",
        "rejected", "expired", "shed", "dead", "unaccounted", "recovered s", "RSS MB",
    )  # fmt: skip
    lines = [head, *(_cells(each) for each in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cells(each: Overload) -> tuple[str, ...]:
    return (
        f"{each.factor:g}", f"{each.rate:.0f}", f"{each.delivered_rate:.0f}",
        _text(each.p50_ms), _text(each.p99_ms), _text(each.p99_due_ms),
        *(str(each.outcomes[kind]) for kind in OutcomeKind),
        str(each.unaccounted), _text(each.recovered_s), f"{each.rss_mb:.0f}",
    )  # fmt: skip


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
