"""`cascade flow`: one flow's whole life."""

import json
from datetime import UTC, datetime, timedelta

import click

from pipeline.cli.connection import connected_settings
from pipeline.errors import UsageError

__all__ = ["command", "time_us"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_us(text: str) -> int:
    """Return an ISO 8601 time as microseconds since the Unix epoch; without an offset it is UTC.

    Raises:
        UsageError: If it is no such time.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"Expected a time such as 2026-11-26T20:15:00 or 2026-11-26T20:15:00+01:00, was"
            f" {text!r}"
        ) from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return (found - _EPOCH) // timedelta(microseconds=1)


@click.command("flow")
@click.argument("name", metavar="ID")
@click.option("--symbol", help="Symbol of the flow, where known: only its partition is searched.")
@click.option("--since", metavar="TIME", help="Look from this time on, e.g. 2026-11-26T20:15:00.")
@click.option("--until", metavar="TIME", help="Look up to this time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the records whole.")
def command(
    name: str, symbol: str | None, since: str | None, until: str | None, as_json: bool
) -> None:
    """Show a flow's whole life, from market data to fill.

    ID is a flow id, packet id or client order id. The newest records are searched first. Times
    without an offset are UTC.
    """
    from pipeline.replay.flow import FlowFinder
    from pipeline.replay.flow_view import flow_lines, flow_to_dict
    from pipeline.replay.reading import TopicReader

    settings = connected_settings()
    with TopicReader(settings, "flow") as reader:
        finder = FlowFinder(
            settings,
            reader,
            symbol=symbol,
            since_us=time_us(since) if since else 0,
            until_us=time_us(until) if until else None,
        )
        found = finder.find(name)
    if as_json:
        click.echo(json.dumps(flow_to_dict(found), indent=2))
    else:
        for line in flow_lines(found):
            click.echo(line)
