import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.errors import ConfigurationError, UsageError
from pipeline.run import EventKind, Supervisor, WorkerEvent, WorkerSpec

_DEADLINE_S = 30.0
_SLEEPS = "import time\nprint('up', flush=True)\ntime.sleep(600)"


def until(condition: Callable[[], object], what: str) -> None:
    """Poll until `condition` holds."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"never: {what}"
        time.sleep(0.02)


def worker(name: str, code: str) -> WorkerSpec:
    """Return a worker of one stage that runs Python code."""
    return WorkerSpec(name, (name,), (sys.executable, "-c", code))


class Run:
    """A supervisor and what it told.

    With `life_s` the clock stands still but for this: each life takes so long, each pause is over
    at once.
    """

    def __init__(self, folder: Path, *specs: WorkerSpec, life_s: float | None = None) -> None:
        self.events: list[WorkerEvent] = []
        self._now_s = 0.0
        self._life_s = life_s
        self.supervisor = Supervisor(
            specs,
            environment=dict(os.environ),
            log_folder=folder / "logs",
            on_event=self._note,
            monotonic=time.monotonic if life_s is None else lambda: self._now_s,
        )

    def _note(self, event: WorkerEvent) -> None:
        self.events.append(event)
        if event.kind is EventKind.STARTED:
            self._now_s += self._life_s or 0.0
        self._now_s += event.pause_s

    def pauses(self) -> list[float]:
        return [event.pause_s for event in self.events if event.kind is EventKind.EXITED]

    def kinds(self, name: str) -> list[EventKind]:
        return [event.kind for event in self.events if event.worker == name]

    def pid(self, name: str) -> int | None:
        return next(each.pid for each in self.supervisor.workers() if each.name == name)

    def log(self, name: str) -> str:
        return self.supervisor.log_file(name).read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start supervisors that are stopped after the test, whatever happens."""
    runs: list[Run] = []

    def begin(*specs: WorkerSpec, life_s: float | None = None) -> Run:
        run = Run(tmp_path, *specs, life_s=life_s)
        runs.append(run)
        run.supervisor.start()
        return run

    yield begin
    for run in runs:
        run.supervisor.stop(0.0)


def test_starts_each_worker_with_a_log_file_of_its_own(start: Callable[..., Run]) -> None:
    """Every worker runs, and what it prints stands in its own file."""
    run = start(worker("one", "print(1)\n" + _SLEEPS), worker("two", "print(2)\n" + _SLEEPS))
    until(lambda: run.pid("one") and "up" in run.log("one"), "one is up")
    until(lambda: run.pid("two") and "up" in run.log("two"), "two is up")
    assert "1\nup\n" == run.log("one")
    assert "2\nup\n" == run.log("two")


def test_tells_each_worker_its_name(start: Callable[..., Run]) -> None:
    """A worker knows under which name it rejoins its group after a restart."""
    code = "import os; print(os.environ['CASCADE_INSTANCE'], flush=True)\n" + _SLEEPS
    run = start(worker("risk", code))
    until(lambda: run.pid("risk") and "up" in run.log("risk"), "the worker is up")
    assert "risk\nup\n" == run.log("risk")


def test_restarts_a_worker_that_ends_and_keeps_its_exit_codes(start: Callable[..., Run]) -> None:
    """A worker that falls over is started again, after pauses that double up to 5 s."""
    run = start(worker("bad", "raise SystemExit(3)"), life_s=1.0)
    until(lambda: len(run.pauses()) >= 7, "seven lives")
    assert [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0] == run.pauses()[:7]
    status = run.supervisor.workers()[0]
    assert status.restarts >= 6
    assert (3, 3, 3) == status.exit_codes[:3]


def test_a_worker_that_lived_long_starts_with_a_short_pause(start: Callable[..., Run]) -> None:
    """After 30 s of life the pause before a restart is the first one again."""
    run = start(worker("old", "raise SystemExit(1)"), life_s=30.0)
    until(lambda: len(run.pauses()) >= 3, "three lives")
    assert [0.2, 0.2, 0.2] == run.pauses()[:3]


def test_a_killed_stage_comes_back_in_a_new_process(start: Callable[..., Run]) -> None:
    """`kill` ends a stage's worker by SIGKILL, and it is started again."""
    run = start(worker("risk", _SLEEPS), worker("other", _SLEEPS))
    until(lambda: run.pid("risk") and "up" in run.log("risk"), "the worker is up")
    first, other = run.pid("risk"), run.pid("other")
    assert first == run.supervisor.kill("risk").pid
    until(lambda: run.pid("risk") not in {None, first}, "a new process")
    assert (-signal.SIGKILL,) == run.supervisor.workers()[0].exit_codes
    assert 1 == run.supervisor.restarts
    assert other == run.pid("other")


def test_refuses_to_kill_a_stage_that_does_not_run(start: Callable[..., Run]) -> None:
    """Killing what is not there is an error that names what is."""
    run = start(worker("risk", _SLEEPS))
    until(lambda: run.pid("risk"), "the worker runs")
    with pytest.raises(UsageError, match="of risk, was 'tactical'"):
        run.supervisor.kill("tactical")


def test_stop_ends_workers_in_order(start: Callable[..., Run]) -> None:
    """A worker that minds SIGTERM ends by itself, and is not started again."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    run = start(worker("risk", code))
    until(lambda: run.pid("risk") and "up" in run.log("risk"), "the worker is up")
    run.supervisor.stop(_DEADLINE_S)
    assert EventKind.STOPPED is run.events[-1].kind
    assert 7 == run.events[-1].exit_code
    assert 0 == run.supervisor.restarts


def test_stop_kills_a_worker_that_will_not_end(start: Callable[..., Run]) -> None:
    """A worker that ignores SIGTERM is killed when the deadline is over."""
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _SLEEPS
    run = start(worker("deaf", code))
    until(lambda: run.pid("deaf") and "up" in run.log("deaf"), "the worker is up")
    run.supervisor.stop(0.3)
    assert -signal.SIGKILL == run.events[-1].exit_code
    assert run.pid("deaf") is None


def test_workers_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """`kill -9` of the supervising process leaves no worker behind."""
    code = f"""
import os, pathlib, time
from pipeline.run import Supervisor, WorkerSpec
spec = WorkerSpec("w", ("w",), ({sys.executable!r}, "-c", {_SLEEPS!r}))
folder = pathlib.Path({str(tmp_path)!r})
supervisor = Supervisor([spec], environment=dict(os.environ), log_folder=folder)
supervisor.start()
while not supervisor.workers()[0].pid: time.sleep(0.01)
print(supervisor.workers()[0].pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        until(lambda: "up" in (tmp_path / "w.log").read_text(), "the worker is up")
    finally:
        parent.kill()
        parent.communicate()
    until(lambda: not psutil.pid_exists(pid), "the worker is gone")


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    """Where no log file can be made, the supervisor lives on and tries again."""
    run = Run(tmp_path, worker("risk", _SLEEPS), life_s=1.0)
    run.supervisor.log_file("risk").mkdir()
    run.supervisor.start()
    try:
        until(lambda: run.kinds("risk").count(EventKind.EXITED) >= 2, "two attempts")
        run.supervisor.log_file("risk").rmdir()
        until(lambda: run.pid("risk"), "the worker runs")
    finally:
        run.supervisor.stop(0.0)


def test_says_what_to_do_without_a_folder_for_logs(tmp_path: Path) -> None:
    """A folder that cannot be made is an error that names the setting."""
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(ConfigurationError, match="CASCADE_HOME"):
        Run(tmp_path)
