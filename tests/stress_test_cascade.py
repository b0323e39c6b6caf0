"""Stress test: overload, killed workers, spoilt data; `python tests/stress_test_cascade.py`.

Flows may be late here, and then expire; none may be lost, and no order sent twice. A killed worker
must be back within the 30 s of the specification.
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it knows its own folder

from pipeline.demo.plan import DemoPlan, Kill
from pipeline.demo.summary import Summary
from pipeline.errors import PipelineError
from tests.load_plans import Case, carry_out, conclude


def _slow_recovery(summary: Summary) -> list[str]:
    target = summary.targets["recovery_seconds"]
    if target.verdict == "pass":
        return []
    return [f"Expected killed workers back within {target.limit:g} s, was {target.value}"]


def _no_dead_letters(summary: Summary) -> list[str]:
    if summary.accounts.outcomes.get("dead_lettered", 0):
        return []
    return ["Expected spoilt records among the dead letters, was none"]


@click.command()
@click.option("--rate", type=click.FloatRange(1.0), default=100.0, show_default=True)
@click.option(
    "--overload",
    type=click.FloatRange(1.0),
    default=10.0,
    show_default=True,
    help="How many times the rate counts as too much.",
)
@click.option("--seconds", type=click.FloatRange(4.0), default=12.0, show_default=True)
@click.option("--warm-up", type=click.FloatRange(0.0), default=8.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rate: float, overload: float, seconds: float, warm_up: float, as_json: bool) -> None:
    """Overload, kill and feed nonsense to a whole cascade; exit code 1 if anything was lost."""
    kills = tuple(
        Kill(seconds * share, stage)
        for share, stage in ((0.2, "strategic"), (0.4, "risk"), (0.6, "gateway"))
    )
    cases = [
        Case(
            f"overload, {rate * overload:g} records/s",
            DemoPlan(rate=rate * overload, seconds=seconds, warm_up_s=warm_up, paired=True),
        ),
        Case(
            f"kill -9 of {', '.join(kill.stage for kill in kills)}",
            DemoPlan(rate=rate, seconds=seconds, warm_up_s=warm_up, kills=kills),
            _slow_recovery,
        ),
        Case(
            "spoilt data",
            DemoPlan(
                rate=rate,
                seconds=seconds,
                warm_up_s=warm_up,
                paired=True,
                faults="poison=0.02,nan=0.01,duplicates=0.02,out_of_order=0.02",
            ),
            _no_dead_letters,
        ),
    ]
    try:
        judged = carry_out(cases)
    except PipelineError as error:
        raise click.ClickException(str(error)) from error
    conclude(judged, as_json=as_json)


if __name__ == "__main__":
    main()
