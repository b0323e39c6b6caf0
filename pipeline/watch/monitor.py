"""The monitor as a Faust worker: `faust -A pipeline.watch.monitor worker -l info`."""

from typing import Any

from pipeline.settings import Settings, load_settings
from pipeline.watch.bystander import bystander_app
from pipeline.watch.worker import GROUP, MonitorWorker

__all__ = ["app", "monitor_app"]


def monitor_app(settings: Settings | None = None) -> Any:
    """Return the Faust app of the monitor.

    Args:
        settings: Settings; those of the environment where None.
    """
    return bystander_app(GROUP, MonitorWorker, settings or load_settings())


app = monitor_app()
