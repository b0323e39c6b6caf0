"""Acting on recommendations: more local workers, fewer, and a pause after each change."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.packets.events import MetricsSnapshot
from pipeline.run import EventKind, Supervisor, WorkerEvent, WorkerSpec
from pipeline.run.autoscale import Autoscaler, local_target
from pipeline.settings import ScalingSettings, load_settings
from tests.unit.run.test_supervisor import until

_SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
_STAGE = "strategic"
PAUSE_S = ScalingSettings().pause


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """One worker of strategic, and one process of two stages."""
    specs = [
        WorkerSpec(_STAGE, (_STAGE,), _SLEEPS),
        WorkerSpec("risk-execution", ("risk", "execution"), _SLEEPS),
    ]
    supervisor = Supervisor(specs, environment={}, log_folder=tmp_path / "logs")
    supervisor.start()
    yield supervisor
    supervisor.stop(1.0)


def _running(supervisor: Supervisor) -> set[str]:
    return {
        each.name for each in supervisor.workers() if _STAGE in each.stages and each.pid is not None
    }


def _snapshot(live: int, recommended: int) -> MetricsSnapshot:
    figures = {
        f'cascade_live_workers{{system="{_STAGE}"}}': live,
        f'cascade_recommended_workers{{stage="{_STAGE}"}}': recommended,
    }
    return MetricsSnapshot(1, "monitor", 1.0, json.dumps(figures))


def test_workers_are_added_and_the_youngest_end_first(supervisor: Supervisor) -> None:
    """They are real processes; a name is never used twice."""
    until(lambda: _running(supervisor) == {_STAGE}, "the first worker runs")
    assert (["strategic-auto-1", "strategic-auto-2"], []) == supervisor.scale(_STAGE, 3)
    three = {_STAGE, "strategic-auto-1", "strategic-auto-2"}
    until(lambda: _running(supervisor) == three, "three run")
    assert ([], ["strategic-auto-2"]) == supervisor.scale(_STAGE, 2)
    until(lambda: len(_running(supervisor)) == 2, "two run")
    assert (["strategic-auto-3"], []) == supervisor.scale(_STAGE, 3)


@pytest.mark.parametrize(("stage", "count"), [(_STAGE, 0), ("risk", 2), ("tactical", 1)])
def test_what_cannot_be_scaled_is_refused(supervisor: Supervisor, stage: str, count: int) -> None:
    """The last worker of a stage, stages that share a process, stages that run elsewhere."""
    with pytest.raises(UsageError):
        supervisor.scale(stage, count)


@pytest.mark.parametrize(
    ("local", "live", "recommended", "expected"),
    [(1, 1, 3, 3), (1, 2, 3, 2), (3, 4, 2, 1), (1, 4, 1, 1), (3, 1, 2, 2)],
)
def test_workers_elsewhere_count(local: int, live: int, recommended: int, expected: int) -> None:
    """The recommendation is for all machines; one stays here whatever it says."""
    assert expected == local_target(local, live, recommended)


def test_a_change_is_given_time_before_the_next(supervisor: Supervisor) -> None:
    """Figures of before tell nothing of after."""
    until(lambda: _running(supervisor) == {_STAGE}, "the first worker runs")
    now_s, said = [0.0], list[str]()
    autoscaler = Autoscaler(
        load_settings(), supervisor, [_STAGE], said.append, monotonic=lambda: now_s[0]
    )
    autoscaler.take(_snapshot(1, 3))
    assert [] == said
    now_s[0] = PAUSE_S
    autoscaler.take(_snapshot(1, 3))
    autoscaler.take(_snapshot(1, 4))
    assert 1 == len(said)
    assert "starts strategic-auto-1, strategic-auto-2" in said[0]
    now_s[0] = 2 * PAUSE_S
    autoscaler.take(_snapshot(3, 2))
    assert "ends strategic-auto-2" in said[1]


def test_workers_that_are_still_starting_are_not_started_again(supervisor: Supervisor) -> None:
    """Until they send heartbeats the figures know of none; a worker that never does is given up."""
    until(lambda: _running(supervisor) == {_STAGE}, "the first worker runs")
    now_s, said = [0.0], list[str]()
    autoscaler = Autoscaler(
        load_settings(), supervisor, [_STAGE], said.append, monotonic=lambda: now_s[0]
    )
    for pauses, live in ((1.0, 1), (2.5, 1), (3.0, 2), (3.1, 2)):
        now_s[0] = pauses * PAUSE_S
        autoscaler.take(_snapshot(live, 2))
    assert 1 == len(said)
    now_s[0] = 4 * PAUSE_S
    autoscaler.take(_snapshot(2, 3))
    assert 2 == len(said)
    now_s[0] = 7.9 * PAUSE_S
    autoscaler.take(_snapshot(2, 3))
    assert 2 == len(said)
    now_s[0] = 8 * PAUSE_S
    autoscaler.take(_snapshot(2, 4))
    assert 3 == len(said)


def test_a_worker_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep its partitions, and nobody would decide on them."""
    monkeypatch.setattr("pipeline.run.supervisor._SCALED_AWAY_S", 0.1)
    ready = tmp_path / "ready"
    deaf = (
        f"import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f" pathlib.Path({str(ready)!r}).touch(); time.sleep(600)"
    )
    events: list[WorkerEvent] = []
    specs = [
        WorkerSpec(f"{_STAGE}-1", (_STAGE,), _SLEEPS),
        WorkerSpec(f"{_STAGE}-2", (_STAGE,), (sys.executable, "-c", deaf)),
    ]
    supervisor = Supervisor(
        specs, environment={}, log_folder=tmp_path / "logs", on_event=events.append
    )
    supervisor.start()
    try:
        until(ready.exists, "the deaf worker runs")
        assert ([], [f"{_STAGE}-2"]) == supervisor.scale(_STAGE, 1)
        until(lambda: [each for each in events if each.kind is EventKind.STOPPED], "it is gone")
    finally:
        supervisor.stop(0.0)
    stopped = next(each for each in events if each.kind is EventKind.STOPPED)
    assert (f"{_STAGE}-2", -signal.SIGKILL) == (stopped.worker, stopped.exit_code)
