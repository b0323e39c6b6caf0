"""`cascade scaling`: how many workers each stage has, and should have."""

from datetime import UTC, datetime

import click

from pipeline.cli.connection import connected_settings
from pipeline.cli.plain import show
from pipeline.errors import BrokerUnavailable
from pipeline.stages.routes import ROUTES

__all__ = ["command"]

_LOOK_BACK_S = 60.0
_WAIT_S = 10.0


@click.command("scaling")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Print how many workers each stage has and should have, as the monitor sees it.

    Kubernetes takes the same number from the gauge cascade_recommended_workers; `cascade run
    --autoscale` acts on it by itself.
    """
    from pipeline.watch.catalogue import spelled
    from pipeline.watch.history import HistoryReader, MetricsHistory
    from pipeline.watch.scaling import RECOMMENDED

    settings = connected_settings()
    history = MetricsHistory()
    reader = HistoryReader(lambda: settings, history, look_back_s=_LOOK_BACK_S)
    reader.start()
    try:
        reader.ready(_WAIT_S)
    finally:
        reader.close()
    latest = history.latest
    if latest is None:
        raise BrokerUnavailable(
            f"Expected a snapshot of the monitor within the last {_LOOK_BACK_S:g} s, was none;"
            " see whether one runs (`cascade run`)"
        )
    figures = history.figures()
    stages = {
        stage: {
            "workers": _count(figures.get(spelled("cascade_live_workers", {"system": stage}))),
            "recommended": _count(figures.get(spelled(RECOMMENDED, {"stage": stage}))),
            "busy": figures.get(spelled("cascade_stage_utilisation_ratio", {"stage": stage})),
            "behind_s": figures.get(spelled("cascade_backlog_age_seconds", {"stage": stage})),
        }
        for stage in ROUTES
    }
    time = datetime.fromtimestamp(latest.time / 1e6, UTC).isoformat(timespec="seconds")
    show({"time": time, "stages": stages}, as_json=as_json)


def _count(number: float | None) -> int | None:
    return None if number is None else int(number)
