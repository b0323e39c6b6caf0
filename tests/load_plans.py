"""What load and stress tests share: plans carried out one after the other, a table, a verdict."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from pipeline import broker
from pipeline.demo.figures import figures
from pipeline.demo.live import LiveView
from pipeline.demo.plan import DemoPlan
from pipeline.demo.runner import DemoRun, run_demo
from pipeline.demo.summary import Summary
from pipeline.errors import PipelineError
from pipeline.settings import Settings, load_settings

__all__ = ["Case", "Judged", "carry_out", "conclude"]


@dataclass(frozen=True, slots=True)
class Case:
    """One run under load.

    Attributes:
        name: What it is about.
        plan: What to do.
        faults: Returns, in sentences, what of the run's figures must not be, beside what no run
            may do: lose, duplicate, or leave a record unaccounted for.
    """

    name: str
    plan: DemoPlan
    faults: Callable[[Summary], Sequence[str]] = lambda _: ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A run, carried out.

    Attributes:
        name: Of the case.
        figures: Its figures.
        faults: What must not have been.
    """

    name: str
    figures: dict[str, Any]
    faults: tuple[str, ...]


def carry_out(cases: Sequence[Case], settings: Settings | None = None) -> list[Judged]:
    """Run cases one after the other, on one broker.

    Raises:
        PipelineError: If one cannot be carried out.
    """
    settings = settings or load_settings()
    ours = broker.status(settings).broker is None and settings.broker is None
    judged = []
    try:
        for number, case in enumerate(cases, 1):
            click.echo(f"{number} of {len(cases)}: {case.name}", err=True)
            # A broker that was started for the first case serves them all.
            summary = _summary(replace(case.plan, keep=True), settings, case.name)
            faults = (*summary.faults, *case.faults(summary))
            judged.append(Judged(case.name, summary.to_dict(), faults))
    finally:
        if ours:
            broker.down(settings)
    return judged


def conclude(judged: Sequence[Judged], *, as_json: bool) -> None:
    """Print what came of the cases, and end with exit code 0 if all held, else 1."""
    passed = bool(judged) and not any(each.faults for each in judged)
    if as_json:
        cases = [
            {"name": each.name, "faults": each.faults, "figures": each.figures} for each in judged
        ]
        click.echo(json.dumps({"passed": passed, "cases": cases}, indent=2))
    else:
        for each in judged:
            click.echo(_line(each))
        click.echo("All cases held." if passed else "Not all cases held, see FAULT above.")
    sys.exit(0 if passed else 1)


def _summary(plan: DemoPlan, settings: Settings, title: str) -> Summary:
    found: list[Summary] = []

    def finish(run: DemoRun) -> None:
        found.append(figures(run))

    with LiveView(title, plan.seconds) as view:
        run_demo(plan, settings, view, finish)
    if not found:
        raise PipelineError(f"Expected {title} to come to an end, did not")
    return found[0]


def _line(judged: Judged) -> str:
    known = judged.figures
    latency = known["latency_ms"] or {}
    p99 = f"{latency['p99']:.0f} ms" if latency else "no data"
    outcomes = ", ".join(f"{count} {name}" for name, count in known["outcomes"].items())
    text = (
        f"{'FAIL' if judged.faults else 'PASS'}  {judged.name}: {known['packets_in']} in,"
        f" {outcomes};"
        f" {known['unaccounted']} unaccounted, {known['duplicate_orders']} duplicate orders;"
        f" {known['packets_per_second']} packets/s, p99 {p99}, error rate {known['error_rate']}"
    )
    return "\n".join([text, *(f"      FAULT: {fault}" for fault in judged.faults)])
