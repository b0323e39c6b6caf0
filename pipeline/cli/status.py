"""`cascade status`: state, systems and figures of the cascade that runs."""

import click

from pipeline.cli.connection import connected_settings
from pipeline.cli.plain import show

__all__ = ["command"]


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Print the state of the cascade that runs, its four systems, and its figures.

    Figures are those since this command began to look; `cascade metrics` looks back.
    """
    from pipeline.cascade import SuperpositionCascadeManager
    from pipeline.events import EventBus

    with (
        EventBus(settings=connected_settings()) as bus,
        SuperpositionCascadeManager(event_bus=bus) as manager,
    ):
        show(manager.get_cascade_status(), as_json=as_json)
