"""Faust apps of workers that stand beside the path: `faust -A pipeline.watch.monitor worker`.

Faust gives them app, command line and life cycle. They consume nothing through Faust: what they
read they read along, in groups of their own and on threads of their own, without an owner's part in
any log.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import faust
from faust.app.base import BootStrategy

from pipeline import __version__
from pipeline.clock import WallClock
from pipeline.control.out_of_band import out_of_band
from pipeline.control.pulse import Pulse
from pipeline.coordination.systems import LocalSystem, Vitals, process_load
from pipeline.coordination.versions import versions_of
from pipeline.coordination.vocabulary import Role
from pipeline.events import EventBus
from pipeline.garbage import collect_rarely
from pipeline.log_lines import configure
from pipeline.metrics import exporter, loop_lag, process_vitals
from pipeline.settings import Settings
from pipeline.stages.coordinated import WorkerPeer
from pipeline.watch.modesty import step_back

__all__ = ["Bystander", "bystander_app"]


class Bystander(Protocol):
    """A worker beside the path; it works on threads of its own."""

    def start(self) -> None:
        """Begin, without waiting for anything."""
        ...

    def close(self) -> None:
        """End everything that was begun; may wait."""
        ...


class _NoKafka(BootStrategy):
    """Starts neither Faust's consumer and producer nor a web server."""

    enable_kafka = False
    enable_web = False


class _BystanderApp(faust.App):
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


def bystander_app(
    name: str,
    make: Callable[[Settings], Bystander],
    settings: Settings,
    *,
    announced: bool = True,
    modest: bool = True,
) -> Any:
    """Return the Faust app of a worker, which has `/metrics` and heartbeats as all workers do.

    Args:
        name: Of the worker, without namespace: `cascade.` and its role. A worker with a
            method `collect`, as prometheus-client's collectors have, is asked for figures.
        make: Makes the worker; called once, as soon as the app is.
        settings: Settings.
        announced: Send its heartbeats; a worker that sends its own says no.
        modest: Let the path's workers go first where processors are short.
    """
    app = _BystanderApp(
        settings.group(name),
        broker=f"rdkafka://{settings.broker or '127.0.0.1:9092'}",
        topic_disable_leader=True,
        topic_allow_declare=False,
        datadir=str(settings.home / "faust" / settings.group(name)),
    )
    worker: Any = make(settings)
    role = name.removeprefix("cascade.")
    peer = _peer(role, settings) if announced else None

    @app.on_before_configured.connect
    def _quiet(*_: Any, **__: Any) -> None:
        # At its own level Faust sets the root logger to DEBUG while it shows a spinner.
        configure(settings)

    @app.task
    async def _begin(app: Any) -> None:
        del app
        if modest:
            # Before any of its threads is there: on Linux each takes it from who started it.
            step_back()
        configure(settings)  # Faust has its handlers now
        collect_rarely()
        worker.start()
        if peer is not None:
            peer.start()
        # What knows figures of its own says so by `collect`, as prometheus-client has it.
        exporter(settings).attach(role, worker if hasattr(worker, "collect") else None)
        pulse = Pulse()
        out_of_band(settings).watch(role, pulse)
        await asyncio.gather(loop_lag().follow(), pulse.beat())

    @app.on_before_shutdown.connect
    async def _end(*_: Any, **__: Any) -> None:
        if peer is not None:
            await asyncio.to_thread(peer.stop)
        await asyncio.to_thread(worker.close)

    return app


def _peer(role: str, settings: Settings) -> WorkerPeer:
    """Return a worker's part in the coordination: it tells how it is doing."""
    clock, load = WallClock(), process_load()
    system = LocalSystem(
        role,
        f"{role.capitalize()} worker",
        role=Role.WORKER,
        configuration=versions_of(settings, clock.now_us()).announced(),
        version=__version__,
        vitals=lambda: Vitals(load(), process_vitals()),
    )
    return WorkerPeer(system, settings, EventBus(settings=settings), clock)
