"""`cascade doctor`: what is wrong, and what to do about it."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict

import click

from pipeline.cli.connection import connected_settings
from pipeline.doctor import SYMPTOMS, Finding, State, examine, gather, judge, verdict
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings, load_settings

__all__ = ["command"]

_COLOURS = {
    State.OK: "green",
    State.WARNING: "yellow",
    State.PROBLEM: "red",
    State.UNKNOWN: "cyan",
}


@click.command("doctor")
@click.option(
    "--symptom",
    type=click.Choice([*SYMPTOMS, "all"]),
    help="Look at the cascade that runs, by the specification's troubleshooting.",
)
@click.option(
    "--role", default="operator", show_default=True, help="Whose rights this client is to have."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(symptom: str | None, role: str, as_json: bool) -> None:
    """Examine this installation, or a symptom of the cascade that runs; change nothing.

    Each finding names what was seen and the command to give next. Exit code 0 where all is well, 1
    where something is not, 2 where nothing could be told.
    """
    settings = _settings()
    if symptom is None:
        findings = _printed(examine(settings, role=role), as_json=as_json)
    else:
        chosen = None if symptom == "all" else symptom
        judged = judge(gather(settings), chosen)
        findings = _printed((finding for _, finding in judged), as_json=as_json)
    code = verdict(findings)
    if as_json:
        rows = [asdict(each) for each in findings]
        content = {"verdict": ("pass", "fail", "unknown")[code], "findings": rows}
        click.echo(json.dumps(content, indent=2))
    sys.exit(code)


def _settings() -> Settings:
    """Return the settings, with the broker that runs here, if one does."""
    try:
        return connected_settings()
    except ConfigurationError:
        return load_settings()  # which says what is wrong with them, if that is it


def _printed(findings: Iterable[Finding], *, as_json: bool) -> list[Finding]:
    """Return the findings, each printed as soon as it is made."""
    listed = []
    for each in findings:
        listed.append(each)
        if as_json:
            continue
        word = click.style(f"{each.state.value:<8}", fg=_COLOURS[each.state])
        click.echo(f"{word} {each.check}: {each.detail}")
        if each.next:
            click.echo(f"{'':8} next: {each.next}")
    return listed
