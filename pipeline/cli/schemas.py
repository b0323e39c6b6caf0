"""`cascade schemas`: schemas against their history, and against a registry."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile, compatibility
from pipeline.topics.registering import State, Subject, look
from pipeline.topics.registering import register as register_all

__all__ = ["command"]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("schemas")
def command() -> None:
    """Check schemas against their history, and against a schema registry.

    What is read today must read every record ever written (BACKWARD_TRANSITIVE). The registry is
    that of CASCADE_REGISTRY_URL, if one is set.
    """


@command.command()
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Other schemas than the project's, with their `history`.",
)
@_json_option
def check(folder: Path | None, as_json: bool) -> None:
    """Check that the current schemas read all that was ever written; exit code 1 if not.

    Where a registry is configured, they are held against its versions as well.
    """
    settings = load_settings()
    faults = compatibility.check(folder)
    if settings.registry_url and folder is None:
        faults += [_fault(each) for each in _seen(settings) if each.state is State.INCOMPATIBLE]
    if as_json:
        click.echo(json.dumps({"compatible": not faults, "faults": faults}, indent=2))
    else:
        for fault in faults:
            click.echo(fault)
        click.echo("schemas compatible with their history" if not faults else "NOT compatible")
    if faults:
        sys.exit(1)


@command.command()
@click.argument("names", nargs=-1)
@_json_option
def history(names: tuple[str, ...], as_json: bool) -> None:
    """List every schema that packets were written with, and what has changed since.

    Exit code 1 where one is listed that cannot be read any more, or none of that name is there.
    """
    found = [each for each in compatibility.versions() if not names or each.name in names]
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    else:
        for each in found:
            since = [*(f"+{name}" for name in each.added), *(f"-{name}" for name in each.removed)]
            word = "current" if each.current else "readable" if each.readable else "UNREADABLE"
            changed = f"  since: {' '.join(since)}" if since else ""
            click.echo(f"{each.name:<20} {each.fingerprint}  {word:<10}{changed}")
    missing = set(names) - {each.name for each in found}
    for name in sorted(missing):
        click.echo(f"cascade: Expected a schema in the history, was {name}.", err=True)
    sys.exit(0 if not missing and all(each.readable for each in found) else 1)


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


@command.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be registered.")
@_json_option
def register(dry_run: bool, as_json: bool) -> None:
    """Register the record types of all topics in the registry; what is there stays.

    Exit code 1 where a schema does not read all versions that the registry has: it is not
    registered. With --dry-run also where one would be.
    """
    from pipeline.registry import Registry

    settings = load_settings()
    file, registry = TopicFile.load(), Registry(settings)
    found = (look if dry_run else register_all)(settings, file, registry)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    else:
        for each in found:
            number = "-" if each.schema_id is None else str(each.schema_id)
            word = "now registered" if each.done else each.state.value
            click.echo(f"{number:>6}  {word:<14}  {each.subject}")
        done = sum(each.done for each in found)
        click.echo(f"{len(found)} subjects, {done} registered just now")
    sys.exit(0 if all(each.state is State.REGISTERED for each in found) else 1)


def _seen(settings: Settings) -> list[Subject]:
    from pipeline.registry import Registry

    return look(settings, TopicFile.load(), Registry(settings))


def _fault(subject: Subject) -> str:
    return (
        f"{subject.name}: Expected to read all versions of {subject.subject} in the registry, does"
        " not. Give new fields a default, and rename or retype none."
    )
