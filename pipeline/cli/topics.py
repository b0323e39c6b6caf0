"""`cascade topics`: create and check the topics of `topics.yaml`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.connection import connected_settings
from pipeline.settings import load_settings
from pipeline.topics import Action, Change, TopicFile
from pipeline.topics import apply as apply_topics
from pipeline.topics import plan as plan_topics

__all__ = ["command"]

_file_option = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Another topics file than the project's.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("topics")
def command() -> None:
    """Create and check the topics."""


@command.command()
@_file_option
@_json_option
@click.option("--dry-run", is_flag=True, help="Only say what would be created.")
def apply(path: Path | None, as_json: bool, dry_run: bool) -> None:
    """Create the topics that are missing, and report what differs.

    Nothing is deleted or changed. Exit code 1 where a partition count differs from the file's.
    """
    file = TopicFile.load(path)
    settings = connected_settings()
    changes = plan_topics(settings, file) if dry_run else apply_topics(settings, file)
    conflicts = [change for change in changes if change.action is Action.CONFLICT]
    if as_json:
        click.echo(json.dumps([asdict(change) for change in changes], indent=2))
    else:
        for change in changes:
            if change.action is not Action.NONE:
                click.echo(_line(change))
        click.echo(_summary(changes))
    if conflicts:
        sys.exit(1)


@command.command()
@_file_option
def validate(path: Path | None) -> None:
    """Check the topics file alone; no broker is asked."""
    file = TopicFile.load(path)
    click.echo(f"{len(file.topics)} topics, valid")


@command.command("list")
@_file_option
@_json_option
def list_(path: Path | None, as_json: bool) -> None:
    """List the topics of the file, under the namespace in force."""
    settings = load_settings()
    file = TopicFile.load(path)
    rows = [
        {"name": name, "real": settings.topic(name), **topic.model_dump()}
        for name, topic in file.topics.items()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(row["real"]) for row in rows)
    for row in rows:
        kept = row["retention"] if row["retention"] == "forever" else f"{row['retention']} h"
        click.echo(
            f"{row['real']:<{width}}  {row['partitions']:>3}  {kept:>8}  {row['description']}"
        )


def _line(change: Change) -> str:
    word = "created" if change.done else change.action.value
    return f"{word:<8}  {change.real}: {change.detail}"


def _summary(changes: list[Change]) -> str:
    created = sum(change.done for change in changes)
    counts = {action: sum(c.action is action and not c.done for c in changes) for action in Action}
    return (
        f"{len(changes)} topics: {created} created, {counts[Action.CREATE]} to be created,"
        f" {counts[Action.NONE]} as they should be, {counts[Action.DRIFT]} drifted,"
        f" {counts[Action.CONFLICT]} in conflict"
    )
