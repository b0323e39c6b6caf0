"""`cascade log-level`: what the workers of this machine log, changed while they run."""

import json
import sys

import click

from pipeline.control.out_of_band import LOG_LEVELS, log_level_here
from pipeline.errors import UsageError
from pipeline.settings import load_settings

__all__ = ["command"]


@click.command("log-level")
@click.argument("level", type=click.Choice(LOG_LEVELS, case_sensitive=False))
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(level: str, name: str, as_json: bool) -> None:
    """Have the workers of this machine log from LEVEL on, or the one of NAME, e.g. risk.

    It holds until the next restart; CASCADE_LOG_LEVEL is for good. Exit code 1 where a worker did
    not obey, or there is none.

    \b
    Examples:
      cascade log-level DEBUG risk
      cascade log-level INFO
    """  # noqa: D301  # click's mark for text that is not to be wrapped
    found = log_level_here(load_settings(), level.upper(), name)
    if not found:
        raise UsageError(
            f"Expected a worker {name or 'of any name'} on this machine, was none. Set CASCADE_HOME"
            " and CASCADE_NAMESPACE as for the worker."
        )
    if as_json:
        answers = [{"pid": pid, "error": error} for pid, error in found]
        click.echo(json.dumps({"level": level.upper(), "workers": answers}, indent=2))
    else:
        for pid, error in found:
            click.echo(f"process {pid}: {error or level.upper()}")
    if any(error for _, error in found):
        sys.exit(1)
