"""`cascade replay`: run a range of the past through the same code again, and compare."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Any

import click
import msgspec

from pipeline.cli.connection import connected_settings
from pipeline.cli.flow import time_us
from pipeline.cli.interruption import interruptible
from pipeline.control.security_log import publish_security_event
from pipeline.errors import ConfigurationError, UsageError
from pipeline.packets.events import SecurityEventKind
from pipeline.replay.progress import Finding, Tally
from pipeline.replay.reading import TopicReader
from pipeline.replay.run import Replay, ReplayOptions, question
from pipeline.replay.selection import Bounds, Selection, of_emergency, of_flow, of_topic
from pipeline.replay.variants import Changes
from pipeline.settings import Settings

__all__ = ["command"]

_SHOWN = 20
_FIELDS = 4
_WIDTH = 60
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line asks for."""

    topic: str | None
    flow: str | None
    emergency: str | None
    partitions: tuple[int, ...]
    bounds: Bounds

    def __post_init__(self) -> None:
        chosen = [each for each in (self.topic, self.flow, self.emergency) if each is not None]
        if len(chosen) != 1:
            raise UsageError(
                f"Expected one of --topic, --flow and --emergency, was {len(chosen)} of them"
            )
        if self.topic is None and (self.partitions or self.bounds != Bounds()):
            raise UsageError("Expected --partition, --from-... and --to-... with --topic only")

    def select(self, settings: Settings) -> Selection:
        """Return the ranges that are meant."""
        with TopicReader(settings, "replay-selection") as reader:
            if self.flow is not None:
                from pipeline.replay.flow import FlowFinder

                return of_flow(FlowFinder(settings, reader), self.flow)
            if self.emergency is not None:
                return of_emergency(reader, self.emergency)
            return of_topic(reader, self.topic or "", self.partitions, self.bounds)


@click.command("replay")
@click.option("--topic", metavar="T", help="A stage's log; an ingest topic: through all stages.")
@click.option("--flow", metavar="ID", help="One flow through all stages.")
@click.option("--emergency", metavar="ID", help="All stages during an emergency.")
@click.option("--partition", "partitions", type=click.IntRange(min=0), multiple=True)
@click.option("--from-datetime", metavar="TIME", help="E.g. 2026-11-26T20:15:00, UTC.")
@click.option("--to-datetime", metavar="TIME", help="First time that is not meant any more.")
@click.option("--from-offset", type=click.IntRange(min=0))
@click.option("--to-offset", type=click.IntRange(min=0), help="First that is not meant any more.")
@click.option(
    "--policy", "policies", metavar="STAGE=MODULE:NAME", multiple=True, help="Decide by another."
)
@click.option(
    "--set", "limits", metavar="STAGE.LIMIT=VALUE", multiple=True, help="Decide by another limit."
)
@click.option("--speed", default="max", show_default=True, help="Times as fast as history.")
@click.option("--execute", is_flag=True, help="Replay; otherwise only say what would be.")
@click.option("--local", is_flag=True, help="Write nothing to Kafka, not even to a sandbox.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a post-mortem as HTML.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    topic: str | None,
    flow: str | None,
    emergency: str | None,
    partitions: tuple[int, ...],
    from_datetime: str | None,
    to_datetime: str | None,
    from_offset: int | None,
    to_offset: int | None,
    policies: tuple[str, ...],
    limits: tuple[str, ...],
    speed: str,
    execute: bool,
    local: bool,
    report_file: Path | None,
    as_json: bool,
) -> None:
    """Run a range of the past through the same code again, and compare.

    Each record is made again from its own input, at its own time, under the control state and on
    the state of then. What comes out goes into a sandbox namespace that no gateway takes orders
    from. With --policy or --set it says what would have been decided otherwise, and which change
    explains it. Without --execute it only says what it would do. A replay that was interrupted
    goes on where it was when it is called again.

    Exit code 0: history comes out again, or every difference is explained by a change. 1: it does
    not, or it could not be done.
    """
    settings = connected_settings()
    bounds = Bounds(
        from_offset,
        to_offset,
        time_us(from_datetime) if from_datetime else None,
        time_us(to_datetime) if to_datetime else None,
    )
    asked = _Asked(topic, flow, emergency, partitions, bounds)
    changed = Changes.parse(limits, policies, settings)
    options = ReplayOptions(changed, _speed(speed), sandbox=not local)
    if not execute:
        from pipeline.replay.plan import plan_of, plan_text

        planned = plan_of(settings, asked.select(settings), options)
        click.echo(json.dumps(planned, indent=2) if as_json else plan_text(planned))
        return
    if options.sandbox:  # what writes nothing is nobody's business
        publish_security_event(
            settings, SecurityEventKind.REPLAY, author=getuser(),
            subject=topic or flow or emergency or "", detail=str(changed) or "as recorded",
        )  # fmt: skip
    replay = _carried_out(settings, asked, options, quiet=as_json)
    content = _content(settings, replay, options)
    if report_file is not None:
        _report(settings, replay, str(changed), report_file)
    click.echo(json.dumps(content, indent=2) if as_json else _text(content, replay.tally))
    sys.exit(0 if content["verdict"] == "pass" else 1)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < float("inf"):
        raise UsageError(f"Expected a speed above 0, or max, was {text!r}")
    return speed


def _carried_out(
    settings: Settings, asked: _Asked, options: ReplayOptions, *, quiet: bool
) -> Replay:
    bounds = asked.bounds
    parts = (
        asked.topic, asked.flow, asked.emergency, asked.partitions, bounds.from_offset,
        bounds.to_offset, bounds.from_us, bounds.to_us, options.sandbox,
    )  # fmt: skip
    words = question(settings, [str(each) for each in parts], options.changes)
    with interruptible():
        try:
            with _progress(quiet=quiet) as on_progress:
                replay = Replay(
                    settings, lambda: asked.select(settings), options, words, on_progress
                )
                if replay.resumed:
                    click.echo("Going on where it was interrupted.", err=True)
                replay.run()
        except KeyboardInterrupt:
            click.echo("Interrupted; the same command goes on from here.", err=True)
            sys.exit(_INTERRUPTED)
    return replay


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error; none where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("replayed", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console.is_terminal and not quiet
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task("replay", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _content(settings: Settings, replay: Replay, options: ReplayOptions) -> dict[str, Any]:
    from pipeline.replay.sandbox import sandbox_settings

    tally, total = replay.tally, replay.tally.total
    failed = bool(total.different or total.gone or total.unexplained or tally.states_missed)
    first = tally.first_divergence
    return {
        "verdict": "fail" if failed else "pass",
        "replay_id": replay.checkpoint.replay_id,
        "what": replay.checkpoint.selection.what,
        "changes": str(options.changes),
        "compared": total.compared,
        "divergences": total.different,
        "differences": total.changed,
        "unexplained": total.unexplained,
        "gone": total.gone,
        "stages": {name: msgspec.to_builtins(each) for name, each in tally.stages.items()},
        "first_divergence": None if first is None else msgspec.to_builtins(first),
        "found": [msgspec.to_builtins(each) for each in (*tally.divergences, *tally.differences)],
        "states_checked": tally.states_checked,
        "states_missed": tally.states_missed,
        "seconds": round(tally.seconds, 3),
        "history_seconds": round((tally.last_now - tally.first_now) / 1e6, 3),
        "times_real": round(tally.times_real, 2),
        "sandbox": (
            sandbox_settings(settings, replay.checkpoint.replay_id).namespace
            if options.sandbox
            else None
        ),
    }


def _report(settings: Settings, replay: Replay, changes: str, file: Path) -> None:
    from pipeline.replay.postmortem import stretch, write_postmortem
    from pipeline.replay.timeline import timeline

    tally, selection = replay.tally, replay.checkpoint.selection
    with TopicReader(settings, "replay-timeline") as reader:
        happened = timeline(settings, reader, *stretch(tally, selection.span_us))
    text = write_postmortem(selection.what, tally, happened, changes)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"Expected to write {file}, was: {error}") from error
    click.echo(f"post-mortem in {file}", err=True)


def _text(content: dict[str, Any], tally: Tally) -> str:
    lines = [f"replayed {content['what']}"]
    if content["changes"]:
        lines.append(f"changed  {content['changes']}")
    for stage, counts in content["stages"].items():
        shown = ", ".join(f"{value} {name}" for name, value in counts.items() if value)
        lines.append(f"  {stage:<10} {shown}")
    lines += _found("divergence", content["divergences"], tally.divergences)
    lines += _found("difference", content["differences"], tally.differences)
    lines.append(
        f"{content['compared']} records compared, {content['divergences']} divergences,"
        f" {content['differences']} differences by the changes, {content['unexplained']} of them"
        " unexplained"
    )
    if content["gone"]:
        lines.append(f"{content['gone']} records could not be made again: their input is gone")
    if content["states_checked"] or content["states_missed"]:
        missed = "".join(f"; NOT {place}" for place in content["states_missed"])
        lines.append(f"{content['states_checked']} snapshots met by the replayed state{missed}")
    lines.append(
        f"{content['history_seconds']} s of history in {content['seconds']} s"
        f" ({content['times_real']} x real time)"
    )
    if content["sandbox"]:
        lines.append(f"written to namespace {content['sandbox']}")
    lines.append(content["verdict"])
    return "\n".join(lines)


def _found(name: str, total: int, found: Sequence[Finding]) -> Iterator[str]:
    for each in sorted(found, key=lambda each: each.now)[:_SHOWN]:
        yield f"{name} {each}  flow {each.flow_id} {each.symbol}"
        yield f"  {each.before}  ->  {each.after}"
        because = f"{each.cause}: {each.detail}" if name == "divergence" else each.detail
        yield f"  because  {because or 'nothing that was changed'}"
        for path, before, after in each.fields[:_FIELDS]:
            yield f"    {path}: {_short(before)} -> {_short(after)}"
    if total > _SHOWN:
        yield f"  and {total - _SHOWN} more; --json has a thousand of them"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
