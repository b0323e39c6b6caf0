"""`cascade bench`: which rates this machine sustains, by demos one after the other."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pipeline.errors import UsageError

__all__ = ["Row", "command", "row_of", "table"]

Row = Mapping[str, Any]

_MOST_ERRORS = 0.01
_LEAST_SHARE = 0.99
_COLUMNS = (
    ("offered/s", "offered_per_second"),
    ("done/s", "packets_per_second"),
    ("p50 ms", "p50_ms"),
    ("p95 ms", "p95_ms"),
    ("p99 ms", "p99_ms"),
    ("errors", "error_rate"),
    ("lost", "unaccounted"),
    ("twice", "duplicate_orders"),
    ("sustained", "sustained"),
)


@click.command("bench")
@click.option(
    "--rates", default="100,200,400,800", show_default=True, help="Records a second, with commas."
)
@click.option("--seconds", type=float, default=15.0, show_default=True, help="At each rate.")
@click.option("--single", is_flag=True, help="The four stages in one process.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(rates: str, seconds: float, single: bool, as_json: bool) -> None:
    """Offer market data at several rates and say which of them is sustained.

    The load is open loop and latency counts from the intended send time, over flows that passed all
    four stages. A rate is sustained when 99 % of it gets a decision, fewer than 1 % expire, are
    shed or dead-lettered, and nothing is lost or ordered twice. Exit code 1 where no rate is.
    """
    rows = [_measure(rate, seconds, single=single) for rate in _parsed(rates)]
    click.echo(json.dumps(rows, indent=2) if as_json else table(rows))
    sys.exit(0 if any(row["sustained"] for row in rows) else 1)


def _parsed(rates: str) -> list[float]:
    try:
        found = [float(rate) for rate in rates.split(",")]
    except ValueError as error:
        raise UsageError(f"Expected rates with commas between, was {rates!r}") from error
    return sorted(found)


def _measure(rate: float, seconds: float, *, single: bool) -> dict[str, Any]:
    """Run one demo as a process of its own, so that none inherits the other's memory."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "pipeline.cli", "demo", "--json", str(figures)]
        command += ["--rate", str(rate), "--seconds", str(seconds), *(["--single"] * single)]
        click.echo(f"Offering {rate:g}/s for {seconds:g} s ...", err=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not figures.exists():
            said = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise UsageError(f"Expected figures at {rate:g}/s, was none: {' '.join(said)}")
        return row_of(json.loads(figures.read_text()))


def row_of(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of a demo's figures, with the verdict."""
    latency = figures["latency_ms"] or {}
    row = {
        "offered_per_second": figures["offered_per_second"],
        "packets_per_second": figures["packets_per_second"],
        "p50_ms": latency.get("p50"),
        "p95_ms": latency.get("p95"),
        "p99_ms": latency.get("p99"),
        "error_rate": figures["error_rate"],
        "unaccounted": figures["unaccounted"],
        "duplicate_orders": figures["duplicate_orders"],
    }
    row["sustained"] = bool(
        row["packets_per_second"] >= _LEAST_SHARE * row["offered_per_second"]
        and row["error_rate"] < _MOST_ERRORS
        and row["unaccounted"] == row["duplicate_orders"] == 0
    )
    return row


def table(rows: Sequence[Row]) -> str:
    """Return rows as text in columns."""
    lines = [[title for title, _ in _COLUMNS]]
    lines += [[_text(row[name]) for _, name in _COLUMNS] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) and value < 1 else f"{value:.0f}"
