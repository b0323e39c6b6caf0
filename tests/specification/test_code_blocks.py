"""The specification's Python runs as it stands there, against a real cascade on a real Kafka.

Only import paths are changed (`blocks.PATHS`), and only names that a block leaves undefined are
supplied. What the calls return is asserted here.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.cascade import (
    CascadePerformanceMonitor,
    CascadeState,
    CascadeValidationFramework,
    EmergencyCascadeProtocols,
    EmergencyLevel,
    EmergencyType,
    MARLCoordinationEngine,
    SuperpositionCascadeManager,
    SuperpositionType,
    ValidationRule,
    ValidationType,
)
from pipeline.coordination import Answer, CoordinationRequest
from pipeline.events import EventBus
from pipeline.packets.models import MarketData, StrategicSignal
from pipeline.rules import RuleSet
from pipeline.settings import Settings
from tests.cluster import cluster, variables
from tests.kafka_workers import market_data as real_packet
from tests.kafka_workers import run_settings, wait_until
from tests.specification.blocks import ROOT, block

__all__ = ["cluster", "run_settings"]

STAGES = {"strategic", "tactical", "risk", "execution"}


@pytest.fixture
def event_bus(cluster: Settings) -> Iterator[EventBus]:
    """The connection of the components under test."""
    with EventBus(settings=cluster) as bus:
        yield bus


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """What is to be ended after the test, last first."""
    with ExitStack() as stack:
        yield stack


def run(heading: str, **supplied: Any) -> dict[str, Any]:
    """Execute a block with the names it leaves undefined; return all names after it."""
    names: dict[str, Any] = {"__name__": "specification", **supplied}
    exec(compile(block(heading, "python"), heading, "exec"), names)  # noqa: S102  # the point of it
    return names


def test_superposition_cascade_manager(event_bus: EventBus, closing: ExitStack) -> None:
    """A registered system decides; an injected packet gets an id and comes to an end."""
    decided: list[MarketData] = []
    emitted: list[StrategicSignal] = []

    def strategic_processor(packet: MarketData) -> dict[str, float]:
        decided.append(packet)
        return {"BUY": 0.7, "HOLD": 0.3}

    bar = {"open": 100, "high": 101, "low": 99, "close": 100.5, "volume": 1e5}
    names = run(
        "1. SuperpositionCascadeManager",
        event_bus=event_bus,
        strategic_processor=strategic_processor,
        strategic_output_handler=emitted.append,
        SuperpositionType=SuperpositionType,
        market_data=bar,
    )
    manager = names["cascade_manager"]
    closing.callback(manager.shutdown)

    outcome = manager.wait_for(names["packet_id"], 60.0)
    assert names["packet_id"] == outcome.packet_id
    wait_until(lambda: emitted, "the packet at the output handler")
    assert [outcome.flow_id] == [packet.envelope.flow_id for packet in emitted]

    def in_time() -> list[StrategicSignal]:
        """Return what was decided; a busy machine lets packets expire within 100 ms, so try on."""
        if not any(signal.strategic for signal in emitted):
            again = manager.inject_superposition("CONTEXT_UPDATE", bar, "market_data")
            manager.wait_for(again, 60.0)
        return [signal for signal in emitted if signal.strategic]

    wait_until(in_time, "a decision")
    signal = in_time()[0]
    assert signal.envelope.flow_id in {packet.envelope.flow_id for packet in decided}
    assert signal.strategic is not None
    assert 0.7 == signal.strategic.distribution["BUY"]
    status = manager.get_cascade_status()
    assert STAGES == set(status.systems)
    assert status.systems["strategic"].here
    assert 100 == status.max_concurrent_flows
    deadline = decided[0].envelope.deadline - decided[0].envelope.accepted_at
    assert 100_000 == deadline


def test_marl_coordination_engine(run_settings: Settings, closing: ExitStack) -> None:
    """A decision is coordinated with the live systems that the block names.

    Built-in workers have an opinion on symbols, and the specification names none; so the systems
    are those of another engine, in a namespace without workers.
    """
    bus = closing.enter_context(EventBus(settings=run_settings))
    peers = closing.enter_context(MARLCoordinationEngine(event_bus=bus))
    for system_id, says in (("tactical", "BUY"), ("risk", "APPROVE"), ("execution", "BUY")):
        peers.register_marl_system(system_id, system_id)
        peers.on_request(system_id, partial(_answer, Answer(decision=says, confidence=0.9)))

    names = run("2. MARLCoordinationEngine", event_bus=bus)
    engine = names["coordination_engine"]
    closing.callback(engine.close)

    result = names["result"]
    assert (True, "BUY") == (result.success, result.decision), result
    assert {"tactical", "risk", "execution"} == set(result.answers)
    assert (1.0, 10.0) == (engine.heartbeat_interval, engine.sync_timeout)
    registered = engine.get_system_states()["tactical"]
    assert {"signal_generation", "timing_optimization"} <= set(registered.capabilities)


def _answer(answer: Answer, _: CoordinationRequest) -> Answer:
    return answer


def test_without_answers_a_decision_fails(event_bus: EventBus, closing: ExitStack) -> None:
    """The same block without anybody who has an opinion fails explicitly, and means hold."""
    names = run("2. MARLCoordinationEngine", event_bus=event_bus)
    closing.callback(names["coordination_engine"].close)
    result = names["result"]
    assert (False, "HOLD") == (result.success, result.decision)
    assert {"tactical", "risk", "execution"} == set(result.missing)


def test_cascade_performance_monitor(
    event_bus: EventBus, cluster: Settings, closing: ExitStack
) -> None:
    """A packet that is reported by hand is measured; metrics and report say so."""
    packet = real_packet("SPEC", 1, cluster)
    names = run(
        "3. CascadePerformanceMonitor",
        event_bus=event_bus,
        packet=packet,
        packet_id=packet.envelope.packet_id,
    )
    monitor = names["performance_monitor"]
    closing.callback(monitor.close)

    metrics, report = names["metrics"], names["report"]
    assert (100.0, 0.1) == (monitor.target_end_to_end_latency_ms, monitor.sampling_interval)
    assert 1 <= metrics.packets
    assert metrics.latency.end_to_end_ms is not None
    assert "strategic" in metrics.latency.systems
    assert metrics.latency_verdict in {"met", "missed"}
    assert report.end_to_end_latency_ms is not None
    assert report.performance_score is not None
    trace = monitor.get_packet_trace(packet.envelope.packet_id)
    assert ["strategic"] == [each.system for each in trace.systems]


def test_cascade_validation_framework(
    event_bus: EventBus, cluster: Settings, closing: ExitStack
) -> None:
    """A good packet passes, the cascade is validated, and a rule can be written by subclass."""
    packet = real_packet("SPEC", 2, cluster)
    names = run(
        "4. CascadeValidationFramework",
        event_bus=event_bus,
        packet=packet,
        ValidationRule=ValidationRule,
        validation_results=[],
    )
    framework = names["validation_framework"]
    closing.callback(framework.close)

    assert (5.0, 30.0) == (framework.validation_interval, framework.deep_validation_interval)
    assert names["results"]
    assert all(result.passed for result in names["results"])
    report = names["report"]
    assert 0 < report.summary["rules_run"]
    assert report.summary["passed"] <= report.summary["rules_run"]
    assert report.cascade_integrity_score is not None
    rule = framework.add_rule(names["CustomValidationRule"])
    mine = [each for each in framework.validate_packet(packet) if each.rule_id == rule.rule_id]
    assert [True] == [each.passed for each in mine]


def test_emergency_cascade_protocols(event_bus: EventBus, closing: ExitStack) -> None:
    """A declared system failure isolates the system, and the status says so."""
    manager = SuperpositionCascadeManager(event_bus=event_bus)
    closing.callback(manager.shutdown)
    names = run(
        "5. EmergencyCascadeProtocols",
        event_bus=event_bus,
        cascade_manager=manager,
        coordination_engine=closing.enter_context(MARLCoordinationEngine(event_bus=event_bus)),
        validation_framework=closing.enter_context(CascadeValidationFramework(event_bus=event_bus)),
        EmergencyType=EmergencyType,
        EmergencyLevel=EmergencyLevel,
    )
    protocols = names["emergency_protocols"]
    closing.callback(protocols.close)

    status = protocols.get_emergency_status()
    assert [names["emergency_id"]] == [each.event_id for each in status.active_emergencies]
    assert "isolated" == status.system_health["tactical"]
    assert ["System Administrator"] == [each.name for each in protocols.emergency_contacts]
    protocols.resolve_emergency(names["emergency_id"], author="operator")
    status = protocols.get_emergency_status()
    assert () == status.active_emergencies
    assert "isolated" != status.system_health["tactical"]


def test_integration_example(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch, closing: ExitStack
) -> None:
    """All five components stand on one bus that found the broker by the environment."""
    for name, text in variables(cluster).items():
        monkeypatch.setenv(name, text)
    names = run("Integration Example")
    closing.callback(names["event_bus"].close)
    kinds = {
        "cascade_manager": SuperpositionCascadeManager,
        "coordination_engine": MARLCoordinationEngine,
        "performance_monitor": CascadePerformanceMonitor,
        "validation_framework": CascadeValidationFramework,
        "emergency_protocols": EmergencyCascadeProtocols,
    }
    for name, kind in kinds.items():
        assert isinstance(names[name], kind)
        closing.callback(getattr(names[name], "close", None) or names[name].shutdown)

    wait_until(
        lambda: names["cascade_manager"].get_cascade_status().state is CascadeState.READY,
        "a cascade that is READY",
    )
    assert names["coordination_engine"].wait_for(STAGES, 30.0)
    assert () == names["emergency_protocols"].get_emergency_status().active_emergencies


def _diagnostics() -> list[str]:
    lines = block("Diagnostic Commands", "bash").splitlines()
    return [line for line in lines if line.startswith("python ")]


def _call(line: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the specification with this Python, in a folder of its own."""
    program, *arguments = shlex.split(line)
    assert "python" == program
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("get_cascade_status", "CascadeState.READY"),
        ("get_real_time_metrics", "RealTimeMetrics("),
        ("run_comprehensive_validation", "cascade_integrity_score="),
        ("get_emergency_status", "active_emergencies=()"),
    ],
)
def test_diagnostic_commands(call: str, says: str, cluster: Settings, tmp_path: Path) -> None:
    """Each one-liner of the specification attaches to the cascade that runs, and says how it is."""
    (line,) = [each for each in _diagnostics() if call in each]
    done = _call(line, tmp_path, variables(cluster))
    assert (0, "") == (done.returncode, "" if done.returncode == 0 else done.stderr)
    assert says in done.stdout


@pytest.mark.parametrize("line", _diagnostics())
def test_diagnostic_commands_without_a_cascade(line: str, tmp_path: Path) -> None:
    """Where no broker runs, each one-liner ends with an error that says so."""
    done = _call(line, tmp_path, {"CASCADE_BROKER": "127.0.0.1:1", "CASCADE_HOME": str(tmp_path)})
    assert 0 != done.returncode
    assert "BrokerUnavailable" in done.stderr


def test_the_diagnostic_commands_are_four() -> None:
    """The specification's one-liners were found, so the tests above are about all of them."""
    assert 4 == len(_diagnostics())


def test_rules_stay_as_they_were() -> None:
    """What a test added to a framework is in no other."""
    assert not [rule for rule in RuleSet() if "custom" in rule.rule_id]
    assert ValidationType.DATA_INTEGRITY in {rule.validation_type for rule in RuleSet()}
