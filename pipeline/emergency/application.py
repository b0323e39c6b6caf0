"""The emergency worker as a Faust worker: `faust -A pipeline.emergency worker -l info`.

Faust gives it app, command line and life cycle. It consumes nothing through Faust: who acts is
decided by a consumer group of its own (`pipeline.emergency.office`), and what it reads it reads
along, without an owner's part in any log.
"""

import asyncio
import logging
from typing import Any

import faust
from faust.app.base import BootStrategy

from pipeline.emergency.office import GROUP
from pipeline.emergency.worker import EmergencyWorker
from pipeline.settings import Settings, load_settings

__all__ = ["emergency_app"]


class _NoKafka(BootStrategy):
    """Starts neither Faust's consumer and producer nor a web server."""

    enable_kafka = False
    enable_web = False


class _EmergencyApp(faust.App):
    BootStrategy = _NoKafka

    async def on_start(self) -> None:
        """Start without a consumer."""
        self.finalize()

    def _create_directories(self) -> None:
        self.conf.datadir.mkdir(parents=True, exist_ok=True)

    async def _wait_for_table_recovery_completed(self) -> bool:
        return False  # there are no tables

    async def _stop_consumer(self) -> None:
        """Stop nothing: there is no consumer."""


def emergency_app(settings: Settings | None = None) -> Any:
    """Return the Faust app of the emergency worker.

    Args:
        settings: Settings; those of the environment where None.
    """
    settings = settings or load_settings()
    app = _EmergencyApp(
        settings.group(GROUP),
        broker=f"rdkafka://{settings.broker or '127.0.0.1:9092'}",
        topic_disable_leader=True,
        topic_allow_declare=False,
        datadir=str(settings.home / "faust" / settings.group("emergency")),
    )
    worker = EmergencyWorker(settings)

    @app.on_before_configured.connect
    def _quiet(*_: Any, **__: Any) -> None:
        # At its own level Faust sets the root logger to DEBUG while it shows a spinner.
        logging.getLogger().setLevel(settings.log_level)

    @app.task
    async def _begin(app: Any) -> None:
        del app
        worker.start()

    @app.on_before_shutdown.connect
    async def _end(*_: Any, **__: Any) -> None:
        await asyncio.to_thread(worker.close)

    return app
