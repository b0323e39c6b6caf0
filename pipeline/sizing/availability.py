"""Availability by simulation: faults at stated rates, recoveries as they were measured.

The cascade is up when every stage decides: so an outage of any of the five stages, or of Kafka, is
one of all. Simulated is a number of years, by events:

- A worker's process dies. If it works, its stage is out until it is back (one worker), or until a
  standby has taken over (more). Which worker of several works is drawn.
- A machine is lost until it is repaired. With W workers per stage there are W machines, each with
  one of every stage; the stages are out for a take-over, or, where no machine is left, until one is
  repaired.
- A broker's process dies or its machine is lost. One broker is out until it is back; of three, the
  partitions that it led are out until another leads, and all where two are gone at once, since two
  replicas must be in sync.
- Connections break.

Faults come as Poisson processes (exponential times between them), repairs are exponential around
their mean, recoveries are drawn from the measured ones. Outages that overlap count once.
Source of the approach: Trivedi and Bobbio, Reliability and Availability Engineering, 2017, ch. 3
and 18 (simulation of repairable systems).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.sizing.recoveries import Recoveries

__all__ = ["FaultRates", "Outcome", "simulate"]

_YEAR_S = 365.25 * 86_400.0
_STAGES = 5
_REPLICAS_IN_SYNC = 2
_Z95 = 1.96

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How often things fail; stated, not measured.

    Attributes:
        worker: Deaths of one worker's process, a year.
        broker: Deaths of one broker's process, a year.
        machine: Losses of one machine, a year.
        network: Breaks of all connections, a year.
        repair_s: Mean time until a lost machine is back, seconds.
        failover_s: Until another broker leads the partitions of one that is gone, seconds.
    """

    worker: float = 12.0
    broker: float = 4.0
    machine: float = 2.0
    network: float = 12.0
    repair_s: float = 14_400.0
    failover_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one configuration.

    Attributes:
        brokers: How many brokers.
        workers: How many workers per stage.
        availability: Share of the time in which all stages decided.
        low: Lower end of its 95 % confidence interval, over the years.
        high: Upper end.
        minutes_a_year: Time out, minutes a year.
        causes: Minutes a year by cause, each for itself.
    """

    brokers: int
    workers: int
    availability: float
    low: float
    high: float
    minutes_a_year: float
    causes: dict[str, float]


def simulate(
    recoveries: Recoveries,
    rates: FaultRates,
    *,
    brokers: int,
    workers: int,
    years: int,
    seed: int,
) -> Outcome:
    """Return the availability of a configuration; the same seed gives the same."""
    rng = np.random.default_rng([seed, brokers, workers])
    span_s = years * _YEAR_S
    causes = {
        "worker process": _processes(rng, recoveries, rates, workers, span_s),
        "machine": _machines(rng, recoveries, rates, workers, span_s),
        "broker process": _broker_processes(rng, recoveries, rates, brokers, span_s),
        "broker machine": _broker_machines(rng, rates, brokers, span_s),
        "network": _drawn(rng, _times(rng, rates.network, span_s), recoveries.network),
    }
    every = union([each for found in causes.values() for each in found])
    out_s = _by_year(every, years)
    shares = 1.0 - out_s / _YEAR_S
    mean = float(shares.mean())
    half = _Z95 * float(shares.std(ddof=1)) / years**0.5 if years > 1 else 0.0
    minutes = {
        name: sum(end - start for start, end in union(found)) / years / 60.0
        for name, found in causes.items()
    }
    return Outcome(
        brokers, workers, mean, mean - half, min(1.0, mean + half), float(out_s.mean()) / 60.0,
        minutes,
    )  # fmt: skip


def union(intervals: Sequence[Interval]) -> list[Interval]:
    """Return intervals in order, those that overlap as one."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def at_once(intervals: Sequence[Interval], count: int) -> list[Interval]:
    """Return when at least `count` of the intervals hold at once."""
    changes = sorted([(start, 1) for start, _ in intervals] + [(end, -1) for _, end in intervals])
    found: list[Interval] = []
    open_now, since_s = 0, 0.0
    for at_s, change in changes:
        before, open_now = open_now, open_now + change
        if before < count <= open_now:
            since_s = at_s
        elif open_now < count <= before:
            found.append((since_s, at_s))
    return found


def _times(rng: np.random.Generator, a_year: float, span_s: float) -> list[float]:
    count = int(rng.poisson(a_year * span_s / _YEAR_S))
    return sorted(rng.uniform(0.0, span_s, count).tolist())


def _drawn(
    rng: np.random.Generator, times: Sequence[float], measured: Sequence[float]
) -> list[Interval]:
    lengths = rng.choice(np.asarray(measured, dtype=float), len(times))
    return [(at_s, at_s + float(length)) for at_s, length in zip(times, lengths, strict=True)]


def _repairs(rng: np.random.Generator, rates: FaultRates, span_s: float) -> list[Interval]:
    """Return when one machine is lost."""
    return [
        (at_s, at_s + float(rng.exponential(rates.repair_s)))
        for at_s in _times(rng, rates.machine, span_s)
    ]


def _processes(
    rng: np.random.Generator, found: Recoveries, rates: FaultRates, workers: int, span_s: float
) -> list[Interval]:
    times = _times(rng, rates.worker * workers * _STAGES, span_s)
    working = [at_s for at_s in times if rng.integers(workers) == 0]
    return _drawn(rng, working, found.restart if workers == 1 else found.take_over)


def _machines(
    rng: np.random.Generator, found: Recoveries, rates: FaultRates, workers: int, span_s: float
) -> list[Interval]:
    lost = [each for _ in range(workers) for each in _repairs(rng, rates, span_s)]
    all_gone = at_once(lost, workers)
    # A stage whose worker there only stood by notices nothing; one of five is likely to work there.
    felt = [start for start, _ in lost if rng.random() < 1.0 - (1.0 - 1.0 / workers) ** _STAGES]
    return [*all_gone, *(_drawn(rng, felt, found.take_over) if workers > 1 else [])]


def _broker_processes(
    rng: np.random.Generator, found: Recoveries, rates: FaultRates, brokers: int, span_s: float
) -> list[Interval]:
    times = _times(rng, rates.broker * brokers, span_s)
    return _drawn(rng, times, found.broker if brokers == 1 else [rates.failover_s])


def _broker_machines(
    rng: np.random.Generator, rates: FaultRates, brokers: int, span_s: float
) -> list[Interval]:
    lost = [each for _ in range(brokers) for each in _repairs(rng, rates, span_s)]
    if brokers == 1:
        return lost
    failovers = _drawn(rng, [start for start, _ in lost], [rates.failover_s])
    return [*at_once(lost, brokers - _REPLICAS_IN_SYNC + 1), *failovers]


def _by_year(
    intervals: Sequence[Interval], years: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    out_s = np.zeros(years)
    for start, end in intervals:
        year = min(years - 1, int(start / _YEAR_S))
        while year < years and start < end:
            until_s = min(end, (year + 1) * _YEAR_S)
            out_s[year] += max(0.0, until_s - start)
            start, year = until_s, year + 1  # noqa: PLW2901  # what is left of it
    return out_s
