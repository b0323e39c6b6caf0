"""`cascade trace`: a flow as a trace of OpenTelemetry."""

import json

import click
import msgspec

from pipeline.cli.connection import connected_settings
from pipeline.errors import UsageError

__all__ = ["command"]


@click.command("trace")
@click.argument("name", metavar="ID")
@click.option("--replay", "replay_id", help="The flow's trace in this replay too, linked to it.")
@click.option("--symbol", help="Symbol of the flow, where known: only its partition is searched.")
@click.option("--json", "as_json", is_flag=True, help="Print the spans instead of exporting them.")
def command(name: str, replay_id: str | None, symbol: str | None, as_json: bool) -> None:
    """Export a flow as one trace, over OTLP to OTEL_EXPORTER_OTLP_ENDPOINT.

    ID is a flow id, packet id or client order id. The spans are made from the times that stand in
    the packets, so workers need no tracing, and the trace's id follows from the flow's: exported
    again, it is the same trace. Exporting needs the extra: pip install 'marl-cascade[otel]'.

    \b
    Examples:
      OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 cascade trace FLOW_ID
      cascade trace FLOW_ID --replay REPLAY_ID --json
    """  # noqa: D301  # click's mark for text that is not to be wrapped
    from pipeline.replay.flow import FlowFinder
    from pipeline.replay.reading import TopicReader
    from pipeline.replay.sandbox import sandbox_settings
    from pipeline.replay.traces import export, replay_trace, sandbox_records, trace_of

    settings = connected_settings()
    with TopicReader(settings, "trace") as reader:
        flow = FlowFinder(settings, reader, symbol=symbol).find(name)
    spans = trace_of(flow)
    if replay_id is not None:
        with TopicReader(sandbox_settings(settings, replay_id), "trace") as reader:
            replayed = replay_trace(flow, replay_id, sandbox_records(reader))
        if not replayed:
            raise UsageError(f"Expected flow {flow.flow_id} in replay {replay_id}, was not")
        spans += replayed
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(spans), indent=2))
    else:
        click.echo(f"{export(spans)} spans of trace {spans[0].trace_id} exported")
