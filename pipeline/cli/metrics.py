"""`cascade metrics`: how fast the cascade that runs is, and where its time goes."""

import click

from pipeline.cli.connection import connected_settings
from pipeline.cli.plain import show

__all__ = ["command"]


@click.command("metrics")
@click.option(
    "--seconds",
    type=click.FloatRange(1.0, 3600.0),
    default=60.0,
    show_default=True,
    help="How far to look back.",
)
@click.option("--report", is_flag=True, help="Print a report instead: score, advice, trends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(seconds: float, report: bool, as_json: bool) -> None:
    """Print latency, throughput and errors of the last seconds, from the packets' own traces.

    What was not measured is a dash, in JSON null, and its verdict no_data.
    """
    from pipeline.cascade.performance import attached
    from pipeline.events import EventBus

    with (
        EventBus(settings=connected_settings()) as bus,
        attached(bus, look_back_s=seconds) as monitor,
    ):
        found = (
            monitor.generate_performance_report(seconds)
            if report
            else monitor.get_real_time_metrics(seconds)
        )
        show(found.to_dict(), as_json=as_json)
