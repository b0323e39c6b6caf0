"""A command's result is what the live workers have acknowledged."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from pipeline.control.acknowledgement import TOPIC, Acknowledgement
from pipeline.emergency.commands import Commander, CommandResult, concerned
from pipeline.errors import UsageError
from pipeline.packets.events import ControlCommand, ControlKind, TradingState
from pipeline.testing import ManualClock
from tests.unit.cascade.fake_bus import FakeBus, FakeTopics
from tests.unit.control.memory_log import command

_CLOCK = ManualClock()


class _Cascade:
    """Workers that answer as they are told to, and a log that takes what they get."""

    def __init__(self) -> None:
        self.topics = FakeTopics(lambda: _CLOCK.now_us() // 1000)
        self.bus = FakeBus(self.topics)
        self.live: dict[str, int] = {"tactical": 1, "risk": 1}
        self.answering: list[tuple[str, str, str]] = []
        self.asked: list[tuple[str, ...]] = []
        self.refused = False

    def issue(self, given: ControlCommand) -> int:
        if self.refused:
            raise UsageError("Expected better")
        for stage, worker, refusal in self.answering:
            answer = Acknowledgement(
                given.command_id, 7, stage, worker, TradingState.ACTIVE, False, refusal,
                given.time + 5_000,
            )  # fmt: skip
            self.bus.publish(TOPIC, answer.message())
        return 7

    def count(self, stages: tuple[str, ...], timeout_s: float) -> Mapping[str, int]:
        self.asked.append(tuple(stages))
        return {stage: self.live[stage] for stage in stages if stage in self.live}


@pytest.fixture
def cascade() -> _Cascade:
    """A cascade of a tactical and a risk worker."""
    return _Cascade()


@pytest.fixture
def commander(cascade: _Cascade) -> Iterator[Commander]:
    """A commander of it that does not wait long."""
    with Commander(
        cast(Any, cascade.bus), writer=cascade, workers=cascade, clock=_CLOCK, timeout_s=0.2
    ) as commander:
        yield commander


def _given(commander: Commander, kind: ControlKind, scope: str = "*") -> CommandResult:
    return commander.give(kind, scope, author="operator", reason="test")


def test_it_is_in_force_when_all_have_answered(cascade: _Cascade, commander: Commander) -> None:
    """The result names epoch, workers, and how long the last took."""
    cascade.answering = [("tactical", "a", ""), ("risk", "b", "")]
    result = _given(commander, ControlKind.HALT)
    assert (7, True, {}, 5.0) == (
        result.epoch,
        result.in_force,
        result.missing,
        result.latency_ms,
    )
    assert "acknowledged by all 2 workers, the last after 5 ms" == str(result)


def test_a_worker_that_is_silent_is_missed(cascade: _Cascade, commander: Commander) -> None:
    """What stands in the log is not in force before the live workers say so."""
    cascade.answering = [("tactical", "a", "")]
    result = _given(commander, ControlKind.HALT)
    assert (False, {"risk": 1}) == (result.in_force, result.missing)
    assert "acknowledged by 1, NOT by 1 of risk" in str(result)


def test_a_worker_that_refuses_does_not_obey(cascade: _Cascade, commander: Commander) -> None:
    """Its answer counts as none."""
    cascade.answering = [("tactical", "a", ""), ("risk", "b", "Expected better")]
    assert {"risk": 1} == _given(commander, ControlKind.HALT).missing


def test_one_worker_cannot_answer_for_two(cascade: _Cascade, commander: Commander) -> None:
    """An answer that is repeated is one answer."""
    cascade.live["risk"] = 2
    cascade.answering = [("tactical", "a", ""), ("risk", "b", ""), ("risk", "b", "")]
    assert {"risk": 1} == _given(commander, ControlKind.HALT).missing


def test_only_those_concerned_must_answer(cascade: _Cascade, commander: Commander) -> None:
    """To isolate tactical takes tactical, and nobody waits for risk."""
    cascade.answering = [("tactical", "a", ""), ("risk", "b", "")]
    result = _given(commander, ControlKind.ISOLATE, "stage:tactical")
    assert (True, ["tactical"]) == (
        result.in_force,
        [each.stage for each in result.acknowledgements],
    )
    assert [("tactical",)] == cascade.asked


def test_without_workers_nobody_is_waited_for(cascade: _Cascade, commander: Commander) -> None:
    """Who starts later reads control first."""
    cascade.live = {}
    result = _given(commander, ControlKind.HALT)
    assert (True, "no worker runs; those that start will obey it") == (result.in_force, str(result))


def test_a_command_that_does_not_count_is_an_error(cascade: _Cascade, commander: Commander) -> None:
    """Nobody is asked about it."""
    cascade.refused = True
    with pytest.raises(UsageError, match="Expected better"):
        _given(commander, ControlKind.RESUME)
    assert [] == cascade.asked


@pytest.mark.parametrize(
    ("kind", "scope", "count"),
    [
        (ControlKind.HALT, "*", 5),
        (ControlKind.HALT, "nonsense", 5),
        (ControlKind.ISOLATE, "symbol:A", 5),
        (ControlKind.ISOLATE, "stage:gateway", 1),
        (ControlKind.BREAKER_OPEN, "policy:risk", 1),
    ],
)
def test_whom_a_command_concerns(kind: ControlKind, scope: str, count: int) -> None:
    """Stages and policies concern their own workers, all else everybody."""
    assert count == len(concerned(command(kind, scope=scope)))
