"""`cascade health`: whether the workers of this machine are well; for probes of containers."""

import json
import sys

import click
import msgspec

from pipeline.errors import UsageError
from pipeline.settings import load_settings

__all__ = ["command"]


@click.command("health")
@click.argument("name", default="")
@click.option("--live", is_flag=True, help="Only what a restart mends: hanging, not polling.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, live: bool, as_json: bool) -> None:
    """Say whether the workers of this machine are well, or the one of NAME, e.g. risk.

    A worker is well when it has joined its group, owns what it was assigned or stands by, gets on
    with its rounds, and what it knows of the control log is current. Exit code 0: all are well; 1:
    one is not, or there is none. No broker is asked.

    \b
    Examples:
      cascade health                   readiness
      cascade health risk --live       liveness of one
    """  # noqa: D301  # click's mark for text that is not to be wrapped
    from pipeline.control.out_of_band import health_here
    from pipeline.control.pulse import PulseReading

    found: dict[str, PulseReading | str] = {}
    for each in health_here(load_settings()):
        if each.error:
            found[f"process {each.pid}"] = each.error
        for part, reading in each.pulses.items():
            if name in ("", part):
                found[f"{part} ({each.pid})"] = reading
    if not found:
        raise UsageError(
            f"Expected a worker {name or 'of any name'} on this machine, was none. Set CASCADE_HOME"
            " and CASCADE_NAMESPACE as for the worker."
        )
    wrong = {
        part: [reading] if isinstance(reading, str) else reading.findings(live=live)
        for part, reading in found.items()
    }
    if as_json:
        workers = [
            {"worker": part, "well": not wrong[part], "findings": wrong[part],
             **(msgspec.to_builtins(reading) if not isinstance(reading, str) else {})}
            for part, reading in found.items()
        ]  # fmt: skip
        click.echo(json.dumps({"well": not any(wrong.values()), "workers": workers}, indent=2))
    else:
        for part, findings in wrong.items():
            click.echo(f"{part}: {'; '.join(findings) or 'well'}")
    if any(wrong.values()):
        sys.exit(1)
