"""A cascade with its emergency worker under test: real processes, a supervisor, a steady load."""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pipeline.cascade import EmergencyCascadeProtocols
from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.emergency.ledger import TOPIC, Emergency, Ledger
from pipeline.emergency.live import LiveCascade
from pipeline.errors import UsageError
from pipeline.events import EventBus
from pipeline.market import Publisher, open_feed
from pipeline.packets.events import (
    ControlKind,
    EmergencyCourse,
    EmergencyType,
    TradingState,
)
from pipeline.run import WorkerSpec, worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.emergencies.faulty_tactical import FAULTS
from tests.faults.proxy import FaultProxy

__all__ = ["EmergencyRig", "suite_settings"]

_TIMEOUT_MS = 20_000
_RATE = 30.0
_START_S = 120.0
_WAIT_S = 60.0
_LOOK_S = 0.1
# Until then tactical's windows of 60 bars for five symbols are full, and it decides.
_WARM = 400
_PROXIED = ("risk", "execution")


def suite_settings(settings: Settings) -> Settings:
    """Return settings whose thresholds this machine stays below while nothing is wrong."""
    detection = settings.detection.model_copy(
        update={
            "settle": 8.0,
            "window": 6.0,
            "worker_memory_mb": 350.0,
            "least_requests": 4,
            "latency_critical": 1.0,
        }
    )
    performance = settings.performance.model_copy(update={"target_latency_ms": 3000.0})
    return settings.model_copy(
        update={
            "cascade_timeout_ms": _TIMEOUT_MS,
            "detection": detection,
            "performance": performance,
        }
    )


class EmergencyRig:
    """A namespace with its workers, the emergency worker among them.

    Tactical is the faulty one; risk and execution reach the broker through a proxy each.

    Args:
        settings: Broker, namespace and home.
        broker: The broker's own address, for the proxies.
    """

    def __init__(self, settings: Settings, broker: str) -> None:
        self.settings = settings
        self.proxies = {stage: FaultProxy(broker) for stage in _PROXIED}
        self.bus = EventBus(settings=settings)
        self.ledger = Ledger()
        apply_topics(settings, TopicFile.load())
        command = new_command(
            ControlKind.BOOTSTRAP, author="operator", reason="emergency suite", clock=WallClock()
        )
        ControlWriter(settings, timeout_s=30.0).issue(command)
        self.bus.subscribe(TOPIC, self.ledger.take, start="earliest")
        self.protocols = EmergencyCascadeProtocols(self.bus)
        self._live = LiveCascade(self.bus)
        self.run = LocalRun(settings, self._specs(), coordinated=True)
        self._well_since_s = float("inf")
        self._stop = threading.Event()
        self._load = threading.Thread(target=self._publish, daemon=True)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all workers and the load, and wait until packets flow and all is calm."""
        (self.settings.home / FAULTS).mkdir(parents=True, exist_ok=True)
        self.run.__enter__()
        self.run.wait_owned(_START_S)
        self._load.start()
        self.wait(lambda: self._ended() > _WARM, "packets to flow", _START_S)
        self.calm()

    def _ended(self) -> int:
        return self._live.log_end("execution")

    def close(self) -> None:
        """End the load, the workers and the proxies."""
        self._stop.set()
        if self._load.is_alive():
            self._load.join(30.0)
        self.run.stop(2.0)
        self.protocols.close()
        self._live.close()
        self.bus.close()
        for proxy in self.proxies.values():
            proxy.close()

    def _specs(self) -> list[WorkerSpec]:
        specs = {each.name: each for each in worker_specs(emergency=True)}
        faulty = specs["tactical"].command
        place = faulty.index("pipeline.stages.tactical")
        faulty = (*faulty[:place], "tests.emergencies.faulty_tactical", *faulty[place + 1 :])
        specs["tactical"] = replace(specs["tactical"], command=faulty)
        for stage, proxy in self.proxies.items():
            spec = specs[stage]
            assert spec.command[0] == sys.executable
            env = shutil.which("env") or "/usr/bin/env"
            behind = (env, f"CASCADE_BROKER={proxy.address}", *spec.command)
            specs[stage] = replace(spec, command=behind)
        return list(specs.values())

    def _publish(self) -> None:
        feed = open_feed("sample", seed=1)
        Publisher(self.settings).publish(feed, rate=_RATE, stop=self._stop)

    # -- faults ------------------------------------------------------------------------------------

    def fault_file(self, name: str) -> Path:
        """Return the file that brings a fault of the tactical stage about."""
        return self.settings.home / FAULTS / name

    @contextmanager
    def faulty(self, name: str) -> Iterator[None]:
        """Bring a fault of the tactical stage about, for as long as the block lasts."""
        self.fault_file(name).touch()
        try:
            yield
        finally:
            self.fault_file(name).unlink()

    def pid(self, worker: str) -> int:
        """Return the process of a worker."""
        found: list[int] = []

        def there() -> bool:
            found[:] = [each.pid for each in self.run.supervisor.workers()
                        if each.name == worker and each.pid is not None]  # fmt: skip
            return bool(found)

        self.wait(there, f"a process of {worker}")
        return found[0]

    def signal(self, worker: str, which: signal.Signals) -> None:
        """Send a signal to a worker's process."""
        os.kill(self.pid(worker), which)

    # -- what is seen ------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], what: str, limit_s: float = _WAIT_S) -> None:
        """Wait until a condition holds.

        Raises:
            AssertionError: If it does not within the limit.
        """
        until_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < until_s, f"Expected {what} within {limit_s:g} s:\n{self.said}"
            time.sleep(_LOOK_S)

    @property
    def said(self) -> str:
        """The course of all emergencies, for messages."""
        return "\n".join(
            f"{each.timestamp / 1e6:.1f} +{(each.updated_at - each.timestamp) / 1e6:.1f}s"
            f" {each.emergency_level} {each.emergency_type} {each.affected_systems}"
            f" {each.course}: {each.note or each.description}"
            for emergency in self.ledger.all
            for each in emergency.history
        )

    def find(self, kind: EmergencyType, since_us: int) -> Emergency | None:
        """Return the first emergency of a type that the worker has declared since then."""
        for each in self.ledger.all:
            event = each.event
            declared = event.timestamp >= since_us and event.source_system == "emergency"
            if declared and event.emergency_type is kind:
                return each
        return None

    def reached(
        self,
        kind: EmergencyType,
        since_us: int,
        *courses: EmergencyCourse,
        limit_s: float = _WAIT_S,
    ) -> Emergency:
        """Wait until an emergency of a type has come to one of some courses; return it."""
        found: list[Emergency] = []

        def there() -> bool:
            known = self.find(kind, since_us)
            if known is not None and any(known.passed(each) for each in courses):
                found.append(known)
            return bool(found)

        self.wait(there, f"a {kind} that is {' or '.join(courses)}", limit_s)
        return found[0]

    def calm(self) -> None:
        """Take all faults away, have people end all emergencies, and wait until all is well."""
        for proxy in self.proxies.values():
            proxy.reset()
        for each in (self.settings.home / FAULTS).iterdir():
            each.unlink()
        self._well_since_s = time.monotonic()
        self.wait(self._settled, "all to be well again", 2 * _WAIT_S)

    def _settled(self) -> bool:
        """Say whether all has been well for so long that detectors look at everything again."""
        now_s = time.monotonic()
        if not self._well():
            self._well_since_s = now_s
        return now_s - self._well_since_s > self.settings.detection.settle + 1.0

    def _well(self) -> bool:
        for emergency in self.ledger.active:
            if emergency.settled:
                with suppress(UsageError):  # the worker has ended it itself meanwhile
                    self.protocols.resolve_emergency(emergency.event.event_id, "operator", "suite")
        status = self.protocols.get_emergency_status()
        return (
            not self.ledger.active
            and set(status.system_health.values()) == {"active"}
            and status.trading_state is TradingState.ACTIVE
        )
