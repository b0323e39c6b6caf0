"""The emergency worker as a Faust worker: `faust -A pipeline.emergency worker -l info`.

Who acts is decided by a consumer group of its own (`pipeline.events.office`).
"""

from typing import Any

from pipeline.emergency.ledger import GROUP
from pipeline.emergency.worker import EmergencyWorker
from pipeline.settings import Settings, load_settings
from pipeline.watch.bystander import bystander_app

__all__ = ["emergency_app"]


def emergency_app(settings: Settings | None = None) -> Any:
    """Return the Faust app of the emergency worker.

    Args:
        settings: Settings; those of the environment where None.
    """
    settings = settings or load_settings()
    return bystander_app(GROUP, EmergencyWorker, settings, announced=False, modest=False)
