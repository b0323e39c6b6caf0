"""A cascade with its dashboard under test: real broker, workers and commands."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.cascade import EmergencyCascadeProtocols
from pipeline.control.log import KafkaControlLog, fold
from pipeline.control.state import TradingStateMachine
from pipeline.events import EventBus
from pipeline.market import Publisher, open_feed
from pipeline.packets.events import ControlKind, EmergencyLevel, EmergencyType
from pipeline.run.session import LocalRun
from pipeline.settings import Settings
from tests.cluster import running_cluster, variables
from tests.kafka_workers import wait_until

__all__ = ["OFFICER", "PASSWORD", "Dashboard", "Rig", "rig"]

OFFICER = "mary"
PASSWORD = "a password for tests alone"  # noqa: S105  # of a user made here
AUTHORS = f"operator,{OFFICER}"
_RATE = 40.0


class Dashboard:
    """A dashboard in a process of its own, as `cascade dashboard` starts it.

    Args:
        settings: What it is told.
        name: Tells logs apart.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._environment = {
            **os.environ, **variables(settings), "CASCADE_CONTROL_AUTHORS": AUTHORS,
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        if not (settings.home / "users.json").exists():
            self._add_user()
        self.log_file: Path = settings.home / f"dashboard-{name}.log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "dashboard", "--port", "0"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: self._found() or self.process.poll() is not None, "a dashboard")
        assert self.process.poll() is None, self.log
        self.url = str(self._found())

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_file.read_text(errors="replace")

    def close(self) -> None:
        """Stop it in order."""
        self.process.terminate()
        assert 0 == self.process.wait(60)

    def _found(self) -> str | None:
        found = re.search(r"Dashboard at (\S+)", self.log)
        return found.group(1) if found else None

    def _add_user(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "users", "add", OFFICER,
             "--role", "risk-officer", "--password-stdin"],
            env=self._environment, input=f"{PASSWORD}\n", text=True, check=True, timeout=120,
            capture_output=True,
        )  # fmt: skip


class Rig:
    """A cascade under a steady load, with a dashboard.

    Args:
        settings: Its settings.
        run: Its workers.
    """

    def __init__(self, settings: Settings, run: LocalRun) -> None:
        self.settings = settings
        self.run = run
        self.bus = EventBus(settings=settings)
        self.dashboard = Dashboard(settings, "main")
        self._protocols = EmergencyCascadeProtocols(self.bus)
        self._stop = threading.Event()
        self._load = threading.Thread(target=self._publish, args=(_RATE,), daemon=True)
        self._load.start()

    def close(self) -> None:
        """End load and dashboard."""
        self._stop.set()
        self._load.join(30.0)
        self._protocols.close()
        self.bus.close()
        self.dashboard.close()

    def control(self) -> TradingStateMachine:
        """Return what the control log says."""
        return fold(self.settings.model_copy(update={"control_authors": ("operator", OFFICER)}))

    def last(self, kind: ControlKind) -> str:
        """Return who gave the last command of a kind; empty where nobody did."""
        log, found = KafkaControlLog(self.settings, "test-control"), ""
        try:
            end = log.end(30.0)
            while log.next_epoch < end:
                entry = log.poll(1.0)
                if entry is not None and entry.command and entry.command.kind is kind:
                    found = entry.command.author
        finally:
            log.close()
        return found

    def declare(self, level: EmergencyLevel, description: str) -> str:
        """Declare an emergency, and return its id."""
        return self._protocols.declare_emergency(
            EmergencyType.PERFORMANCE_DEGRADATION, level, "operator", [], description
        )

    def taken_on_by(self, emergency_id: str) -> str:
        """Return who has taken an emergency on; empty where nobody has."""
        history = self._protocols.get_emergency(emergency_id).history
        return next((each.author for each in history if each.course == "ACKNOWLEDGED"), "")

    def flood(self, rate: float, seconds: float) -> threading.Thread:
        """Publish more, for some seconds, beside the steady load."""
        feed = open_feed("synthetic", seed=7)
        thread = threading.Thread(
            target=Publisher(self.settings).publish,
            args=(feed,),
            kwargs={"rate": rate, "seconds": seconds, "stop": self._stop},
            daemon=True,
        )
        thread.start()
        return thread

    def _publish(self, rate: float) -> None:
        Publisher(self.settings).publish(open_feed("sample", seed=1), rate=rate, stop=self._stop)


@contextmanager
def rig(settings: Settings) -> Iterator[Rig]:
    """Run it until the block ends."""
    before = os.environ.get("CASCADE_CONTROL_AUTHORS")
    os.environ["CASCADE_CONTROL_AUTHORS"] = AUTHORS
    try:
        with running_cluster(settings) as run:
            found = Rig(settings, run)
            try:
                yield found
            finally:
                found.close()
    finally:
        if before is None:
            del os.environ["CASCADE_CONTROL_AUTHORS"]
        else:
            os.environ["CASCADE_CONTROL_AUTHORS"] = before
