"""The plan from one machine to a million packets a second, from what a bench measured.

All follows from CPU and bytes a packet, which are as good as constant over the rate (see the
bench's curves): workers and brokers by CPU at a wanted utilisation, partitions by what one worker
carries, and what breaks first by which single thing is used up at the lowest rate.

Risk is one sequencer per account: what it carries on one core is the ceiling of an account, and
growth beyond is by accounts (a namespace each), not by partitions.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.errors import UsageError

__all__ = ["Costs", "Need", "Unit", "need", "read_bench"]

_STAGES = 5
_HOPS = 6  # market, four logs, and about one record of fills

_PIPELINES = frozenset({"single", "paired", "processes"})  # contenders that decide and trade
_SECOND_US = 1e6
_HOUR_S = 3600.0
_PER_MILLION = 1e6
_GIGABIT_BYTES = 125e6


class _Measured(msgspec.Struct):
    contender: str
    rate: float
    sustained: bool
    cpu_us: dict[str, float]
    record_bytes: float


class _Bench(msgspec.Struct):
    measurements: list[_Measured]


@dataclass(frozen=True, slots=True)
class Unit:
    """What one packet takes, as measured.

    Attributes:
        contender: Whose measurement it is.
        rate: Packets a second at which it was taken, the highest that was sustained.
        worker_us: CPU of all workers together, microseconds.
        broker_us: CPU of the broker for one replica of everything, microseconds.
        record_bytes: Mean size of a record.
    """

    contender: str
    rate: float
    worker_us: float
    broker_us: float
    record_bytes: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What is reckoned with; stated, not measured.

    Attributes:
        utilisation: Share of a core that is used at most, so that queues stay short.
        broker_cores: Cores of a broker's machine.
        broker_gigabits: Its network, gigabits a second.
        replicas: Copies of each record.
        core_hour: Price of a core for an hour.
        risk_share: Share of the workers' CPU that is risk's.
    """

    utilisation: float = 0.6
    broker_cores: int = 8
    broker_gigabits: float = 10.0
    replicas: int = 3
    core_hour: float = 0.04
    risk_share: float = 0.25


@dataclass(frozen=True, slots=True)
class Need:
    """What a rate takes.

    Attributes:
        rate: Packets a second.
        symbols: Symbols.
        accounts: Accounts that the symbols are divided among, each with a sequencer of its own.
        partitions: Partitions of the topics by symbol, over all accounts.
        workers: Workers (cores) of all stages, without standbys.
        brokers: Brokers; at least as many as replicas.
        cost_per_million: Price of a million packets, CPU of workers and brokers.
        breaks_first: What is used up first when the rate grows on and only workers are added.
    """

    rate: float
    symbols: int
    accounts: int
    partitions: int
    workers: int
    brokers: int
    cost_per_million: float
    breaks_first: str


def read_bench(path: Path) -> Unit:
    """Return what a packet took in the sustained measurement with the highest rate.

    Raises:
        UsageError: If the file is no output of `scripts/bench ... --json`, or nothing in it was
            sustained by the whole pipeline.
    """
    try:
        bench = msgspec.json.decode(path.read_bytes(), type=_Bench)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"Expected {path} to be what `scripts/bench sustained --json` prints, was: {error}"
        ) from error
    found = [
        each
        for each in bench.measurements
        if each.sustained and each.contender in _PIPELINES and "worker" in each.cpu_us
    ]
    if not found:
        names = sorted({each.contender for each in bench.measurements})
        raise UsageError(
            f"Expected a sustained measurement of the pipeline in {path}, was only {names}"
        )
    best = max(found, key=lambda each: each.rate)
    return Unit(
        best.contender, best.rate, best.cpu_us["worker"], best.cpu_us.get("broker", 0.0),
        best.record_bytes,
    )  # fmt: skip


def need(unit: Unit, costs: Costs, rate: float, symbols: int) -> Need:
    """Return what a rate takes."""
    core_us = costs.utilisation * _SECOND_US
    account_rate = core_us / (unit.worker_us * costs.risk_share)
    accounts = max(1, math.ceil(rate / account_rate))
    workers = max(_STAGES * accounts, math.ceil(rate * unit.worker_us / core_us))
    # Two stages share their work by partitions; a partition is what one core of them carries.
    shared_us = unit.worker_us * (1.0 - costs.risk_share) / 2.0
    partitions = min(max(symbols, 1), max(4 * accounts, 2 * math.ceil(rate * shared_us / core_us)))
    limits = _limits(unit, costs, accounts)
    by_cpu, by_network = limits["CPU of the brokers"], limits["network of the brokers"]
    brokers = max(costs.replicas, math.ceil(rate / min(by_cpu, by_network)))
    limits["CPU of the brokers"] *= brokers
    limits["network of the brokers"] *= brokers
    core_s = (rate * unit.worker_us + rate * unit.broker_us * costs.replicas) / core_us
    return Need(
        rate=rate,
        symbols=symbols,
        accounts=accounts,
        partitions=partitions,
        workers=workers,
        brokers=brokers,
        cost_per_million=core_s / rate * _PER_MILLION / _HOUR_S * costs.core_hour,
        breaks_first=min(limits, key=lambda name: limits[name]),
    )


def _limits(unit: Unit, costs: Costs, accounts: int) -> dict[str, float]:
    """Return the rate at which each thing is used up; brokers' for one of them."""
    core_us = costs.utilisation * _SECOND_US
    broker_us = max(unit.broker_us, 1e-9) * costs.replicas
    # In once from the producer, on to the other replicas, out to about two readers.
    moved = unit.record_bytes * _HOPS * (costs.replicas + 2)
    capacity = costs.broker_gigabits * _GIGABIT_BYTES * costs.utilisation
    return {
        "the sequencer of an account (risk)": accounts
        * core_us
        / (unit.worker_us * costs.risk_share),
        "CPU of the brokers": costs.broker_cores * core_us / broker_us,
        "network of the brokers": capacity / max(moved, 1.0),
    }
