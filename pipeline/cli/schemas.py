"""`cascade schemas`: check schemas against their history."""

import json
import sys

import click

from pipeline.topics import compatibility

__all__ = ["command"]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("schemas")
def command() -> None:
    """Check schemas against their history."""


@command.command()
@_json_option
def check(as_json: bool) -> None:
    """Check that the current schemas read all that was ever written; exit code 1 if not."""
    faults = compatibility.check()
    if as_json:
        click.echo(json.dumps({"compatible": not faults, "faults": faults}, indent=2))
    else:
        for fault in faults:
            click.echo(fault)
        click.echo("schemas compatible with their history" if not faults else "NOT compatible")
    if faults:
        sys.exit(1)


@command.command()
@_json_option
def record(as_json: bool) -> None:
    """Add the current schemas to their history."""
    written = compatibility.record()
    if as_json:
        click.echo(json.dumps([str(path) for path in written], indent=2))
        return
    for path in written:
        click.echo(f"recorded {path}")
    click.echo(f"{len(written)} schemas recorded")
