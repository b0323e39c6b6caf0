"""The course of an emergency, with the cascade in memory."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.control.latch import Latch
from pipeline.control.state import TradingState
from pipeline.emergency.contacts import ContactBook
from pipeline.emergency.ledger import TOPIC, Emergency
from pipeline.emergency.plans import Criterion, RecoveryStep
from pipeline.emergency.response import Declaration, EmergencyResponse
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.packets.events import EmergencyCourse, EmergencyEvent, EmergencyLevel, EmergencyType
from pipeline.settings import load_settings
from pipeline.testing import ManualClock
from pipeline.watch.channels import Contact, Message
from tests.unit.cascade.fake_bus import FakeBus, FakeTopics
from tests.unit.control.memory_log import eventually
from tests.unit.emergency.factories import MemoryCascade

_SECONDS = 60.0


class _Bench:
    """One cascade in memory and the responses that follow it."""

    def __init__(self, home: Path) -> None:
        self.topics = FakeTopics()
        self.cascade = MemoryCascade(self.topics)
        self.settings = load_settings(broker="fake:1", home=home)
        self.told: list[Message] = []
        self.clock = ManualClock()
        self.responses: list[EmergencyResponse] = []
        self.buses: list[FakeBus] = []

    def response(self, timeout_s: float = _SECONDS, name: str = "e") -> EmergencyResponse:
        """Return the response of one process."""
        numbers = iter(range(100))
        book = ContactBook(lambda _: self._tell)
        book.add(Contact("people", "people", "log"))
        bus = FakeBus(self.topics, self.settings)
        made = EmergencyResponse(
            cast(Any, bus), self.cascade.give, self.cascade, book, self.cascade.ask,
            response_timeout_s=timeout_s, clock=self.clock,
            new_id=lambda: f"{name}{next(numbers)}",
        )  # fmt: skip
        self.responses.append(made)
        self.buses.append(bus)
        return made

    def courses(self, event_id: str) -> list[EmergencyCourse]:
        """Return the course of an emergency as `cascade.emergency` has it."""
        events = cast(list[EmergencyEvent], self.topics.packets(TOPIC))
        return [each.course for each in events if each.event_id == event_id]

    def _tell(self, message: Message) -> bool:
        self.told.append(message)
        return True


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    """A bench whose responses are closed afterwards."""
    bench = _Bench(tmp_path)
    yield bench
    for each in bench.responses:
        each.close()


def _declared(kind: str = "SYSTEM_FAILURE", level: str = "CRITICAL", *affected: str) -> Declaration:
    return Declaration(
        EmergencyType(kind), EmergencyLevel(level), "test", affected or ("tactical",),
        "provoked", {"cause": "test"},
    )  # fmt: skip


def _steps(emergency: Emergency) -> list[tuple[str, str, bool]]:
    steps = json.loads(emergency.event.steps)["steps"]
    return [(each["action"], each["system"], each["done"]) for each in steps]


def test_a_critical_system_failure_is_contained(bench: _Bench) -> None:
    """The stage is fenced off, the course stands on `cascade.emergency`, people are told."""
    response = bench.response()
    event_id = response.declare(_declared())
    assert ["ISOLATE stage:tactical"] == bench.cascade.commands
    assert [EmergencyCourse.DECLARED, EmergencyCourse.CONTAINED] == bench.courses(event_id)
    assert [("isolate", "stage:tactical", True)] == _steps(response.ledger.find(event_id))
    eventually(lambda: len(bench.told) == 1)
    assert "CRITICAL SYSTEM_FAILURE at test" == bench.told[0].title


def test_what_is_not_acknowledged_is_tried_again(bench: _Bench) -> None:
    """A worker that answers neither soon nor late may to the second command."""
    bench.cascade.deaf = 2
    response = bench.response()
    event_id = response.declare(_declared())
    assert ["ISOLATE stage:tactical"] * 2 == bench.cascade.commands
    assert response.ledger.find(event_id).event.course is EmergencyCourse.CONTAINED


def test_what_is_not_seen_is_not_contained(bench: _Bench) -> None:
    """Commands acknowledged are not enough: what the live cascade shows decides."""
    bench.cascade.blind = True
    response = bench.response(timeout_s=0.5)
    event_id = response.declare(_declared())
    assert EmergencyCourse.UNCONTAINED in bench.courses(event_id)


def test_nobody_answering_is_escalated(bench: _Bench) -> None:
    """Neither contained nor acknowledged within the response time-out: people are told again."""
    bench.cascade.blind = True
    response = bench.response(timeout_s=0.5)
    event_id = response.declare(_declared())
    eventually(lambda: EmergencyCourse.ESCALATED in bench.courses(event_id))
    eventually(lambda: [each.key for each in bench.told][1:] == [f"{event_id}-escalated"])


def test_an_acknowledged_emergency_is_not_escalated(bench: _Bench) -> None:
    """Who takes it on is noted, and the watch ends."""
    response = bench.response(timeout_s=2.0)  # a busy machine acknowledges within it
    event_id = response.declare(_declared("RESOURCE_EXHAUSTION", "WARNING"))
    response.acknowledge(event_id, "alice", "on it")
    other = response.declare(_declared("RESOURCE_EXHAUSTION", "WARNING"))
    eventually(lambda: EmergencyCourse.ESCALATED in bench.courses(other))
    assert [EmergencyCourse.DECLARED, EmergencyCourse.ACKNOWLEDGED] == bench.courses(event_id)
    assert ("alice", "on it") == (
        response.ledger.find(event_id).event.author,
        response.ledger.find(event_id).event.note,
    )


def test_an_advisory_is_for_nobody_to_answer(bench: _Bench) -> None:
    """It is noted; nothing is done, nobody told."""
    event_id = bench.response(timeout_s=0.1).declare(_declared(level="ADVISORY"))
    assert ([EmergencyCourse.DECLARED], []) == (bench.courses(event_id), bench.cascade.commands)
    assert [] == bench.told


def test_an_end_takes_back_what_was_done(bench: _Bench) -> None:
    """The halt is lifted and the fence comes down; then it is over, and stays so."""
    response = bench.response()
    event_id = response.declare(_declared(level="EMERGENCY"))
    assert "HALTED" == bench.cascade.state
    response.resolve(event_id, "operator")
    assert [
        "HALT *", "ISOLATE stage:tactical", "RELEASE stage:tactical", "RESUME *",
    ] == bench.cascade.commands  # fmt: skip
    assert "ACTIVE" == bench.cascade.state
    assert () == response.ledger.active
    with pytest.raises(UsageError, match="was over"):
        response.resolve(event_id, "operator")


def test_who_may_not_resume_cannot_end_a_halt(bench: _Bench) -> None:
    """The emergency stays active, and trading halted."""
    response = bench.response()
    event_id = response.declare(_declared("CASCADE_BREAKDOWN"))
    with pytest.raises(UsageError, match="control_authors"):
        response.resolve(event_id, "stranger")
    assert "HALTED" == bench.cascade.state
    assert 1 == len(response.ledger.active)


def test_what_another_emergency_needs_stays(bench: _Bench) -> None:
    """Of two that fence the same stage off, the end of the last one releases it."""
    response = bench.response()
    first, second = response.declare(_declared()), response.declare(_declared())
    response.resolve(second, "operator")
    assert "tactical" in bench.cascade.machine.fences.fences.stages
    assert EmergencyCourse.RESOLVED in bench.courses(second)
    response.resolve(first, "operator")
    assert "tactical" not in bench.cascade.machine.fences.fences.stages


def test_what_somebody_else_did_since_stays(bench: _Bench) -> None:
    """A newer halt is not this emergency's to lift."""
    response = bench.response()
    event_id = response.declare(_declared("CASCADE_BREAKDOWN"))
    bench.cascade.give(bench.cascade.given[1].kind, author="people", reason="own reasons")
    assert () == response.resolve(event_id, "operator")
    assert "HALTED" == bench.cascade.state


def test_a_rollback_leaves_the_emergency_active(bench: _Bench) -> None:
    """What was done is undone, and people still have to deal with it."""
    response = bench.response()
    event_id = response.declare(_declared())
    assert all(each.done for each in response.roll_back(event_id, "operator"))
    assert frozenset() == bench.cascade.machine.fences.fences.stages
    assert response.ledger.find(event_id).event.course is EmergencyCourse.ROLLED_BACK
    assert 1 == len(response.ledger.active)


def test_another_process_sees_and_ends_it(bench: _Bench) -> None:
    """The course is on Kafka, so whoever attaches later knows it and may end it."""
    event_id = bench.response(name="a").declare(_declared())
    other = bench.response(name="b")
    assert [event_id] == [each.event.event_id for each in other.sync().active]
    other.resolve(event_id, "operator")
    assert frozenset() == bench.cascade.machine.fences.fences.stages


def test_without_a_broker_this_machine_halts(bench: _Bench) -> None:
    """Where the table says halt, the latch of this machine holds before anything can fail."""
    response = bench.response()
    bench.buses[0].lost = True
    with pytest.raises(BrokerUnavailable):
        response.declare(_declared("NETWORK_PARTITION"))
    held = Latch.of(bench.settings).read()
    assert (TradingState.HALTED, True) == (held.trading_state, held.local)


def test_a_halt_in_the_log_needs_no_local_release(bench: _Bench) -> None:
    """Once the log has it, the RESUME of the end lifts the latch of this machine too."""
    response = bench.response()
    event_id = response.declare(_declared("NETWORK_PARTITION"))
    held = Latch.of(bench.settings).read()
    assert (TradingState.HALTED, False) == (held.trading_state, held.local)
    response.resolve(event_id, "operator")
    assert not held.holds(bench.cascade.machine.lifted_epoch)


def test_a_recovery_is_what_was_seen(bench: _Bench) -> None:
    """A plan that releases the stage has recovered it when it is seen released."""
    response = bench.response()
    event_id = response.declare(_declared())
    event = response.ledger.find(event_id).event
    plan = response.registry.plan(
        event, [RecoveryStep("release", "tactical")], [Criterion("released", "tactical")]
    )
    result = response.recover(plan)
    assert (True, False) == (result.succeeded, result.rolled_back)
    courses = bench.courses(event_id)[2:]
    assert [*[EmergencyCourse.RECOVERING] * 2, EmergencyCourse.RECOVERED] == courses


def _fail(bench: _Bench) -> None:
    bench.cascade.broken = True


def _hide(bench: _Bench) -> None:
    bench.cascade.blind = True


@pytest.mark.parametrize("fault", [_fail, _hide])
def test_a_recovery_that_fails_is_escalated(bench: _Bench, fault: Callable[[_Bench], None]) -> None:
    """Steps that cannot be done, or do not help, are never a recovery."""
    response = bench.response()
    event_id = response.declare(_declared())
    event = response.ledger.find(event_id).event
    plan = response.registry.plan(
        event,
        [RecoveryStep("release", "tactical")],
        [Criterion("released", "tactical")],
        rollback=[RecoveryStep("isolate", "tactical")],
        timeout_s=0.5,
    )
    fault(bench)
    assert not response.recover(plan).succeeded
    courses = bench.courses(event_id)
    assert EmergencyCourse.RECOVERED not in courses
    assert EmergencyCourse.ESCALATED is courses[-1]


def test_people_are_handed_what_no_plan_mends(bench: _Bench) -> None:
    """`hand_over` tells the contacts, and that is all it claims."""
    response = bench.response()
    event = response.ledger.find(response.declare(_declared())).event
    action = response.registry.actions["hand_over"]
    result = action(RecoveryStep("hand_over", parameters={"why": "look at it"}), event)
    assert (True, "told people") == (result.done, result.detail)
    eventually(lambda: any("look at it" in each.body for each in bench.told))


def test_a_late_acknowledgement_needs_no_second_command(bench: _Bench) -> None:
    """Where the system that is ill goes on writing, its answer is waited for."""
    bench.cascade.deaf = 1
    response = bench.response()
    event_id = response.declare(_declared())
    assert ["ISOLATE stage:tactical"] == bench.cascade.commands
    assert response.ledger.find(event_id).event.course is EmergencyCourse.CONTAINED
