"""Faust apps of the stages: `faust -A pipeline.stages.risk worker -l info`.

An app has one agent; its event is the queue of the worker's rounds
(`pipeline.transport.rounds.RoundQueue`), which it works off one by one.
"""

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Any, cast

import faust
from faust.app.base import BootStrategy
from faust.types import AppT

from pipeline.clock import WallClock
from pipeline.control.audit_guard import AuditGuard
from pipeline.control.out_of_band import out_of_band
from pipeline.control.pulse import Pulse
from pipeline.control.reader import ControlReader
from pipeline.control.tripwire import Tripped, Tripwire
from pipeline.control.writer import ControlWriter
from pipeline.coordination.versions import VersionWatch
from pipeline.coordination.vocabulary import Role
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.garbage import collect_rarely
from pipeline.keys import Signer
from pipeline.log_lines import configure
from pipeline.metrics import exporter, loop_lag
from pipeline.packets.events import Alert, ControlCommand, PerformanceAlert
from pipeline.policies.breaker import Breaker
from pipeline.settings import Settings, load_settings
from pipeline.stages.acknowledging import Acknowledger
from pipeline.stages.contract import StageLogic
from pipeline.stages.coordinated import StagePeer, ViewedLogic, WorkerPeer
from pipeline.stages.engine import StageEngine
from pipeline.stages.fencing import FencedLogic
from pipeline.stages.gate import ControlGate
from pipeline.stages.overload import Throughput
from pipeline.stages.plans import PlanSigner
from pipeline.stages.progress import Follower, ProgressReader
from pipeline.stages.routes import ROUTES
from pipeline.stages.tally import StageFigures, WorkerFigures
from pipeline.stages.versions import stage_versions, watch_of
from pipeline.stages.yielding import yield_to_registered
from pipeline.transport.credit import Credit
from pipeline.transport.faust_consumer import RoundConsumer
from pipeline.transport.host import LogHost
from pipeline.transport.journal import LogSpec
from pipeline.transport.rounds import RoundQueue

__all__ = ["LogApp", "coordinate", "log_app", "serve", "stage_app"]


_ALERTS = "cascade.alerts"
_SWITCH_S = 0.001
_WATCHING = "execution"


class _NoWeb(BootStrategy):
    """Starts no web server: several workers share a machine, and they would share its port."""

    enable_web = False


class LogApp(faust.App):
    """A Faust app that owns output logs."""

    BootStrategy = _NoWeb

    host: LogHost
    control: ControlReader
    cascade: Settings
    bus: EventBus
    peer: WorkerPeer
    breaker: Breaker

    def _create_directories(self) -> None:
        self.conf.datadir.mkdir(parents=True, exist_ok=True)


class _RoundsSchema(faust.Schema):
    """Hands the rounds through as they are: their records are decoded by the engine."""

    def loads_key(self, app: AppT, message: Any, **_: Any) -> Any:
        return None

    def loads_value(self, app: AppT, message: Any, **_: Any) -> Any:
        return message.value


def log_app(settings: Settings, spec: LogSpec, bus: EventBus | None = None) -> LogApp:
    """Return the Faust app for the owner of a log, without host and agent."""
    broker = settings.broker or "127.0.0.1:9092"
    app = LogApp(
        settings.group(spec.group),
        broker=f"rdkafka://{broker}",
        key_serializer="raw",
        value_serializer="raw",
        cython_optimizations=True,
        topic_disable_leader=True,
        topic_allow_declare=False,
        # Without tables the default of 1 would still choose Faust's own assignor.
        table_standby_replicas=0,
        stream_wait_empty=False,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.heartbeat_interval_ms / 1000,
        datadir=str(settings.home / "faust" / settings.group(spec.stage)),
    )
    app.cascade = settings
    app.control = ControlReader(settings, audit=AuditGuard.of(settings, spec.stage))
    app.bus = bus or EventBus(settings=settings)
    return app


def stage_app(
    stage: str,
    logic: StageLogic[Any],
    settings: Settings | None = None,
    *,
    role: Role = Role.WORKER,
    bus: EventBus | None = None,
    make_host: Callable[..., LogHost] = LogHost,
) -> LogApp:
    """Return the Faust app of a stage.

    Args:
        stage: strategic, tactical, risk or execution.
        logic: Its decisions.
        settings: Settings; those of the environment where None.
        role: As what it is announced to other systems. A built-in worker steps back while a
            registered one is announced.
        bus: Connection to Kafka for what is said beside the packets; None: one of its own.
        make_host: Makes the owner of its logs.
    """
    settings = settings or load_settings()
    route = ROUTES[stage]
    app = log_app(settings, route.spec, bus)
    viewed = ViewedLogic(logic)
    app.host = make_host(settings, route.spec, viewed, WallClock())
    sheds = route.spec.first and settings.overload == "shed"
    throughput = Throughput() if sheds else None
    credit = _credit(app) if route.spec.priority is not None and not sheds else None
    signer = _plan_signer(app, stage)
    engine = StageEngine(
        route, FencedLogic(viewed), app.host, app.control, settings, throughput=throughput,
        signer=signer, credit=credit,
    )  # fmt: skip
    app.breaker = engine.breaker
    figures = StageFigures(stage, app.host, app.control.view, engine.tally, engine.breaker)
    clock = app.host.clock
    versions = stage_versions(settings, logic, clock.now_us())
    app.peer = StagePeer(
        stage, viewed, app.host, app.control.view, settings, app.bus, clock, versions, role,
        vitals=figures.vitals,
    )  # fmt: skip
    watch = _watch(app) if stage == _WATCHING else None
    tripped = partial(_tripped, app, viewed, watch)
    serve(app, f"{stage}_rounds", engine.work_off, tripped, figures, engine.breaker)
    coordinate(app)
    if throughput is not None:
        _follow_progress(app, stage, throughput)
    if credit is not None:
        _follow_progress(app, stage, credit, credit.needed)
    return app


def _credit(app: LogApp) -> Credit:
    """Return the credit by which the host holds its normal lane back."""
    host = app.host
    credit = Credit(host.clock.now_us)
    host.room = credit.room
    credit.freed = lambda: host.rounds.wake()  # noqa: PLW0108  # made when the host starts
    return credit


def _plan_signer(app: LogApp, stage: str) -> PlanSigner | None:
    """Return what signs order plans, where they are signed; without a key the worker ends."""
    signer = Signer.of(app.cascade) if stage == "execution" else None
    if signer is None:
        return None
    plans = PlanSigner(signer, app.cascade.topic(app.host.spec.log))
    check_rights = app.host.admission

    def admission() -> None:
        plans.check()
        check_rights()

    app.host.admission = admission
    return plans


def serve(
    app: LogApp,
    name: str,
    work_off: Any,
    tripped: Callable[[], Iterable[Tripped]],
    figures: WorkerFigures,
    breaker: Breaker | None = None,
) -> None:
    """Give `app` its agent, which works rounds off, and its control reader.

    Args:
        app: The app.
        name: Of the agent.
        work_off: Works a round off.
        tripped: Returns what has tripped in the worker and was not reset since.
        figures: What Prometheus is told of it.
        breaker: Of the stage's policy, where it has one.
    """
    rounds = app.topic(
        app.cascade.topic(app.host.spec.subscribed), schema=_RoundsSchema(), internal=True
    )

    gate = ControlGate(
        app.host.spec.stage, app.host.owner, app.control, app.host.clock,
        pause=partial(_pause, app.host), say=Acknowledger(app.bus), breaker=breaker,
    )  # fmt: skip

    pulse = Pulse(
        standing=lambda: app.host.standing,
        polling=app.host.polling,
        current=lambda: app.control.view().current,
    )

    async def agent(stream: AsyncIterator[RoundQueue]) -> None:
        consumer = cast(RoundConsumer, app.consumer)
        async for queue in cast(Any, stream).noack():
            try:
                async for taken in queue:
                    with pulse.round():
                        await gate.through(work_off, taken)
            finally:
                consumer.give_back()

    app.agent(rounds, name=name)(agent)

    @app.on_before_configured.connect
    def _quiet(*_: Any, **__: Any) -> None:
        # At its own level Faust sets the root logger to DEBUG while it shows a spinner.
        configure(app.cascade)

    @app.task
    async def _begin(app: Any) -> None:
        configure(app.cascade)  # Faust has its handlers now
        collect_rarely()
        # The pump hands over while a round is worked off: 5 ms is long against the deadline.
        sys.setswitchinterval(_SWITCH_S)
        gate.attach(asyncio.get_running_loop())
        app.control.start()
        out_of_band(app.cascade).attach(app.host.spec.stage, app.control)
        exporter(app.cascade).attach(app.host.spec.stage, figures)
        out_of_band(app.cascade).watch(app.host.spec.stage, pulse)
        await pulse.beat()

    @app.task
    async def _measure_loop(_: Any) -> None:
        await loop_lag().follow()

    @app.task
    async def _watch_trips(app: Any) -> None:
        stage, clock = app.host.spec.stage, app.host.clock
        await Tripwire(stage, tripped, app.control.view, partial(_issue, app), clock).watch()


def _watch(app: LogApp) -> VersionWatch:
    """Have the versions of all workers watched while the app runs."""
    epoch = lambda: app.control.view().epoch  # noqa: E731  # one line says it
    watch = watch_of(app.peer.members, app.host, epoch, app.bus)
    app.peer.watch(watch.look)
    return watch


def _tripped(app: LogApp, logic: ViewedLogic, watch: VersionWatch | None) -> Iterator[Tripped]:
    trips = app.control.view().trips
    if watch is not None:
        yield from watch.tripped(trips)
    for ownership in list(app.host.owned.values()):
        yield from logic.tripped(ownership.state, trips)


def _issue(app: LogApp, command: ControlCommand) -> int:
    """Write a TRIP, then tell people: trading stands until one of them has looked."""
    epoch = ControlWriter(app.bus.connect()).issue(command)
    alert = Alert(
        command.command_id, PerformanceAlert.EMERGENCY,
        f"{command.scope} tripped, trading is halted until it is reset: {command.reason}",
        json.dumps({"scope": command.scope, "epoch": epoch, "by": command.author}),
        command.time, acknowledged=False,
    )  # fmt: skip
    with contextlib.suppress(PipelineError):  # the halt stands; it is in the status as well
        app.bus.publish_soon(_ALERTS, alert, key=command.scope.encode())
    return epoch


def coordinate(app: LogApp) -> None:
    """Announce the app's peer while the app runs; a built-in stage yields to a registered one."""

    @app.task
    async def _announce(app: Any) -> None:
        app.peer.start()
        if isinstance(app.peer, StagePeer) and app.peer.system.role is Role.WORKER:
            settled = lambda: not app.consumer.assignment()  # noqa: E731  # one line says it
            await yield_to_registered(app.host, app.peer.displaced, settled)

    @app.on_before_shutdown.connect
    async def _leave(*_: Any, **__: Any) -> None:
        await asyncio.to_thread(app.peer.stop)


def _follow_progress(
    app: LogApp, stage: str, follower: Follower, needed: threading.Event | None = None
) -> None:
    """Have the follower told how far packets have come, while the app runs."""
    reader = ProgressReader(app.cascade, stage, ROUTES["execution"].spec.log, follower, needed)

    @app.task
    async def _read(*_: Any) -> None:
        reader.start()

    @app.on_before_shutdown.connect
    async def _end(*_: Any, **__: Any) -> None:
        reader.stop()


def _pause(host: LogHost, isolated: bool) -> None:  # noqa: FBT001  # a state, not an option
    """Have the inputs paused, once there is a pump; until then nothing is fetched anyway."""
    pump = getattr(host, "pump", None)
    if pump is not None:
        pump.isolate(isolated)
