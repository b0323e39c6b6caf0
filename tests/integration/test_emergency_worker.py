"""Emergency workers on a real Kafka: one acts, another takes over, a worker that hangs recovers."""

import os
import signal
import time
import uuid
from collections.abc import Iterator

import pytest

from pipeline.cascade import EmergencyCascadeProtocols
from pipeline.emergency.ledger import TOPIC, Emergency, Ledger
from pipeline.events import EventBus
from pipeline.packets.codec import encode
from pipeline.packets.events import (
    ControlCommand,
    ControlKind,
    EmergencyCourse,
    EmergencyType,
)
from pipeline.run import worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings, load_settings
from tests.cluster import prepare
from tests.kafka_workers import (
    LIMIT_S,
    StartWorker,
    end_offsets,
    send,
    start_worker,
    wait_until,
)

__all__ = ["start_worker"]  # a fixture

_OFFICE = "holds_office"
_ACTS = "BEGUN WARNING SECURITY_BREACH"


@pytest.fixture
def settings(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a cascade of this test's own, in which trading is allowed."""
    made = load_settings(
        broker=kafka,
        namespace=f"test-{uuid.uuid4().hex[:10]}",
        home=tmp_path_factory.mktemp("home"),
    )
    prepare(made)
    return made


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """What is told on `cascade.emergency`."""
    found = Ledger()
    with EventBus(settings=settings) as bus:
        bus.subscribe(TOPIC, found.take, start="earliest")
        yield found


def _intrude(settings: Settings) -> None:
    """Give a command as somebody who may not, past the writer that would refuse it."""
    now_us = time.time_ns() // 1000
    halt = ControlCommand(
        uuid.uuid4().hex, ControlKind.HALT, "*", "operator", "test", now_us, 0, -1
    )
    send(settings, "cascade.control", [(b"*", encode(halt))])
    epoch = end_offsets(settings, "cascade.control")[0] - 1
    resume = ControlCommand(
        uuid.uuid4().hex, ControlKind.RESUME, "*", "stranger", "let me", now_us, 0, epoch
    )
    send(settings, "cascade.control", [(b"*", encode(resume))])


def _ended(ledger: Ledger, count: int, course: EmergencyCourse) -> list[Emergency]:
    """Wait until so many emergencies have come to a course; return all there are."""
    wait_until(
        lambda: sum(each.passed(course) for each in ledger.all) >= count,
        f"{count} emergencies that are {course}",
    )
    return list(ledger.all)


def test_one_of_two_acts_and_the_other_takes_over(
    settings: Settings, ledger: Ledger, start_worker: StartWorker
) -> None:
    """A breach is declared once, whoever looks; after kill -9 of who acted the other acts."""
    workers = [start_worker("pipeline.emergency", settings) for _ in range(2)]
    wait_until(lambda: any(_OFFICE in each.log for each in workers), "one to hold the office")
    for each in workers:
        each.wait_for("Ready")
    _intrude(settings)
    (first,) = _ended(ledger, 1, EmergencyCourse.ESCALATED)
    assert EmergencyType.SECURITY_BREACH is first.event.emergency_type
    assert first.passed(EmergencyCourse.CONTAINED)

    (acting,) = [each for each in workers if _ACTS in each.log]
    (other,) = [each for each in workers if each is not acting]
    terms = other.log.count(_OFFICE)
    acting.kill()
    other.wait_for(_OFFICE, terms + 1)
    with EventBus(settings=settings) as bus, EmergencyCascadeProtocols(bus) as people:
        people.resolve_emergency(first.event.event_id, "operator")
    wait_until(lambda: _breach_is_over(first), "the first breach to be over")
    _intrude(settings)
    found = _ended(ledger, 2, EmergencyCourse.ESCALATED)
    assert [EmergencyType.SECURITY_BREACH] * 2 == [each.event.emergency_type for each in found]


def _breach_is_over(emergency: Emergency) -> bool:
    """Say whether it is out of the window, and away for long enough to count as over."""
    limits = load_settings().detection
    passed_s = time.time() - emergency.event.timestamp / 1e6
    return passed_s > limits.window + limits.clear + 2.0


def test_a_worker_that_hangs_is_restarted(settings: Settings, ledger: Ledger) -> None:
    """Its heart stops: it is fenced off, killed, started again by its supervisor, and let in."""
    specs = worker_specs(["strategic"], emergency=True)
    with LocalRun(settings, specs, coordinated=True) as run:
        run.wait_owned(LIMIT_S)
        emergency_log = run.supervisor.log_file("emergency")
        wait_until(lambda: _OFFICE in emergency_log.read_text(), "an emergency worker to act")
        wait_until(lambda: "Ready" in emergency_log.read_text(), "it to look")
        (before,) = [each.pid for each in run.supervisor.workers() if each.name == "strategic"]
        assert before is not None
        os.kill(before, signal.SIGSTOP)
        (found,) = _ended(ledger, 1, EmergencyCourse.RECOVERED)
        (after,) = [each.pid for each in run.supervisor.workers() if each.name == "strategic"]
    assert EmergencyType.SYSTEM_FAILURE is found.event.emergency_type
    assert found.passed(EmergencyCourse.CONTAINED)
    assert after not in {None, before}
    assert ["isolate stage:strategic", "restart strategic", "release strategic"] == [
        f"{each['action']} {each['system']}" for each in found.steps
    ][:3]
