"""`cascade emergency`: emergencies, and what was done about them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.connection import connected_settings
from pipeline.cli.plain import show
from pipeline.packets.events import EmergencyLevel, EmergencyType

if TYPE_CHECKING:
    from pipeline.cascade import EmergencyCascadeProtocols

__all__ = ["command"]

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _answer(function: Callable[..., Any]) -> Callable[..., Any]:
    emergency_id = click.argument("emergency_id")
    author = click.option("--author", default="operator", show_default=True, help="Who does so.")
    note = click.option("--note", default="", help="For those who read the course of it.")
    return emergency_id(author(note(_json(function))))


@click.group("emergency", invoke_without_command=True)
@_json
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Print which emergencies are active, or declare, acknowledge and resolve one."""
    if context.invoked_subcommand is None:
        with _protocols() as protocols:
            show(protocols.get_emergency_status(), as_json=as_json)


@command.command()
@_json
def status(as_json: bool) -> None:
    """Print which emergencies are active, and how the systems are."""
    with _protocols() as protocols:
        show(protocols.get_emergency_status(), as_json=as_json)


@command.command("show")
@click.argument("emergency_id")
@_json
def show_one(emergency_id: str, as_json: bool) -> None:
    """Print an emergency with its whole course."""
    with _protocols() as protocols:
        show(protocols.get_emergency(emergency_id), as_json=as_json)


@command.command()
@click.argument("kind", metavar="TYPE", type=click.Choice(list(EmergencyType)))
@click.argument("level", type=click.Choice(list(EmergencyLevel)))
@click.option(
    "--system",
    "systems",
    multiple=True,
    help="A stage, or a scope as symbol:IBM, that is affected; may be repeated.",
)
@click.option("--description", required=True, help="What happened.")
@click.option("--source", default="operator", show_default=True, help="Who says so.")
@_json
def declare(
    kind: str, level: str, systems: tuple[str, ...], description: str, source: str, as_json: bool
) -> None:
    """Declare an emergency and do at once what is to be done about it."""
    with _protocols() as protocols:
        emergency_id = protocols.declare_emergency(
            emergency_type=EmergencyType(kind),
            emergency_level=EmergencyLevel(level),
            source_system=source,
            affected_systems=systems,
            description=description,
        )
        show(protocols.get_emergency(emergency_id), as_json=as_json)


@command.command()
@_answer
def acknowledge(emergency_id: str, author: str, note: str, as_json: bool) -> None:
    """Take an emergency on, so that it is not escalated."""
    with _protocols() as protocols:
        protocols.acknowledge_emergency(emergency_id, author=author, note=note)
        show(protocols.get_emergency(emergency_id), as_json=as_json)


@command.command()
@_answer
def resolve(emergency_id: str, author: str, note: str, as_json: bool) -> None:
    """End an emergency: take back what was done about it."""
    with _protocols() as protocols:
        protocols.resolve_emergency(emergency_id, author=author, note=note)
        show(protocols.get_emergency(emergency_id), as_json=as_json)


@contextmanager
def _protocols() -> "Iterator[EmergencyCascadeProtocols]":
    from pipeline.cascade import EmergencyCascadeProtocols
    from pipeline.events import EventBus

    with (
        EventBus(settings=connected_settings()) as bus,
        EmergencyCascadeProtocols(event_bus=bus) as protocols,
    ):
        yield protocols
