"""Workers that are restarted or replaced by request."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.run import EventKind, Supervisor, WorkerEvent, WorkerSpec
from tests.unit.run.test_supervisor import until

_SLEEPS = "import time\nprint('up', flush=True)\ntime.sleep(600)"
_DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _SLEEPS


def _spec(name: str, *stages: str, code: str = _SLEEPS) -> WorkerSpec:
    return WorkerSpec(name, stages or (name,), (sys.executable, "-c", code))


class _Run:
    def __init__(self, folder: Path, *specs: WorkerSpec) -> None:
        self.events: list[WorkerEvent] = []
        self.supervisor = Supervisor(
            specs, environment=dict(os.environ), log_folder=folder, on_event=self.events.append
        )
        self.supervisor.start()
        until(lambda: all(self.up(each.name) for each in specs), "all workers are up")

    def up(self, name: str) -> bool:
        file = self.supervisor.log_file(name)
        return file.exists() and "up" in file.read_text()

    def pids(self) -> dict[str, int | None]:
        return {each.name: each.pid for each in self.supervisor.workers()}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[_Run]]:
    """Supervisors that are stopped after the test."""
    begun: list[_Run] = []
    yield begun
    for run in begun:
        run.supervisor.stop(0.0)


def _begin(runs: list[_Run], folder: Path, *specs: WorkerSpec) -> _Run:
    runs.append(_Run(folder, *specs))
    return runs[-1]


def test_a_restart_gives_a_stage_new_processes_at_once(runs: list[_Run], tmp_path: Path) -> None:
    """Even one that hangs is gone when it returns; others run on, and no exit is counted."""
    run = _begin(runs, tmp_path, _spec("risk"), _spec("other"))
    before = run.pids()
    assert before["risk"] is not None
    os.kill(before["risk"], signal.SIGSTOP)
    assert ["risk"] == run.supervisor.restart("risk")
    after = run.pids()
    assert after["risk"] not in {None, before["risk"]}
    assert before["other"] == after["other"]
    assert [0, 0] == [each.exits for each in run.supervisor.workers()]


def test_an_exit_that_nobody_asked_for_is_counted(runs: list[_Run], tmp_path: Path) -> None:
    """So that who looks on can tell it from a restart."""
    run = _begin(runs, tmp_path, _spec("risk"))
    pid = run.pids()["risk"]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: run.pids()["risk"] not in {None, pid}, "a new process")
    assert [1] == [each.exits for each in run.supervisor.workers()]


@pytest.mark.parametrize("code", [_SLEEPS, _DEAF], ids=["obedient", "deaf"])
def test_a_standby_takes_a_worker_s_place(runs: list[_Run], tmp_path: Path, code: str) -> None:
    """It runs before the other ends, by its own command, and the other stays away."""
    standby = (sys.executable, "-c", "print('standby', flush=True)\n" + _SLEEPS)
    run = _begin(runs, tmp_path, replace(_spec("risk", code=code), standby=standby))
    (first,) = run.pids().values()
    assert ["risk-standby-1"] == run.supervisor.reroute("risk")
    (name,), (pid,) = run.pids().keys(), run.pids().values()
    assert ("risk-standby-1", True) == (name, pid not in {None, first})
    assert "standby" in run.supervisor.log_file(name).read_text()
    kinds = [(each.worker, each.kind) for each in run.events]
    assert kinds.index(("risk-standby-1", EventKind.STARTED)) < kinds.index(
        ("risk", EventKind.STOPPED)
    )
    assert 1 == kinds.count(("risk", EventKind.STARTED))


def test_a_standby_can_be_replaced_too(runs: list[_Run], tmp_path: Path) -> None:
    """Names count on, so that no two processes ever share one."""
    run = _begin(runs, tmp_path, _spec("risk-execution", "risk", "execution"))
    assert ["risk-execution-standby-1"] == run.supervisor.reroute("risk")
    assert ["risk-execution-standby-2"] == run.supervisor.reroute("execution")
    assert ["risk-execution-standby-2"] == list(run.pids())


def test_a_stage_without_workers_here_is_refused(runs: list[_Run], tmp_path: Path) -> None:
    """Another machine's supervisor has it, perhaps."""
    run = _begin(runs, tmp_path, _spec("risk"))
    for act in (run.supervisor.restart, run.supervisor.reroute):
        with pytest.raises(UsageError, match="has workers here, was 'tactical'"):
            act("tactical")
