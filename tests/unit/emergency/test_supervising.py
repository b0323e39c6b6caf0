"""Requests to supervisors over the coordination topic: carried out once, and answered."""

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.coordination.answers import Abstention, Answer, CoordinationRequest
from pipeline.coordination.epochs import Epochs
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.systems import LocalSystem
from pipeline.emergency.supervising import (
    DONE,
    SUPERVISOR,
    Asked,
    Request,
    Supervisors,
    SupervisorsOnDemand,
    WorkerSeen,
    workers_in,
)
from tests.unit.cascade.fake_bus import FakeBus, FakeTopics
from tests.unit.coordination.factories import eventually, now_ms

_WORKER = {"name": "risk", "stages": ["risk"], "pid": 7, "rss_mb": 120.5, "exits": 2}


class _Rig:
    """One asking process and any number of supervisors, over topics in memory."""

    def __init__(self) -> None:
        self.topics = FakeTopics(now_ms)
        self.services: list[CoordinationService] = []
        self.asked: list[CoordinationRequest] = []
        service = CoordinationService(FakeBus(self.topics), heartbeat_interval_s=600.0)
        self.supervisors = Supervisors(service)
        service.start()
        self.services.append(service)

    def supervisor(self, answer: Any, *, steadfast: bool = True) -> CoordinationService:
        """Have a supervisor that answers so."""

        def handle(request: CoordinationRequest) -> Any:
            self.asked.append(request)
            return answer

        service = CoordinationService(FakeBus(self.topics), heartbeat_interval_s=600.0)
        service.add(
            LocalSystem(
                SUPERVISOR, configuration={"workers": [_WORKER]}, handler=handle,
                steadfast=steadfast,
            )
        )  # fmt: skip
        service.start()
        self.services.append(service)
        return service

    def ask(self, timeout_s: float = 10.0) -> Asked:
        return self.supervisors.ask(Request.RESTART, "risk", "e1/recovery/1/0", timeout_s)


@pytest.fixture
def rig() -> Iterator[_Rig]:
    """A rig whose services are closed afterwards."""
    made = _Rig()
    yield made
    for service in made.services:
        service.close()


def test_a_supervisor_that_has_done_it_is_believed(rig: _Rig) -> None:
    """It is told what, for which stage, and under which id."""
    rig.supervisor(Answer(decision=DONE, reason="risk started again"))
    assert Asked(True, "risk started again") == rig.ask()
    (request,) = rig.asked
    assert (Request.RESTART, {"stage": "risk", "request_id": "e1/recovery/1/0"}) == (
        request.decision_type, request.decision_data,
    )  # fmt: skip


def test_one_of_several_is_enough(rig: _Rig) -> None:
    """Those on other machines have no such worker, and say so."""
    rig.supervisor(Abstention("none of mine"))
    rig.supervisor(Answer(decision=DONE, reason="done"))
    assert rig.ask().done


def test_all_declining_is_a_failure_at_once(rig: _Rig) -> None:
    """Nobody waits for the time-out when nobody is left to answer."""
    rig.supervisor(Abstention("none of mine"))
    assert Asked(False, "none of mine") == rig.ask(timeout_s=600.0)


def test_no_answer_is_a_failure(rig: _Rig) -> None:
    """That it was asked for is not that it was done."""
    rig.supervisor(None)
    assert Asked(False, "no answer within 0.2 s") == rig.ask(timeout_s=0.2)


def test_no_supervisor_is_a_failure(rig: _Rig) -> None:
    """Workers that nobody supervises are for people to restart."""
    assert Asked(False, "no supervisor is live") == rig.ask()


@pytest.mark.parametrize(("steadfast", "done"), [(True, True), (False, False)])
def test_supervisors_answer_in_emergencies_too(
    rig: _Rig, monkeypatch: pytest.MonkeyPatch, steadfast: bool, done: bool
) -> None:
    """When all others refuse, that is when they are needed."""
    rig.supervisor(Answer(decision=DONE, reason="done"), steadfast=steadfast)
    monkeypatch.setattr(Epochs, "in_emergency", property(lambda _: True))
    assert done is rig.ask(timeout_s=0.5).done


def test_what_supervisors_announce_is_known(rig: _Rig) -> None:
    """Their workers, with memory and exits."""
    rig.supervisor(None)
    eventually(rig.supervisors.workers, "workers to be announced")
    assert (WorkerSeen("risk", ("risk",), 7, 120.5, 2),) == rig.supervisors.workers()


def test_a_supervisor_s_nonsense_is_no_worker() -> None:
    """Whatever somebody announces under its name."""
    assert () == workers_in({"workers": [{"pid": "none"}]})
    assert () == workers_in({})


def test_somebody_who_takes_no_part_can_ask(rig: _Rig) -> None:
    """The components' process joins when it asks first."""
    rig.supervisor(Answer(decision=DONE, reason="done"))
    bus: Any = FakeBus(rig.topics)
    asking = SupervisorsOnDemand(bus)
    try:
        assert asking.ask(Request.REROUTE, "risk", "id", 10.0).done
    finally:
        asking.close()
