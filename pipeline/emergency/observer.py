"""Looks at the cascade from all sides: heartbeats, logs, offsets, groups, control, this machine.

Nothing of it is in the packets' way. What arrives by itself (messages, records) is taken as it
comes; what must be asked for is asked for once a second, on a thread of its own, since a broker
that is away makes whoever asks it wait.
"""

import logging
import math
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import psutil

from pipeline.control.scope import POLICIES, STAGES
from pipeline.control.state import TradingStateMachine
from pipeline.coordination.service import CoordinationService
from pipeline.emergency.detectors import detect
from pipeline.emergency.live import LiveCascade, log_of
from pipeline.emergency.observation import Lost, Observation
from pipeline.emergency.plans import Check, Finding
from pipeline.emergency.supervising import SUPERVISOR, Supervisors, WorkerSeen
from pipeline.emergency.table import scope_of
from pipeline.emergency.tallies import ExitTally, PacketTally, Standstill
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.gateway.reasons import GatewayReason
from pipeline.packets.events import CoordinationMessage, EmergencyType, MessageType
from pipeline.packets.models import ExecutionPlan, OrderEvent
from pipeline.settings import Settings
from pipeline.watch.control_follower import ControlFollower
from pipeline.watch.coordination import CoordinationWatch
from pipeline.watch.group import Entry, GroupReader
from pipeline.watch.lag import LagState
from pipeline.watch.observations import FlowEnd
from pipeline.watch.offsets import Backlog

__all__ = ["Observer"]

_logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_GRACE_S = 15.0
_GONE_S = 5.0
_SHORT_S = 3.0
_NOT_ASKING = frozenset({"emergency", SUPERVISOR})
_FRESH_S: Final = 5.0
_LOGS = {log_of(stage): stage for stage in STAGES}
_DECODED = frozenset({log_of("execution"), log_of("gateway")})
_WATCHED = tuple(MessageType)


class Observer:
    """Makes observations; thread-safe. Make it before the service is started.

    Args:
        bus: Connection to Kafka.
        service: This process's part in the coordination.
        supervisors: Says what supervisors announce.
        live: Asks the broker.
        now_us: Clock, microseconds since the Unix epoch, UTC.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        bus: EventBus,
        service: CoordinationService,
        supervisors: Supervisors,
        live: LiveCascade,
        *,
        now_us: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings: Settings = bus.settings
        self._limits = bus.settings.detection
        self._service = service
        self._supervisors = supervisors
        self._live = live
        self._now_us = now_us
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._packets = PacketTally(self._limits.window)
        self._standstill = Standstill()
        self._exits = ExitTally()
        self._coordination = CoordinationWatch()
        self._control = ControlFollower(bus.connect, "emergency")
        self._breaches: deque[tuple[float, str, str]] = deque(maxlen=1000)
        self._backlog: Backlog | None = None
        self._members: Mapping[str, int] = {}
        self._absent_s: dict[str, float] = {}
        self._heard_s: float | None = None
        self._facts: object = None
        self._disturbed_s = monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emergency-looks", daemon=True)
        self._reader = GroupReader(
            bus.connect, tuple(_LOGS), name="emergency", heads=_LOGS.keys() - _DECODED
        )
        for kind in _WATCHED:
            service.listen(kind, self._take_message)

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._reader.start(self._take_entries)
        self._thread.start()

    def close(self) -> None:
        """End all threads."""
        self._closing.set()
        self._reader.close()
        if self._thread.is_alive():
            self._thread.join()
        self._control.close()

    # -- what arrives ----------------------------------------------------------------------------

    def _take_message(self, message: CoordinationMessage, offset: int) -> None:
        del offset
        with self._lock:
            self._heard_s = self._monotonic()
            # What is asked of supervisors takes seconds and is judged by its own time-out.
            if message.sender_system not in _NOT_ASKING:
                self._coordination.take(message, message.timestamp // 1000)

    def _take_entries(self, entries: Sequence[Entry]) -> None:
        now_s = self._monotonic()
        with self._lock:
            self._heard_s = now_s
            for entry in entries:
                self._take_entry(entry, now_s)

    def _take_entry(self, entry: Entry, now_s: float) -> None:
        stage = _LOGS[entry.topic]
        packet = entry.packet
        if packet is None:
            if entry.foreign:
                where = f"{entry.topic}[{entry.partition}]@{entry.offset}"
                self._breaches.append((now_s, stage, f"no owner has written {where}: {entry.why}"))
            else:
                self._packets.take_unreadable(stage, now_s)
        elif isinstance(packet, ExecutionPlan):
            self._packets.take(FlowEnd.of(packet, entry.timestamp_ms), now_s)
        elif isinstance(packet, OrderEvent) and GatewayReason.SANDBOX in packet.reasons:
            said = f"the gateway was handed the sandbox plan {packet.plan_id}"
            self._breaches.append((now_s, stage, said))

    # -- what is asked for -----------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._look()
            except PipelineError as error:
                _logger.debug("emergency worker could not look: %s", error)
            except Exception:
                _logger.exception("emergency worker could not look")
            self._closing.wait(_LOOK_S)

    def _look(self) -> None:
        backlog = self._live.backlog()
        members = self._live.workers()
        self._control.follow(self._now_us())
        now_s = self._monotonic()
        with self._lock:
            self._heard_s = now_s
            self._backlog = backlog
            for name in self._members:
                if members.get(name):
                    self._absent_s.pop(name, None)
                else:
                    self._absent_s.setdefault(name, now_s)
            self._members = {**dict.fromkeys(self._members, 0), **members}

    # -- observations ----------------------------------------------------------------------------

    @property
    def machine(self) -> TradingStateMachine:
        """What the control log said at the last look."""
        return self._control.machine

    def observe(self, window_s: float | None = None) -> Observation:
        """Return what is seen now.

        Args:
            window_s: Window of the figures of packets and requests, seconds; None: the setting.
        """
        now_s, now_us = self._monotonic(), self._now_us()
        workers = self._supervisors.workers()
        memory, disk = _memory(), self._disk()
        fences = self._control.machine.fences.fences
        with self._lock:
            self._exits.take(workers, now_s)
            # A broker that never answered is none that fell silent: nothing trades without it.
            silent_s = 0.0 if self._heard_s is None else now_s - self._heard_s
            lost = self._lost(workers, now_s)
            gone = self._gone(now_s)
            instances = self._instances()
            processes = frozenset((each.name, each.pid) for each in workers)
            facts = (lost and [each.instance for each in lost], gone, instances, processes)
            starting = any(self._starting_unheard(each, now_s) for each in POLICIES)
            quiet = facts == self._facts and not (lost or gone or fences.stages or starting)
            self._facts = facts
            if not quiet or silent_s > _FRESH_S:
                self._disturbed_s = now_s
            backlog = self._backlog
            limits = self._limits
            span_s = window_s or limits.window
            figures = self._coordination.figures(now_us, span_s)
            offered = backlog.offered if backlog else 0
            since_s = now_s - limits.window
            return Observation(
                at_s=now_s,
                broker_silent_s=silent_s if silent_s > _LOOK_S else 0.0,
                lost=lost,
                live=len(instances),
                gone=gone,
                exits=self._exits.lately(now_s),
                undisturbed_s=now_s - self._disturbed_s,
                fenced=bool(fences.stages),
                standstill_s=self._standstill.take(offered, self._packets.ended, now_s),
                stuck=_stuck(backlog),
                packets=self._packets.figures(now_s, span_s, fences.breakers),
                breaches={name: said for at_s, name, said in self._breaches if at_s > since_s},
                refused=self._control.unauthorised(now_us, limits.window),
                requests=figures.requests,
                answered=figures.success_rate,
                unanswered=self._coordination.unanswered(now_us, span_s),
                waiting=_waiting(backlog),
                memory=memory,
                disk=disk,
                workers_mb={each.name: (each.rss_mb, each.stages) for each in workers},
            )

    def _starting_unheard(self, stage: str, now_s: float) -> bool:
        if not self._exits.starting(stage, now_s, _GRACE_S):
            return False
        return not self._service.directory.members(stage, self._service.monotonic())

    def _instances(self) -> frozenset[str]:
        live = self._service.directory.live(self._service.monotonic())
        return frozenset(each.said.instance for each in live if each.system_id in POLICIES)

    def _lost(self, workers: Sequence[WorkerSeen], now_s: float) -> tuple[Lost, ...]:
        lost = []
        clock_s = self._service.monotonic()
        for member in self._service.directory.lost(clock_s):
            system = member.system_id
            if system not in POLICIES or self._exits.starting(system, now_s, _GRACE_S):
                continue
            known = [each for each in workers if system in each.stages]
            process = any(each.pid is not None for each in known) if known else None
            silent_s = self._service.directory.silent_s(member, clock_s)
            lost.append(Lost(system, member.said.instance, silent_s, process))
        return tuple(lost)

    def _gone(self, now_s: float) -> tuple[str, ...]:
        return tuple(
            name
            for name, since_s in self._absent_s.items()
            if now_s - since_s > _GONE_S and not self._exits.starting(name, now_s, _GRACE_S)
        )

    def _disk(self) -> float | None:
        try:
            usage = shutil.disk_usage(self._settings.home.absolute().anchor)
            if self._settings.home.exists():
                usage = shutil.disk_usage(self._settings.home)
        except OSError:
            return None
        return usage.used / usage.total if usage.total else None

    # -- checks of recovery plans ----------------------------------------------------------------

    @property
    def checks(self) -> Mapping[str, Check]:
        """The checks of recovery plans that need an observer; each is a method below."""
        return {each.__name__: each for each in (self.heard, self.clear)}

    def heard(self, system: str) -> Finding:
        """Look whether a system sends heartbeats; the gateway, whether its group has a member.

        Where supervisors know its processes, only those count: one that was killed is live for
        some seconds more as far as heartbeats tell.
        """
        scope = scope_of(system)
        name = scope.name if scope else system
        if name not in POLICIES and name in STAGES:
            count = self._live.workers().get(name, 0)
        else:
            count = self._heard(name)
        return Finding(count > 0, f"{count} instances of {name} are heard of")

    def _heard(self, system: str) -> int:
        members = self._service.directory.members(system, self._service.monotonic())
        known = [each for each in self._supervisors.workers() if system in each.stages]
        if not known:
            return len(members)
        pids = {f"-{each.pid}-" for each in known if each.pid is not None}
        return sum(any(pid in each.said.instance for pid in pids) for each in members)

    def clear(self, sign: str) -> Finding:
        """Look whether a sign is no longer there: `TYPE`, or `TYPE/SUBJECT` of one subject.

        Packets must have ended within the last seconds where the sign is one of packets: no data
        never passes.
        """
        kind, _, subject = sign.partition("/")
        limits = self._limits
        short = self.observe(min(_SHORT_S, limits.window))
        asks = kind == EmergencyType.COORDINATION_FAILURE
        count, least = (
            (short.requests, limits.least_requests)
            if asks
            else (short.packets.ended, limits.least_packets)
        )
        enough = count >= least
        seen = replace(short if enough else self.observe(), undisturbed_s=math.inf)
        found = [
            each
            for each in detect(seen, limits, self._settings.performance.target_latency_ms)
            if each.emergency_type == kind and subject in ("", each.subject)
        ]
        if found:
            return Finding(False, found[0].description)
        of_packets = kind in _OF_PACKETS or subject.startswith("policy:")
        if (of_packets and not seen.packets.ended) or (asks and not seen.requests):
            return Finding(False, "nothing has ended of late, so nobody can tell")
        ended = f"{seen.packets.ended} packets and {seen.requests} requests"
        return Finding(True, f"no sign of {sign} among the last {ended}")


_OF_PACKETS = frozenset(
    {
        EmergencyType.PERFORMANCE_DEGRADATION,
        EmergencyType.DATA_CORRUPTION,
        EmergencyType.VALIDATION_FAILURE,
    }
)


def _memory() -> float:
    return float(psutil.virtual_memory().percent) / 100


def _stuck(backlog: Backlog | None) -> str:
    """Return the first system that works nothing off though records wait; empty where none."""
    systems = backlog.systems if backlog else {}
    return next(
        (name for name, lag in systems.items() if lag.state is LagState.STALL and lag.records), ""
    )


def _waiting(backlog: Backlog | None) -> Mapping[str, int]:
    systems = backlog.systems if backlog else {}
    return {name: lag.records for name, lag in systems.items() if lag.records is not None}
