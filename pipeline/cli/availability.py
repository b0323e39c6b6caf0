"""`cascade availability`: how available the cascade is on paper, and what growth takes."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.sizing.availability import FaultRates, Outcome, simulate
from pipeline.sizing.growth import Costs, Need, Unit, need, read_bench
from pipeline.sizing.recoveries import Recoveries, read_recoveries

__all__ = ["command"]

_BROKERS = (1, 3)
_WORKERS = (1, 2, 3)
_TARGET = 0.999
_GROWTH = ((1_000.0, 50), (10_000.0, 500), (100_000.0, 2_000), (1_000_000.0, 5_000))
_STATED = FaultRates()
_RECKONED = Costs()

_file = click.Path(dir_okay=False, path_type=Path)


@click.command("availability")
@click.option("--faults", type=_file, required=True, help="Output of scripts/test faults --json.")
@click.option("--bench", type=_file, help="Output of scripts/bench sustained --json: growth too.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same figures.")
@click.option("--years", type=click.IntRange(2, 100_000), default=1000, show_default=True)
@click.option("--target", type=click.FloatRange(0.0, 1.0), default=_TARGET, show_default=True)
@click.option(
    "--worker-faults",
    type=float,
    default=_STATED.worker,
    show_default=True,
    help="Deaths of a worker's process, a year.",
)
@click.option(
    "--broker-faults",
    type=float,
    default=_STATED.broker,
    show_default=True,
    help="Deaths of a broker's process, a year.",
)
@click.option(
    "--machine-faults",
    type=float,
    default=_STATED.machine,
    show_default=True,
    help="Losses of a machine, a year.",
)
@click.option(
    "--network-faults",
    type=float,
    default=_STATED.network,
    show_default=True,
    help="Breaks of all connections, a year.",
)
@click.option(
    "--repair-s",
    type=float,
    default=_STATED.repair_s,
    show_default=True,
    help="Mean time until a lost machine is back.",
)
@click.option(
    "--failover-s",
    type=float,
    default=_STATED.failover_s,
    show_default=True,
    help="Until another broker leads.",
)
@click.option(
    "--core-hour",
    type=float,
    default=_RECKONED.core_hour,
    show_default=True,
    help="Price of a core for an hour.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    faults: Path,
    bench: Path | None,
    seed: int,
    years: int,
    target: float,
    core_hour: float,
    as_json: bool,
    **stated: float,
) -> None:
    """Simulate one and three brokers with one to three workers per stage, against the target.

    Recovery times are those that the fault suite measured; how often things fail is stated by the
    options. With --bench also what 1,000 to 1,000,000 packets a second take, and what is used up
    first. Exit code 0 where a configuration meets the target with the whole of its 95 % confidence
    interval, else 1.

    \b
    Examples:
      scripts/test faults --json > faults.json
      cascade availability --faults faults.json --seed 1
      cascade availability --faults faults.json --bench bench.json --json
    """  # fmt: skip  # noqa: D301  # click's mark for text that is not to be wrapped
    recoveries = read_recoveries(faults)
    rates = FaultRates(
        worker=stated["worker_faults"], broker=stated["broker_faults"],
        machine=stated["machine_faults"], network=stated["network_faults"],
        repair_s=stated["repair_s"], failover_s=stated["failover_s"],
    )  # fmt: skip
    found = [
        simulate(recoveries, rates, brokers=brokers, workers=workers, years=years, seed=seed)
        for brokers in _BROKERS
        for workers in _WORKERS
    ]
    met = next((each for each in found if each.low >= target), None)
    unit = read_bench(bench) if bench else None
    costs = Costs(core_hour=core_hour)
    needs = [need(unit, costs, rate, symbols) for rate, symbols in _GROWTH] if unit else []
    if as_json:
        content = {
            "verdict": "pass" if met else "fail", "target": target, "seed": seed, "years": years,
            "recoveries": _recoveries(recoveries), "rates": asdict(rates),
            "configurations": [{**asdict(each), "meets": each.low >= target} for each in found],
            "smallest": asdict(met) if met else None,
            "unit": asdict(unit) if unit else None, "costs": asdict(costs),
            "growth": [asdict(each) for each in needs],
        }  # fmt: skip
        click.echo(json.dumps(content, indent=2))
    else:
        _print(found, met, target)
        if unit:
            _print_growth(unit, needs)
    sys.exit(0 if met else 1)


def _recoveries(found: Recoveries) -> dict[str, dict[str, float]]:
    return {
        kind: {
            "count": len(times),
            "median_s": sorted(times)[len(times) // 2],
            "most_s": max(times),
        }
        for kind in ("restart", "take_over", "broker", "network")
        for times in [getattr(found, kind)]
    }


def _print(found: list[Outcome], met: Outcome | None, target: float) -> None:
    click.echo("brokers  workers  availability  95 % from       to  min/year  most of it")
    for each in found:
        most = max(each.causes, key=lambda name: each.causes[name])
        mark = "meets" if each.low >= target else "misses"
        click.echo(
            f"{each.brokers:7}  {each.workers:7}  {each.availability:12.4%}  {each.low:9.4%}"
            f"  {each.high:7.4%}  {each.minutes_a_year:8.1f}  {most}; {mark} {target:.2%}"
        )
    smallest = f"{met.brokers} brokers, {met.workers} workers per stage" if met else "none"
    click.echo(f"smallest that meets it: {smallest}\nverdict: {'pass' if met else 'fail'}")


def _print_growth(unit: Unit, needs: list[Need]) -> None:
    click.echo(
        f"\nmeasured at {unit.rate:g}/s ({unit.contender}): {unit.worker_us:.0f} us of workers and"
        f" {unit.broker_us:.0f} us of the broker a packet"
    )
    click.echo("packets/s  symbols  accounts  partitions  workers  brokers  per million  first out")
    for each in needs:
        click.echo(
            f"{each.rate:9,.0f}  {each.symbols:7,}  {each.accounts:8}  {each.partitions:10}"
            f"  {each.workers:7}  {each.brokers:7}  {each.cost_per_million:11.4f}"
            f"  {each.breaks_first}"
        )
