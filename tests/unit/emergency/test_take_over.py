"""An emergency that one process began is gone on with by another: no action twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.emergency.ledger import Emergency, figures_of
from pipeline.emergency.plans import Criterion, RecoveryPlan, RecoveryStep
from pipeline.emergency.response import EmergencyResponse
from pipeline.errors import UsageError
from pipeline.packets.events import EmergencyCourse, EmergencyLevel, EmergencyType
from tests.unit.control.memory_log import eventually
from tests.unit.emergency.test_response import _Bench, _declared

_STEPS = (
    RecoveryStep("restart", "tactical"),
    RecoveryStep("release", "tactical"),
    RecoveryStep("wait_for_recovery", "tactical"),
)


class _Died(UsageError):
    pass


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    """A bench whose responses are closed afterwards."""
    bench = _Bench(tmp_path)
    yield bench
    for each in bench.responses:
        each.close()


def _plan(response: EmergencyResponse, event_id: str) -> RecoveryPlan:
    event = response.sync().find(event_id).event
    return response.registry.plan(
        event, _STEPS, [Criterion("released", "tactical")], plan_id=f"{event_id}/recovery"
    )


def _dies_after(steps: int) -> Iterator[None]:
    """Yield so often, then raise, as the death of a process would end a plan."""
    yield from (None for _ in range(steps))
    raise _Died("Expected to live, was killed")


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_plan_goes_on_where_another_process_stopped(bench: _Bench, steps: int) -> None:
    """Each command and each request stands once, wherever the first one died."""
    first, second = bench.response(name="a"), bench.response(name="b")
    event_id = first.declare(_declared())
    death = _dies_after(steps)
    with pytest.raises(_Died):
        first.recover(_plan(first, event_id), lambda: next(death))
    assert second.recover(_plan(second, event_id)).succeeded
    assert ["ISOLATE stage:tactical", "RELEASE stage:tactical"] == bench.cascade.commands
    assert {f"{event_id}/recovery/1/0": "restart_workers tactical"} == bench.cascade.asked
    keys = [each["key"] for each in second.sync().find(event_id).steps]
    assert len(keys) == len(set(keys)) == 4


def test_a_step_done_and_not_told_is_not_done_again(bench: _Bench) -> None:
    """Between the action and its record on the topic the id alone keeps it from a second time."""
    first, second = bench.response(name="a"), bench.response(name="b")
    event_id = first.declare(_declared())
    plan = _plan(first, event_id)
    first._step(plan.emergency_event, EmergencyCourse.RECOVERING, "a", "began")
    first.runner.run(plan)  # all of it, and nothing is told
    assert second.recover(_plan(second, event_id)).succeeded
    assert ["ISOLATE stage:tactical", "RELEASE stage:tactical"] == bench.cascade.commands
    assert 1 == len(bench.cascade.asked)


def test_who_takes_over_contains_what_was_only_declared(bench: _Bench) -> None:
    """The first died between the declaration and its end; the commands have one id for both."""
    first, second = bench.response(name="a"), bench.response(name="b")
    event = first._event(_declared(), ())
    first._publish(event)
    second.contain(event.event_id)
    second.contain(event.event_id)
    assert ["ISOLATE stage:tactical"] == bench.cascade.commands
    assert [EmergencyCourse.DECLARED, EmergencyCourse.CONTAINED] == bench.courses(event.event_id)


def test_a_plan_ends_when_people_end_its_emergency(bench: _Bench) -> None:
    """Somebody has resolved it in the middle of the plan: nothing more is done, nor told."""
    response, people = bench.response(name="a"), bench.response(name="b")
    event_id = response.declare(_declared())
    calls: list[None] = []

    def proceed() -> None:
        calls.append(None)
        if len(calls) == 2:
            people.sync()
            people.resolve(event_id, "operator")

    with pytest.raises(UsageError, match="was over"):
        response.recover(_plan(response, event_id), proceed)
    assert EmergencyCourse.RESOLVED is bench.courses(event_id)[-1]
    assert not response.sync().find(event_id).active


def test_what_gets_worse_is_contained_by_the_new_level(bench: _Bench) -> None:
    """Only what the new level adds is done, and people are told; a lower level changes nothing."""
    response = bench.response()
    event_id = response.declare(_declared())
    response.worsen(event_id, EmergencyLevel.WARNING, "better")
    assert ["ISOLATE stage:tactical"] == bench.cascade.commands
    response.worsen(event_id, EmergencyLevel.EMERGENCY, "much worse")
    assert ["ISOLATE stage:tactical", "HALT *"] == bench.cascade.commands
    found = response.sync().find(event_id)
    assert EmergencyLevel.EMERGENCY is found.event.emergency_level
    eventually(lambda: len(bench.told) == 2)
    response.resolve(event_id, "operator")
    assert "ACTIVE" == bench.cascade.state


def test_an_emergency_of_which_nothing_stands_is_over(bench: _Bench) -> None:
    """The plan took its own fence down, so nobody has to do anything any more."""
    response = bench.response()
    event_id = response.declare(_declared())
    assert response.recover(_plan(response, event_id)).succeeded
    assert () == response.conclude(event_id)
    assert not response.sync().find(event_id).active


def test_a_halt_stays_for_people_to_lift(bench: _Bench) -> None:
    """However well the cascade is, the emergency stays, and they are told how to end it."""
    response = bench.response()
    event_id = response.declare(_declared("CASCADE_BREAKDOWN"))
    assert ("halt *",) == response.conclude(event_id)
    assert (True, "HALTED") == (response.sync().find(event_id).active, bench.cascade.state)
    eventually(lambda: [each.key for each in bench.told][1:] == [f"{event_id}-recovered"])
    assert f"cascade emergency resolve {event_id}" in bench.told[1].body


@pytest.mark.parametrize(("silent", "course"), [(True, "CONTAINED"), (False, "UNCONTAINED")])
def test_what_is_too_ill_to_answer_must_be_seen_to_write_nothing(
    bench: _Bench, silent: bool, course: str
) -> None:
    """Of the affected system alone; else a command that is not acknowledged is not in force."""
    bench.cascade.silent, bench.cascade.deaf = silent, 100
    event_id = bench.response(timeout_s=0.5).declare(_declared())
    assert EmergencyCourse(course) in bench.courses(event_id)


def test_silence_of_others_is_no_excuse(bench: _Bench) -> None:
    """Tactical does not answer, but it is risk that is affected."""
    bench.cascade.silent, bench.cascade.deaf = True, 100
    event_id = bench.response(timeout_s=0.5).declare(
        _declared("SYSTEM_FAILURE", "CRITICAL", "risk")
    )
    assert EmergencyCourse.UNCONTAINED in bench.courses(event_id)


def test_recovery_is_measured_from_the_cause(bench: _Bench) -> None:
    """Not from when somebody noticed; it stands in the figures that the worker announces."""
    response = bench.response()
    since_us = bench.clock.now_us() - 2_000_000
    declared = _declared()
    declared = type(declared)(
        declared.emergency_type, declared.emergency_level, "emergency", ("tactical",), "seen",
        {"since_us": since_us, "subject": "tactical"},
    )  # fmt: skip
    event_id = response.declare(declared)
    bench.clock.advance(s=10)
    response.recover(_plan(response, event_id))
    found: Emergency = response.sync().find(event_id)
    assert 12.0 == found.seconds_to(EmergencyCourse.RECOVERED)
    assert {
        "declared": 1.0, "active": 1.0, "contained": 1.0, "recovered": 1.0, "escalated": 0.0,
        "last_recovery_s": 12.0, "slowest_recovery_s": 12.0,
    } == dict(figures_of((found,)))  # fmt: skip


def test_nothing_recovered_has_no_recovery_time(bench: _Bench) -> None:
    """No data is no figure."""
    event_id = bench.response().declare(_declared())
    figures = figures_of((bench.responses[0].sync().find(event_id),))
    assert not {"last_recovery_s", "slowest_recovery_s"} & figures.keys()
    assert EmergencyType.SYSTEM_FAILURE == bench.responses[0].ledger.all[0].event.emergency_type


def test_a_second_attempt_minds_what_the_first_one_has_done(bench: _Bench) -> None:
    """A stage that was let in at the first attempt is none that could not be let in."""
    response = bench.response()
    event_id = response.declare(_declared())
    event = response.sync().find(event_id).event
    steps = (*_STEPS, RecoveryStep("hand_over"))  # of which one fails, for want of somebody
    for contact in response._contacts.contacts:
        response._contacts.remove(contact.name)
    plan = response.registry.plan(
        event, steps, [Criterion("released", "tactical")], plan_id=f"{event_id}/recovery"
    )
    result = response.recover(plan)
    assert 3 == result.attempts
    assert {True} == {each.done for each in result.steps if each.step.action == "release"}
    assert ["ISOLATE stage:tactical", "RELEASE stage:tactical"] == bench.cascade.commands
