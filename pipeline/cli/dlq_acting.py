"""`cascade dlq replay` and `discard`: what is done about dead letters, and by whom."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from pipeline.cli.connection import connected_settings
from pipeline.clock import WallClock
from pipeline.errors import UsageError
from pipeline.replay import (
    MOST_ATTEMPTS,
    Coordinates,
    DeadRecord,
    Redriver,
    dead_topics,
    read_dead_letters,
)
from pipeline.settings import Settings

__all__ = ["discard", "named", "replay"]


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which letters: those named, or all open ones that fit.

    Attributes:
        coordinates: Those named.
        topic: Of this input topic.
        stage: Given up by this stage.
        cause: For this cause.
        limit: At most so many; 0: no limit.
    """

    coordinates: tuple[str, ...]
    topic: str | None
    stage: str | None
    cause: str | None
    limit: int

    def take(self, settings: Settings) -> list[DeadRecord]:
        """Return the letters.

        Raises:
            UsageError: If one that is named is none, or neither names nor filters are given.
        """
        if self.coordinates:
            if self.topic or self.stage or self.cause:
                raise UsageError("Expected coordinates or filters, was both")
            return named(settings, self.coordinates)
        if not (self.topic or self.stage or self.cause):
            raise UsageError("Expected coordinates, or at least one of --topic, --stage, --cause")
        found = [
            each
            for each in read_dead_letters(settings, dead_topics(self.topic)).records
            if each.open
            and self.stage in (None, each.letter.stage)
            and self.cause in (None, each.letter.error_class)
        ]
        return found[: self.limit or None]


def named(settings: Settings, coordinates: Sequence[str]) -> list[DeadRecord]:
    """Return the dead letters of coordinates, in their order.

    Raises:
        UsageError: If there is none of one of them.
    """
    wanted = [Coordinates.parse(each) for each in coordinates]
    topics = sorted({name for each in wanted for name in dead_topics(each.topic)})
    found = {each.coordinates: each for each in read_dead_letters(settings, topics).records}
    for each in wanted:
        if each not in found:
            raise UsageError(
                f"Expected a dead letter of {each}, was none. `cascade dlq list` shows those there"
                " are."
            )
    return [found[each] for each in wanted]


def _acting(function: Callable[..., Any]) -> Callable[..., Any]:
    decorators = (
        click.argument("coordinates", nargs=-1, metavar="[TOPIC:PARTITION:OFFSET]..."),
        click.option("--topic", help="All open letters of this input topic."),
        click.option("--stage", help="All open letters that this stage gave up."),
        click.option("--cause", help="All open letters of this cause, as `list` shows it."),
        click.option(
            "--limit", type=click.IntRange(min=0), default=100, show_default=True,
            help="Most letters that filters choose; 0: no limit.",
        ),
        click.option("--author", help="Who does it; needed with --execute."),
        click.option("--reason", help="Why; needed with --execute."),
        click.option("--execute", is_flag=True, help="Do it; else only say what would be done."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )  # fmt: skip
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


@click.command()
@_acting
@click.option(
    "--most-attempts", type=click.IntRange(min=1), default=MOST_ATTEMPTS, show_default=True,
    help="How often one letter may be sent again.",
)  # fmt: skip
def replay(
    author: str | None,
    reason: str | None,
    execute: bool,
    as_json: bool,
    most_attempts: int,
    **choice: Any,
) -> None:
    """Send the market data of dead letters again, bytes unchanged, from the start.

    All is checked anew: what is past its deadline expires, what was decided is a duplicate, and a
    halt holds. Exit code 1 where one of them cannot be sent.
    """
    settings, records = _chosen(author, reason, choice, execute=execute)
    lines, rows, failed = [], [], False
    with _redriver(settings) as redriver:
        for each in redriver.plan(records, most_attempts):
            row = {"coordinates": str(each.record.coordinates), "refusal": each.refusal}
            if each.origin is None:
                failed = True
                lines.append(f"{each.record.coordinates} NOT sent again: {each.refusal}")
            elif execute:
                target = redriver.replay(each, str(author), str(reason))
                row |= {"origin": str(each.origin.place), "target": str(target)}
                lines.append(f"{each.record.coordinates} sent again as {target}")
            else:
                row["origin"] = str(each.origin.place)
                lines.append(f"{each.record.coordinates} would be sent again: {each.origin.place}")
            rows.append(row)
    _print(lines, {"executed": execute, "letters": rows}, "sent", execute=execute, as_json=as_json)
    sys.exit(1 if failed else 0)


@click.command()
@_acting
def discard(
    author: str | None, reason: str | None, execute: bool, as_json: bool, **choice: Any
) -> None:
    """Note that dead letters are dealt with, by whom and why; they stay where they are."""
    settings, records = _chosen(author, reason, choice, execute=execute)
    with _redriver(settings) as redriver:
        for each in records if execute else ():
            redriver.discard(each, str(author), str(reason))
    verb = "discarded" if execute else "would be discarded"
    lines = [f"{each.coordinates} {verb}" for each in records]
    rows = [{"coordinates": str(each.coordinates)} for each in records]
    content = {"executed": execute, "letters": rows}
    _print(lines, content, "discarded", execute=execute, as_json=as_json)


def _chosen(
    author: str | None, reason: str | None, choice: dict[str, Any], *, execute: bool
) -> tuple[Settings, list[DeadRecord]]:
    if execute and not (author and reason):
        raise click.UsageError("Expected --author and --reason with --execute")
    settings = connected_settings()
    return settings, _Choice(**choice).take(settings)


@contextmanager
def _redriver(settings: Settings) -> Iterator[Redriver]:
    redriver = Redriver(settings, WallClock())
    try:
        yield redriver
    finally:
        redriver.close()


def _print(
    lines: list[str], content: dict[str, Any], verb: str, *, execute: bool, as_json: bool
) -> None:
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    if not execute:
        lines = [*lines, f"Nothing was {verb}: this was a dry run. --execute does it."]
    click.echo("\n".join(lines))
