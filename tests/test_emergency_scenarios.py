"""Emergencies on real Kafka, with workers in processes of their own: fenced off, nothing lost."""

import time
import uuid
from collections.abc import Iterator, Sequence

import pytest

from pipeline.cascade.emergency import EmergencyCascadeProtocols
from pipeline.emergency.commands import Commander
from pipeline.emergency.ledger import Emergency
from pipeline.events import EventBus
from pipeline.packets.codec import decode, encode, is_marker
from pipeline.packets.events import (
    ControlKind,
    EmergencyCourse,
    EmergencyLevel,
    EmergencyType,
    TradingState,
)
from pipeline.packets.models import ExecutionPlan, StrategicSignal, TacticalSignal
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import Settings, load_settings
from tests.cluster import PATIENT_MS, prepare, running_cluster
from tests.kafka_workers import (
    StartWorker,
    as_bytes,
    market_data,
    read_topic,
    send,
    start_worker,
    wait_until,
)

__all__ = ["start_worker"]  # a fixture

_WARM = 50


@pytest.fixture(scope="module")
def cluster(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A cluster of this module's own."""
    settings = _settings(kafka, tmp_path_factory)
    with running_cluster(settings):
        yield settings


@pytest.fixture
def apart(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a cascade whose workers the test itself starts."""
    settings = _settings(kafka, tmp_path_factory)
    prepare(settings)
    return settings


@pytest.fixture(scope="module")
def bus(cluster: Settings) -> Iterator[EventBus]:
    """A connection to the cluster."""
    with EventBus(settings=cluster) as bus:
        yield bus


@pytest.fixture
def protocols(bus: EventBus) -> Iterator[EmergencyCascadeProtocols]:
    """Emergency protocols that are told of all that is left over."""
    with EmergencyCascadeProtocols(bus) as protocols:
        yield protocols
        for each in protocols.get_emergency_status().active_emergencies:
            protocols.resolve_emergency(each.event_id)


def _settings(kafka: str, folders: pytest.TempPathFactory) -> Settings:
    return load_settings(
        broker=kafka,
        namespace=f"test-{uuid.uuid4().hex[:10]}",
        home=folders.mktemp("home"),
        cascade_timeout_ms=PATIENT_MS,
    )


def _publish(settings: Settings, symbol: str, numbers: range, **changes: int) -> list[str]:
    """Publish market data; return the flow ids."""
    packets = [market_data(symbol, number, settings, **changes) for number in numbers]
    send(settings, "cascade.market", [(symbol.encode(), encode(each)) for each in packets])
    return [each.envelope.flow_id for each in packets]


def _records(
    settings: Settings, stage: str
) -> Sequence[ExecutionPlan | TacticalSignal | StrategicSignal]:
    """Return the packets that stand in a stage's log, by partition and offset."""
    values = [
        value
        for messages in read_topic(settings, f"cascade.{stage}").values()
        for message in messages
        if not is_marker(value := as_bytes(message.value()))
    ]
    return [each for each in map(decode, values) if hasattr(each, "envelope")]  # type: ignore[misc]


def _flows(settings: Settings, stage: str) -> list[str]:
    return [each.envelope.flow_id for each in _records(settings, stage)]


def _wait_for(settings: Settings, stage: str, flows: Sequence[str]) -> None:
    """Wait until all flows have their record in a stage's log."""
    wanted = set(flows)
    wait_until(lambda: wanted <= set(_flows(settings, stage)), f"{len(flows)} flows at {stage}")


def _declare(
    protocols: EmergencyCascadeProtocols, level: EmergencyLevel, *affected: str
) -> Emergency:
    event_id = protocols.declare_emergency(
        EmergencyType.SYSTEM_FAILURE, level, "test", affected, "provoked by a test"
    )
    return protocols.get_emergency(event_id)


def test_an_isolated_stage_loses_nothing_and_sends_nothing_stale(
    cluster: Settings, protocols: EmergencyCascadeProtocols
) -> None:
    """While tactical is fenced off its backlog stays in Kafka, and strategic goes on.

    After the release every packet has one outcome, in order; what is late is expired by tactical.
    """
    warm = _publish(cluster, "ISO", range(_WARM))
    _wait_for(cluster, "execution", warm)

    emergency = _declare(protocols, EmergencyLevel.CRITICAL, "tactical")
    assert emergency.event.course is EmergencyCourse.CONTAINED, emergency.event.note
    before = _flows(cluster, "tactical")
    # Long enough to be through the stage before on a busy machine.
    late_at_us = time.time_ns() // 1000 + 8_000_000
    late = _publish(cluster, "ISO", range(_WARM, _WARM + 5), deadline=late_at_us)
    kept = _publish(cluster, "ISO", range(_WARM + 5, _WARM + 15))
    _wait_for(cluster, "strategic", [*late, *kept])
    wait_until(lambda: time.time_ns() // 1000 > late_at_us, "the deadline to pass")
    status = protocols.get_emergency_status()
    assert before == _flows(cluster, "tactical")
    assert ("isolated", "active") == (
        status.system_health["tactical"],
        status.system_health["strategic"],
    )
    assert "EMERGENCY" == status.cascade_state

    (undone,) = protocols.resolve_emergency(emergency.event.event_id)
    assert undone.done, undone.detail
    _wait_for(cluster, "execution", [*late, *kept])
    ended = [each for each in _records(cluster, "execution") if each.envelope.symbol == "ISO"]
    assert [*warm, *late, *kept] == [each.envelope.flow_id for each in ended]
    outcomes = {each.envelope.flow_id: each.envelope.outcome for each in ended}
    assert {("expired", "tactical", ("DEADLINE",))} == {
        (found.kind, found.stage, found.reasons) for each in late if (found := outcomes[each])
    }
    assert all(outcomes[each] for each in kept)
    assert OutcomeKind.EXPIRED not in {found.kind for each in kept if (found := outcomes[each])}


def test_an_isolated_symbol_is_rejected_while_others_pass(cluster: Settings, bus: EventBus) -> None:
    """Its packets end at the first stage; other symbols notice nothing."""
    with Commander(bus) as commander:
        given = commander.give(
            ControlKind.ISOLATE, "symbol:ODD", author="operator", reason="odd prices"
        )
        assert given.in_force, str(given)
        odd, even = _publish(cluster, "ODD", range(5)), _publish(cluster, "EVEN", range(5))
        _wait_for(cluster, "execution", [*odd, *even])
        given = commander.give(
            ControlKind.RELEASE, "symbol:ODD", author="operator", reason="odd no more"
        )
        assert given.in_force, str(given)
        after = _publish(cluster, "ODD", range(5, 8))
        _wait_for(cluster, "execution", after)
    outcomes = {
        each.envelope.flow_id: each.envelope.outcome for each in _records(cluster, "execution")
    }
    reasons = {
        name: {found.reasons for each in flows if (found := outcomes[each])}
        for name, flows in (("odd", odd), ("even", even), ("after", after))
    }
    assert {"odd": {("ISOLATED",)}, "even": {("WARMUP",)}, "after": {("WARMUP",)}} == reasons


def test_an_emergency_halts_all_and_its_end_resumes(
    protocols: EmergencyCascadeProtocols, bus: EventBus
) -> None:
    """At level EMERGENCY every worker obeys the halt; resolved, trading is ACTIVE again."""
    emergency = _declare(protocols, EmergencyLevel.EMERGENCY, "risk")
    assert emergency.event.course is EmergencyCourse.CONTAINED, emergency.event.note
    status = protocols.get_emergency_status()
    assert status.trading_state is TradingState.HALTED
    assert "isolated" == status.system_health["risk"]
    undone = protocols.resolve_emergency(emergency.event.event_id)
    assert all(each.done for each in undone), undone
    after = protocols.get_emergency_status()
    assert after.trading_state is TradingState.ACTIVE
    assert "active" == after.system_health["risk"]
    assert after.last_recovery_time is not None
    with Commander(bus) as commander:
        halted = commander.give(ControlKind.HALT, author="operator", reason="test")
        assert {"strategic", "tactical", "risk", "execution", "gateway"} == {
            each.stage for each in halted.acknowledgements
        }
        assert {TradingState.HALTED} == {each.trading_state for each in halted.acknowledgements}
        resumed = commander.give(
            ControlKind.RESUME, author="operator", reason="test", lifts_epoch=halted.epoch
        )
        assert resumed.in_force, str(resumed)


def test_a_worker_that_was_killed_starts_isolated(
    apart: Settings, start_worker: StartWorker
) -> None:
    """A new worker of an isolated stage works nothing off until the release, and then all."""
    start_worker("strategic", apart).wait_for("took_over")
    tactical = start_worker("tactical", apart)
    tactical.wait_for("took_over")
    with EventBus(settings=apart) as bus, Commander(bus) as commander:
        given = commander.give(
            ControlKind.ISOLATE, "stage:tactical", author="operator", reason="test"
        )
        assert given.in_force, str(given)
        assert ["tactical"] == [each.stage for each in given.acknowledgements]
        tactical.kill()
        restarted = start_worker("tactical", apart)
        restarted.wait_for("took_over")
        flows = _publish(apart, "AAPL", range(8))
        _wait_for(apart, "strategic", flows)
        restarted.wait_for("isolated stage=tactical")
        assert [] == _flows(apart, "tactical")
        given = commander.give(
            ControlKind.RELEASE, "stage:tactical", author="operator", reason="test"
        )
        assert restarted.process.poll() is None
        _wait_for(apart, "tactical", flows)
    assert flows == _flows(apart, "tactical")
