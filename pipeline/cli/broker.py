"""`cascade broker`: find, start and stop a Kafka for this machine."""

import json

import click

from pipeline import broker
from pipeline.broker.finder import describe

__all__ = ["command"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def command() -> None:
    """Find, start and stop a Kafka for this machine.

    The broker is the one of CASCADE_BROKER if that is set. Else one is started: with Java 17 and
    Maven as a local process, or with Docker as a container. Its data stays under CASCADE_HOME.
    """


@command.command()
@click.option(
    "--nodes",
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    help="Brokers of one cluster, as processes of this machine; topics: CASCADE_TOPIC_PROFILE.",
)
@_as_json
def up(nodes: int, as_json: bool) -> None:
    """Start a broker, or find the one that runs; it goes on running afterwards."""
    found = broker.up(notice=_tell, nodes=nodes)
    _show(found, describe(found), as_json=as_json)


@command.command()
@_as_json
def down(as_json: bool) -> None:
    """Stop the broker that was started here; its data stays."""
    stopped = broker.down()
    text = "The broker is stopped." if stopped else "No broker was running."
    click.echo(json.dumps({"stopped": stopped}) if as_json else text)


@command.command()
@_as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show the broker that runs; exit code 1 where none answers."""
    found = broker.status()
    _show(found.broker, found.detail, as_json=as_json)
    if found.broker is None:
        context.exit(1)


def _show(found: broker.Broker | None, detail: str, *, as_json: bool) -> None:
    content = {**(found.to_dict() if found else {}), "answers": found is not None, "detail": detail}
    click.echo(json.dumps(content) if as_json else detail)


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
