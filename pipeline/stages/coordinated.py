"""A stage worker in the coordination: it announces its stage, and answers requests for it.

It answers with what its policy decided last on the `symbol` of `decision_data`, see
`pipeline.stages.answers`. Nothing is decided anew, nothing is waited for, and the rounds notice
nothing of it: what was decided is remembered as records are folded, and read from another thread.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline import __version__
from pipeline.clock import Clock
from pipeline.control.state import ControlView
from pipeline.control.trips import Trips
from pipeline.control.tripwire import Tripped
from pipeline.coordination.answers import Abstention, Answer, CoordinationRequest
from pipeline.coordination.membership import Member
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.systems import LocalSystem, Vitals, process_load
from pipeline.coordination.versions import STAGE_WORKER, Versions
from pipeline.coordination.vocabulary import Role
from pipeline.events import EventBus
from pipeline.packets.runs import unrolled
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import Settings
from pipeline.stages.answers import answer_from
from pipeline.stages.contract import CanTrip, StageLogic
from pipeline.stages.routes import ROUTES
from pipeline.transport.host import LogHost

__all__ = ["STAGE_WORKER", "StagePeer", "Viewed", "ViewedLogic", "WorkerPeer"]

_WINDOW = 60
_CAPABILITIES = {
    "strategic": ("direction", "regime_detection"),
    "tactical": ("signal_generation", "timing_optimization"),
    "risk": ("veto", "limits"),
    "execution": ("order_planning",),
}


@dataclass(slots=True)
class Viewed:
    """A stage's state, and its last record with a decision of each symbol."""

    state: Any
    views: dict[str, Any] = field(default_factory=dict)


class ViewedLogic:
    """A stage's decisions, remembered by symbol; in all else the stage itself.

    The views live and die with the state: who loses a partition has no view of its symbols.

    Args:
        logic: The stage.

    Attributes:
        records: Records with an envelope that were folded.
        failed: Those among them that this stage dead-lettered.
    """

    def __init__(self, logic: StageLogic[Any]) -> None:
        self._logic = logic
        self._part = ROUTES[logic.stage].part
        self.stage = logic.stage
        self.records = 0
        self.failed = 0

    def initial(self) -> Viewed:
        """Return the state before the first record."""
        return Viewed(self._logic.initial())

    def decide(self, state: Viewed, inputs: Any, context: Any) -> Any:
        """Return one item per input; see `StageLogic.decide`."""
        return self._logic.decide(state.state, inputs, context)

    def tripped(self, state: Viewed, trips: Trips) -> Iterator[Tripped]:
        """Yield what has tripped in the stage's state; nothing where nothing can."""
        if isinstance(self._logic, CanTrip):
            yield from self._logic.tripped(state.state, trips)

    def apply(self, state: Viewed, record: Any) -> None:
        """Fold a record, packet by packet where it stands for several, and remember it."""
        for each in unrolled(record):
            self._logic.apply(state.state, each)
        envelope = getattr(record, "envelope", None)
        if envelope is None:
            return
        self.records += 1
        if getattr(record, self._part) is not None:
            state.views[envelope.symbol] = record
        elif (
            (outcome := envelope.outcome) is not None
            and outcome.kind is OutcomeKind.DEAD_LETTERED
            and outcome.stage == self.stage
        ):
            self.failed += 1

    def dump(self, state: Viewed) -> bytes:
        """Return the stage's state as bytes; views are not part of it."""
        return self._logic.dump(state.state)

    def load(self, data: bytes) -> Viewed:
        """Return the state of `dump`, without views."""
        return Viewed(self._logic.load(data))


class WorkerPeer:
    """A worker's part in the coordination: it announces its system while it runs.

    Processes with several systems share one service.

    Args:
        system: The system.
        settings: Settings.
        bus: Connection to Kafka; the service opens another one like it, since processes with
            several stages go on with it when the app of one has ended.
        clock: Clock.
    """

    def __init__(
        self, system: LocalSystem, settings: Settings, bus: EventBus, clock: Clock
    ) -> None:
        self.system = system
        self._settings = settings
        self._bus = bus
        self._clock = clock
        self._looks: list[Callable[[], object]] = []

    def watch(self, look: Callable[[], object]) -> None:
        """Have `look` called again and again while it runs; see `CoordinationService.watch`."""
        self._looks.append(look)

    def start(self) -> None:
        """Announce the system as soon as a broker answers; waits for nothing."""
        service = _SERVICES.enter(self._settings, self._bus, self._clock, self.system)
        for look in self._looks:
            service.watch(look)

    def stop(self) -> None:
        """Say farewell; waits for the broker, up to a few seconds."""
        _SERVICES.leave(self._settings, self.system.system_id)

    @property
    def service(self) -> CoordinationService | None:
        """The service of this process; None where it has not been started."""
        return _SERVICES.of(self._settings)

    def members(self) -> list[Member]:
        """Return the live instances of all systems, this one among them."""
        service = self.service
        return [] if service is None else service.directory.live(service.monotonic())


class StagePeer(WorkerPeer):
    """A stage's part in the coordination: it answers requests too.

    Args:
        stage: The stage.
        logic: Its decisions.
        host: Owner of its logs.
        control: Says what is in force.
        settings: Settings.
        bus: Connection to Kafka.
        clock: Clock.
        versions: What this worker runs.
        role: Who speaks.
        vitals: Returns more figures for its heartbeats, by name.
    """

    def __init__(
        self,
        stage: str,
        logic: ViewedLogic,
        host: LogHost,
        control: Callable[[], ControlView],
        settings: Settings,
        bus: EventBus,
        clock: Clock,
        versions: Versions,
        role: Role = Role.WORKER,
        *,
        vitals: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._stage = stage
        self._host = host
        self._control = control
        limits = settings.stages.of(stage)
        system = LocalSystem(
            stage,
            f"{stage.capitalize()} MARL",
            role=role,
            capabilities=(
                *_CAPABILITIES[stage],
                *([STAGE_WORKER] if role is Role.REGISTERED else []),
            ),
            configuration={
                "worker": host.owner,
                "build": host.build,
                "account": settings.account,
                "budget_ms": round(settings.scaled_budget_ms(stage), 3),
                "retries": limits.retries,
                **versions.announced(),
            },
            version=__version__,
            vitals=_Pulse(logic, vitals),
            handler=self.answer,
            quick=True,
        )
        super().__init__(system, settings, bus, clock)

    def displaced(self) -> bool:
        """Say whether a registered worker of the stage is live."""
        service = self.service
        if service is None:
            return False
        members = service.directory.members(self._stage, service.monotonic())
        return any(
            each.said.role is Role.REGISTERED and STAGE_WORKER in each.said.capabilities
            for each in members
        )

    def answer(self, request: CoordinationRequest) -> Answer | Abstention:
        """Return what the stage says to a request; see `answer_from`."""
        symbol = str(request.decision_data.get("symbol") or "")
        views = (ownership.state.views for ownership in list(self._host.owned.values()))
        record = next((found for each in views if (found := each.get(symbol)) is not None), None)
        return answer_from(self._stage, record, request, self._control(), self._clock.now_us())


class _Pulse:
    """Load of this process, and the success rate over the last 60 heartbeats."""

    def __init__(self, logic: ViewedLogic, more: Callable[[], Mapping[str, float]]) -> None:
        self._logic = logic
        self._more = more
        self._load = process_load()
        self._samples: deque[tuple[int, int]] = deque([(0, 0)], maxlen=_WINDOW)

    def __call__(self) -> Vitals:
        records, failed = self._logic.records, self._logic.failed
        before_records, before_failed = self._samples[0]
        self._samples.append((records, failed))
        done = records - before_records
        rate = {"success_rate": 1.0 - (failed - before_failed) / done} if done > 0 else {}
        return Vitals(self._load(), {**rate, "records": float(records), **self._more()})


@dataclass(slots=True)
class _Shared:
    """A service, its connection, and the systems that it is there for."""

    service: CoordinationService
    bus: EventBus
    names: set[str] = field(default_factory=set)


class _Services:
    """One service a process and cluster, for as long as a stage of it is announced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._services: dict[tuple[str | None, str], _Shared] = {}

    def of(self, settings: Settings) -> CoordinationService | None:
        """Return the service of a cluster; None where there is none."""
        shared = self._services.get(_cluster(settings))
        return None if shared is None else shared.service

    def enter(
        self, settings: Settings, bus: EventBus, clock: Clock, system: LocalSystem
    ) -> CoordinationService:
        """Announce a system, as soon as a broker answers; return the service."""
        with self._lock:
            shared = self._services.get(_cluster(settings))
            if shared is None:
                own = EventBus(settings=bus.settings)
                interval_s = settings.coordination.heartbeat_interval
                made = CoordinationService(own, heartbeat_interval_s=interval_s, clock=clock)
                shared = self._services[_cluster(settings)] = _Shared(made, own)
            shared.names.add(system.system_id)
            shared.service.add(system)
            shared.service.start_soon()
            return shared.service

    def leave(self, settings: Settings, system_id: str) -> None:
        """Say farewell for a system; the last one ends the service."""
        with self._lock:
            shared = self._services.get(_cluster(settings))
            if shared is None:
                return
            shared.names.discard(system_id)
            last = not shared.names
            if last:
                del self._services[_cluster(settings)]
        shared.service.remove(system_id)
        if last:
            shared.service.close()
            shared.bus.close()


def _cluster(settings: Settings) -> tuple[str | None, str]:
    return settings.broker, settings.namespace


_SERVICES = _Services()
