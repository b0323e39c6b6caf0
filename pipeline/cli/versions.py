"""`cascade versions`: what each worker runs, and where workers of a stage differ."""

import json
import sys
import time
from dataclasses import asdict

import click
import msgspec

from pipeline.cli.connection import connected_settings

__all__ = ["command"]

_HASHES = ("code", "schema", "settings", "policy")


@click.command("versions")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60.0),
    default=2.0,
    show_default=True,
    help="How long to listen to workers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(seconds: float, as_json: bool) -> None:
    """Show the hashes of code, schemas, settings and policy that each live worker announces.

    Exit code 1 where workers of one stage differ in settings or policy: execution is halted when
    that lasts longer than CASCADE_UPGRADE_WINDOW_S. Differences in code and schemas are those of a
    rolling upgrade, and only shown.

    \b
    Examples:
      cascade versions
      cascade versions --json | jq '.workers[] | select(.system == "risk")'
    """  # noqa: D301  # click's mark for text that is not to be wrapped
    from pipeline.coordination.service import CoordinationService
    from pipeline.coordination.versions import Versions, skews
    from pipeline.events import EventBus

    with EventBus(settings=connected_settings()) as bus:
        service = CoordinationService(bus)
        service.start()
        try:
            time.sleep(seconds)
            members = service.directory.live(service.monotonic())
        finally:
            service.close()
    workers = [
        {"system": each.system_id, "instance": each.said.instance, **msgspec.to_builtins(versions)}
        for each in members
        if (versions := Versions.of(each.said.configuration)) is not None
    ]
    found = skews(members)
    if as_json:
        differences = [{**asdict(each), "text": str(each)} for each in found]
        content = {"agree": not found, "workers": workers, "differences": differences}
        click.echo(json.dumps(content, indent=2))
    else:
        _print(workers, [str(each) for each in found])
    if found:
        sys.exit(1)


def _print(workers: list[dict[str, str]], differences: list[str]) -> None:
    if not workers:
        click.echo("no worker is heard of")
        return
    width = max(len(each["instance"]) for each in workers)
    head = "".join(f"  {name:<16}" for name in _HASHES)
    click.echo(f"{'system':<10}  {'instance':<{width}}{head}".rstrip())
    for each in workers:
        hashes = "".join(f"  {each[name] or '-':<16}" for name in _HASHES)
        click.echo(f"{each['system']:<10}  {each['instance']:<{width}}{hashes}".rstrip())
    for text in differences or ["workers of each stage agree on settings and policy"]:
        click.echo(text)
