"""`cascade topics`: topics and rights as code, from `topics.yaml`."""

import getpass
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline.cli.connection import connected_settings
from pipeline.control.security_log import TOPIC as SECURITY
from pipeline.control.security_log import publish_security_event
from pipeline.errors import ConfigurationError, PipelineError
from pipeline.packets.events import SecurityEventKind
from pipeline.settings import Settings, load_settings
from pipeline.topics import (
    Action,
    Change,
    Plan,
    Right,
    RightAction,
    TopicFile,
    carry_out,
    make_plan,
)

__all__ = ["command"]

_AUDIT_S = 5.0
_DONE: dict[Action | RightAction, str] = {
    Action.CREATE: "created",
    Action.GROW: "grown",
    Action.DRIFT: "set",
    RightAction.GRANT: "granted",
}

_file_option = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Another topics file than the project's.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_acls_option = click.option(
    "--acls", is_flag=True, help="Rights of producers and consumers as well."
)
_repartition_option = click.option(
    "--allow-repartition",
    "repartition",
    multiple=True,
    metavar="TOPIC",
    help="Grow this topic though its records have keys; may be repeated.",
)


@click.group("topics")
def command() -> None:
    """Topics and rights as code: topics.yaml against the broker.

    Nothing is ever deleted, shrunk or moved, and nothing is touched that the file does not name.
    Exit codes: 0 all is as the file says; 1 something differs or was refused; 2 it cannot be told:
    a fault in the file or on the command line, or a broker that does not answer.
    """


@command.command()
@_file_option
@_json_option
def validate(path: Path | None, as_json: bool) -> None:
    """Check the topics file alone; no broker is asked."""
    file = TopicFile.load(path)
    if as_json:
        click.echo(json.dumps({"valid": True, "topics": len(file.topics)}))
    else:
        click.echo(f"{len(file.topics)} topics, valid")


@command.command()
@_file_option
@_acls_option
@_repartition_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Keep the plan here.")
@_json_option
def plan(
    path: Path | None, acls: bool, repartition: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Say what `apply` would do, and do nothing."""
    made = make_plan(connected_settings(), TopicFile.load(path), acls=acls, repartition=repartition)
    if out is not None:
        _keep(made, out)
    _show(made, as_json=as_json)
    sys.exit(0 if made.in_sync else 1)


@command.command()
@_file_option
@_acls_option
@_repartition_option
@click.option(
    "--plan",
    "kept",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Carry out this plan, or nothing where the cluster has changed since.",
)
@_json_option
def apply(
    path: Path | None, acls: bool, repartition: tuple[str, ...], kept: Path | None, as_json: bool
) -> None:
    """Create what is missing, set back what drifted; report what it refuses to change.

    It may be interrupted at any moment: given again it ends the same.
    """
    settings = connected_settings()
    file = TopicFile.load(path)
    made = make_plan(settings, file, acls=acls, repartition=repartition)
    if kept is not None and _plain(made) != _read(kept):
        click.echo(
            f"cascade: Expected the cluster to be as {kept} found it, was changed since. Make a new"
            " plan: `cascade topics plan --out`.",
            err=True,
        )
        sys.exit(1)
    done = carry_out(settings, file, made, tell=_nothing if as_json else _tell)
    _audit(settings, file, done)
    if as_json:
        click.echo(json.dumps(_plain(done), indent=2))
    else:
        for each in done.open:
            _tell(each)
        click.echo(_summary(done))
    sys.exit(0 if done.in_sync else 1)


@command.command()
@_file_option
@_json_option
def diff(path: Path | None, as_json: bool) -> None:
    """List all that the broker has otherwise than the file, what `apply` leaves alone as well."""
    from pipeline.topics.export import differences

    found = differences(connected_settings(), TopicFile.load(path))
    if as_json:
        rows = [asdict(each) for each in found]
        click.echo(json.dumps({"in_sync": not found, "differences": rows}, indent=2))
    else:
        for each in found:
            left = "" if each.managed else "  (left alone)"
            click.echo(f"{each.real}  {each.what}: {each.file} -> {each.broker}{left}")
        click.echo(f"{len(found)} differences, file -> broker" if found else "no difference")
    sys.exit(1 if found else 0)


@command.command()
@_file_option
@_json_option
def export(path: Path | None, as_json: bool) -> None:
    """Write the broker's topics as a topics file."""
    import yaml

    from pipeline.topics.export import export as written

    text = written(connected_settings(), TopicFile.load(path))
    click.echo(json.dumps(yaml.safe_load(text), indent=2) if as_json else text, nl=as_json)


@command.command()
@_file_option
@_json_option
def asyncapi(path: Path | None, as_json: bool) -> None:
    """Write an AsyncAPI 3 document of topics, record types and who sends and receives them."""
    import yaml

    from pipeline.topics.asyncapi import document

    made = document(TopicFile.load(path), load_settings())
    text = json.dumps(made, indent=2) if as_json else yaml.safe_dump(made, sort_keys=False)
    click.echo(text)


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


def _audit(settings: Settings, file: TopicFile, done: Plan) -> None:
    """Tell the audit log what was changed; where it cannot be told, say so: the change stands."""
    every: tuple[Change | Right, ...] = (*done.topics, *(done.rights or ()))
    changed = [each for each in every if each.done]
    if not changed or SECURITY not in file.topics:
        return
    said = ", ".join(f"{_word(each)} {_subject(each)}" for each in changed)
    try:
        publish_security_event(
            settings,
            SecurityEventKind.TOPIC_CHANGE,
            author=getpass.getuser(),
            subject=f"topics of namespace {done.namespace or '-'}",
            detail=said,
            timeout_s=_AUDIT_S,
        )
    except (PipelineError, KeyError, OSError) as error:
        click.echo(f"The audit log does not know of it: {error}", err=True)


def _show(made: Plan, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_plain(made), indent=2))
        return
    for each in made.open:
        _tell(each)
    click.echo(_summary(made))


def _plain(made: Plan) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(made)))  # as it is read back
    return {"in_sync": made.in_sync, **plain}


def _keep(made: Plan, path: Path) -> None:
    try:
        path.write_text(json.dumps(_plain(made), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"Expected to write {path}, was refused: {error}") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Expected a plan at {path}, was: {error}") from error


def _tell(each: Change | Right) -> None:
    """Print one item; it is done or it is not, whoever reads along sees it at once."""
    detail = f": {each.detail}" if isinstance(each, Change) else ""
    click.echo(f"{_word(each):<8}  {_subject(each)}{detail}")


def _word(each: Change | Right) -> str:
    return _DONE[each.action] if each.done else each.action.value


def _subject(each: Change | Right) -> str:
    return each.real if isinstance(each, Change) else each.detail


def _nothing(each: Change | Right) -> None:
    del each


def _summary(made: Plan) -> str:
    done = sum(change.done for change in made.topics)
    open_ = {
        action: sum(c.action is action and not c.done for c in made.topics) for action in Action
    }
    text = (
        f"{len(made.topics)} topics: {done} changed, {open_[Action.CREATE]} to be created,"
        f" {open_[Action.GROW]} to be grown, {open_[Action.DRIFT]} drifted,"
        f" {open_[Action.REASSIGN] + open_[Action.CONFLICT]} refused,"
        f" {open_[Action.NONE]} as they should be"
    )
    if made.rights is None:
        return text
    granted = sum(right.done for right in made.rights)
    missing = sum(r.action is RightAction.GRANT and not r.done for r in made.rights)
    surplus = sum(r.action is RightAction.SURPLUS for r in made.rights)
    return (
        text
        + f"\n{len(made.rights)} rights: {granted} granted, {missing} missing, {surplus} surplus"
    )
