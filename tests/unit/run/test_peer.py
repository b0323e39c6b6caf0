"""What a supervisor announces and answers."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.coordination.answers import Abstention, Answer, CoordinationRequest
from pipeline.emergency.supervising import DONE, Request, workers_in
from pipeline.run import Supervisor, WorkerSpec
from pipeline.run.peer import SupervisorPeer
from pipeline.settings import load_settings
from tests.unit.run.test_supervisor import until

_SLEEPS = "import time\ntime.sleep(600)"


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor of one worker that runs."""
    spec = WorkerSpec("risk", ("risk",), (sys.executable, "-c", _SLEEPS))
    made = Supervisor([spec], environment=dict(os.environ), log_folder=tmp_path)
    made.start()
    until(lambda: made.workers()[0].pid, "the worker runs")
    yield made
    made.stop(0.0)


@pytest.fixture
def peer(supervisor: Supervisor) -> Iterator[SupervisorPeer]:
    """Its part in the coordination, which is not begun: no broker is needed."""
    made = SupervisorPeer(load_settings(broker="127.0.0.1:1"), supervisor)
    yield made
    made.close()


def _request(
    what: str, stage: str = "risk", request_id: str = "e/recovery/1/0"
) -> CoordinationRequest:
    return CoordinationRequest(
        coordination_id="m", requesting_system="emergency", decision_type=what,
        decision_data={"stage": stage, "request_id": request_id},
        affected_systems=("supervisor",), timestamp=0,
    )  # fmt: skip


def test_a_request_is_carried_out_once(peer: SupervisorPeer, supervisor: Supervisor) -> None:
    """Whoever asks again under its id gets the same answer, and no second restart."""
    first = peer.answer(_request(Request.RESTART))
    assert isinstance(first, Answer)
    assert (DONE, "risk started again") == (first.decision, first.reason)
    (worker,) = supervisor.workers()
    assert first == peer.answer(_request(Request.RESTART))
    assert (worker,) == tuple(supervisor.workers())
    assert 1 == worker.restarts
    peer.answer(_request(Request.RESTART, request_id="e/recovery/2/0"))
    assert 2 == supervisor.workers()[0].restarts


@pytest.mark.parametrize(
    ("what", "stage", "why"),
    [(Request.RESTART, "tactical", "was 'tactical'"), ("dance", "risk", "was 'dance'")],
)
def test_what_it_cannot_do_it_abstains_from(
    peer: SupervisorPeer, what: str, stage: str, why: str
) -> None:
    """It says why, and another supervisor may be able to."""
    answer = peer.answer(_request(what, stage))
    assert isinstance(answer, Abstention)
    assert why in answer.reason


def test_it_announces_its_workers(peer: SupervisorPeer, supervisor: Supervisor) -> None:
    """With their processes and the memory that these hold."""
    peer._look()
    (seen,) = workers_in(peer._system.configuration)
    assert ("risk", ("risk",), supervisor.workers()[0].pid, 0) == (
        seen.name, seen.stages, seen.pid, seen.exits,
    )  # fmt: skip
    assert seen.rss_mb > 1.0
