"""EmergencyCascadeProtocols as its users see it, on real Kafka; no worker is needed for that."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.cascade.emergency import EmergencyCascadeProtocols
from pipeline.control.log import fold
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.events import EventBus
from pipeline.packets.events import (
    EmergencyCourse,
    EmergencyLevel,
    EmergencyType,
    RecoveryAction,
    TradingState,
)
from pipeline.settings import Settings, load_settings
from tests.cluster import prepare, variables
from tests.kafka_workers import wait_until


@pytest.fixture
def settings(kafka_settings: Settings) -> Settings:
    """Settings of a namespace with topics, where trading is allowed and nobody works."""
    prepare(kafka_settings)
    return kafka_settings


@pytest.fixture
def bus(settings: Settings) -> Iterator[EventBus]:
    """A connection."""
    with EventBus(settings=settings) as bus:
        yield bus


@pytest.fixture
def protocols(bus: EventBus) -> Iterator[EmergencyCascadeProtocols]:
    """The component, with all the arguments of the specification."""
    with EmergencyCascadeProtocols(
        event_bus=bus, cascade_manager=None, coordination_engine=None, validation_framework=None
    ) as protocols:
        yield protocols


def _failure(protocols: EmergencyCascadeProtocols, level: EmergencyLevel) -> str:
    return protocols.declare_emergency(
        emergency_type=EmergencyType.SYSTEM_FAILURE,
        emergency_level=level,
        source_system="tactical",
        affected_systems=["tactical"],
        description="System failure detected",
    )


def test_a_critical_failure_of_tactical_isolates_tactical(
    protocols: EmergencyCascadeProtocols, settings: Settings
) -> None:
    """The control log has it, the status tells it, and the end takes it back."""
    emergency_id = _failure(protocols, EmergencyLevel.CRITICAL)
    assert {"tactical"} == fold(settings).fences.fences.stages
    status = protocols.get_emergency_status()
    (active,) = status.active_emergencies
    assert (emergency_id, EmergencyCourse.CONTAINED) == (active.event_id, active.course)
    assert (RecoveryAction.ISOLATE_SYSTEM,) == active.recovery_actions
    assert ("isolated", "EMERGENCY") == (status.system_health["tactical"], status.cascade_state)
    assert status.trading_state is TradingState.ACTIVE
    assert json.loads(json.dumps(status.to_dict()))["active_emergencies"]

    protocols.acknowledge_emergency(emergency_id, author="alice")
    protocols.resolve_emergency(emergency_id, author="operator", note="mended")
    assert frozenset() == fold(settings).fences.fences.stages
    after = protocols.get_emergency_status()
    assert () == after.active_emergencies
    assert after.last_recovery_time is not None
    assert [
        EmergencyCourse.DECLARED,
        EmergencyCourse.CONTAINED,
        EmergencyCourse.ACKNOWLEDGED,
        EmergencyCourse.RESOLVED,
    ] == [each.course for each in protocols.get_emergency(emergency_id).history]


def test_another_component_sees_the_same(
    protocols: EmergencyCascadeProtocols, settings: Settings
) -> None:
    """The course stands on Kafka, not in the component that declared it."""
    emergency_id = _failure(protocols, EmergencyLevel.WARNING)
    with EventBus(settings=settings) as bus, EmergencyCascadeProtocols(bus) as other:
        (seen,) = other.get_emergency_status().active_emergencies
        assert emergency_id == seen.event_id
        other.resolve_emergency(emergency_id)
    assert () == protocols.get_emergency_status().active_emergencies
    assert frozenset() == fold(settings).fences.fences.breakers


def test_a_plan_recovers_what_it_is_seen_to_recover(
    protocols: EmergencyCascadeProtocols, settings: Settings
) -> None:
    """A plan that releases tactical ends with tactical released; an unknown step is no plan."""
    emergency_id = _failure(protocols, EmergencyLevel.CRITICAL)
    with pytest.raises(UsageError, match="registered action"):
        protocols.create_recovery_plan(
            emergency_id, [{"action": "pray", "system": "tactical"}], ["released tactical"]
        )
    plan = protocols.create_recovery_plan(
        emergency_id,
        [{"action": "release", "system": "tactical", "timeout": 5.0}],
        ["released tactical"],
    )
    result = protocols.execute_recovery_plan(plan)
    assert (True, ("tactical is not isolated",)) == (
        result.succeeded,
        tuple(each.seen for each in result.findings.values()),
    )
    assert frozenset() == fold(settings).fences.fences.stages
    course = protocols.get_emergency(emergency_id).event.course
    assert course is EmergencyCourse.RECOVERED


def test_contacts_are_told_and_one_in_the_dark_holds_up_nobody(
    protocols: EmergencyCascadeProtocols,
) -> None:
    """Status names who was told; the unreachable one is none of them."""
    protocols.add_emergency_contact(
        name="System Administrator", contact_info="admin@example.com", contact_type="email"
    )
    protocols.remove_emergency_contact("System Administrator")  # nobody mails from a test
    protocols.add_emergency_contact("dark", "http://127.0.0.1:1/", "webhook")
    protocols.add_emergency_contact("journal", "emergencies", "log")
    _failure(protocols, EmergencyLevel.CAUTION)
    wait_until(
        lambda: ("journal",) == protocols.get_emergency_status().emergency_contacts_notified,
        "the journal to be told",
    )
    with pytest.raises(UsageError):
        protocols.add_emergency_contact("nobody", "nowhere", "email")


def test_settings_and_arguments_have_their_effect(settings: Settings) -> None:
    """Arguments come before settings; contacts of the settings are taken; nonsense is refused."""
    given = load_settings(
        broker=settings.broker,
        emergency={
            "response_timeout": 7.0,
            "recovery_attempts": 2,
            "emergency_contacts": [{"name": "journal", "contact": "x", "type": "log"}],
        },
    )
    with EventBus(settings=given) as bus:
        with EmergencyCascadeProtocols(bus) as protocols:
            assert (7.0, 2) == (protocols.response_timeout, protocols.recovery_attempts)
            assert ["journal"] == [each.name for each in protocols.emergency_contacts]
        with EmergencyCascadeProtocols(bus, response_timeout=1.5, recovery_attempts=5) as other:
            assert (1.5, 5) == (other.response_timeout, other.recovery_attempts)
        with pytest.raises(UsageError, match="response_timeout"):
            EmergencyCascadeProtocols(bus, response_timeout=0.0)


@pytest.mark.parametrize("change", [{"emergency_type": "FIRE"}, {"emergency_level": "LOUD"}])
def test_what_there_is_not_is_refused(
    protocols: EmergencyCascadeProtocols, change: dict[str, str]
) -> None:
    """The error names what there is."""
    given: dict[str, Any] = {
        "emergency_type": "SYSTEM_FAILURE", "emergency_level": "CRITICAL", **change,
    }  # fmt: skip
    with pytest.raises(UsageError, match="Expected one of"):
        protocols.declare_emergency(
            source_system="x", affected_systems=[], description="x", **given
        )
    with pytest.raises(UsageError, match="id of an emergency"):
        protocols.resolve_emergency("no-such-id")


def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    """Making it connects to nothing; the first call fails within the time-out."""
    settings = load_settings(broker="127.0.0.1:1", home=tmp_path)
    with (
        closing(EventBus(settings=settings, connect_timeout_s=1.0)) as bus,
        EmergencyCascadeProtocols(bus) as protocols,
        pytest.raises(BrokerUnavailable),
    ):
        protocols.get_emergency_status()


def test_the_diagnostic_one_liner_prints_the_status(settings: Settings) -> None:
    """As in the specification, in a process of its own."""
    code = "from pipeline.cascade import *; print(emergency_protocols.get_emergency_status())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**variables(settings), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr[-2000:]
    assert done.stdout.startswith("EmergencyStatus(")
