"""The SuperpositionCascadeManager on a real Kafka, with real workers."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.cascade import (
    CascadeState,
    FlowOutcome,
    OutcomeKind,
    SuperpositionCascadeManager,
    SuperpositionType,
    whole_round,
)
from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.errors import FlowLimitReached, RoutingError, UsageError
from pipeline.events import EventBus, Received
from pipeline.packets.events import Alert, ControlKind, EmergencyEvent
from pipeline.packets.identity import flow_id
from pipeline.packets.models import ExecutionPlan
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.kafka_workers import (
    MANY_MS,
    StartWorker,
    read_topic,
    run_settings,
    start_worker,
    wait_until,
)

__all__ = ["run_settings", "start_worker"]  # fixtures

STAGES = ("strategic", "tactical", "risk", "execution")


LONG_S = 90.0
UP = {"BUY": 0.9, "HOLD": 0.1}


class Policies:
    """What the callbacks of the cascade do, to be changed by each test; and what they saw."""

    def __init__(self) -> None:
        self.strategic: Any = None
        self.tactical: Any = None
        self.emitted: list[Any] = []
        self.rounds: list[int] = []

    def on_strategic(self, packet: Any) -> Any:
        """Decide as told; a function of one packet."""
        return self.strategic(packet) if self.strategic else UP

    async def on_tactical(self, packet: Any) -> Any:
        """Decide as told; a coroutine function of one packet."""
        return self.tactical(packet) if self.tactical else {"HOLD": 1.0}

    def on_emitted(self, packet: Any) -> None:
        """Note the packet, and fail: that must change nothing."""
        self.emitted.append(packet)
        raise RuntimeError("on purpose")

    @whole_round
    def on_execution(self, packets: Any) -> list[Mapping[str, float]]:
        """Decide on a whole round."""
        self.rounds.append(len(packets))
        return [{"EXECUTE": 1.0} for _ in packets]


class Cascade:
    """A whole cascade in this process."""

    def __init__(self, settings: Settings, policies: Policies) -> None:
        self.settings = settings
        self.policies = policies
        self.bus = EventBus(settings=settings)
        self.manager = SuperpositionCascadeManager(event_bus=self.bus)

    def register(self, name: str) -> None:
        """Register a system."""
        policies = self.policies
        callback = {
            "strategic": policies.on_strategic,
            "tactical": policies.on_tactical,
            "risk": None,
            "execution": policies.on_execution,
        }[name]
        self.manager.register_marl_system(name, f"{name} system", callback, policies.on_emitted)


@pytest.fixture(scope="module")
def whole(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cascade]:
    """A cascade whose four systems are embedded here, that may trade."""
    home = tmp_path_factory.mktemp("manager")
    settings = load_settings(
        broker=kafka, namespace=f"test-{home.parent.name}-{home.name}", home=home,
        cascade_timeout_ms=MANY_MS,
    )  # fmt: skip
    apply_topics(settings, TopicFile.load())
    command = new_command(
        ControlKind.BOOTSTRAP, author="operator", reason="test", clock=WallClock()
    )
    ControlWriter(settings, timeout_s=60.0).issue(command)
    made = Cascade(settings, Policies())
    for name in STAGES:
        made.register(name)
    yield made
    made.manager.shutdown(timeout_s=0.0)
    made.bus.close()


@pytest.fixture
def cascade(whole: Cascade) -> Cascade:
    """The cascade, its policies as at the beginning."""
    policies = whole.policies
    policies.strategic = policies.tactical = None
    policies.emitted.clear()
    policies.rounds.clear()
    return whole


def bar(number: int) -> dict[str, float]:
    """Return bar `number` of a price that wanders."""
    price = 100.0 + (number * 7 % 13) * 0.3 + number * 0.01
    return {
        "open": price, "high": price + 0.5, "low": price - 0.5, "close": price + 0.1,
        "volume": 1000.0,
    }  # fmt: skip


def inject(manager: SuperpositionCascadeManager, number: int, **more: Any) -> str:
    """Inject bar `number`."""
    return manager.inject_superposition(
        packet_type=SuperpositionType.CONTEXT_UPDATE,
        data=bar(number),
        source_system="market_data",
        priority=1,
        **more,
    )


def test_a_flow_goes_through_systems_of_this_process(cascade: Cascade) -> None:
    """Each stage works it off; each emitted packet is told once, though the callback fails."""
    manager = cascade.manager
    wait_until(lambda: manager.state in (CascadeState.READY, CascadeState.FLOWING), "READY")
    told: list[FlowOutcome] = []

    packet_id = inject(manager, 0, on_outcome=told.append)
    outcome = manager.wait_for(packet_id, LONG_S)
    wait_until(lambda: len(cascade.policies.emitted) >= 4, "what was emitted")

    assert (packet_id, OutcomeKind.HELD, "tactical", ("POLICY_HOLD",)) == (
        outcome.packet_id, outcome.kind, outcome.stage, outcome.reasons,
    )  # fmt: skip
    assert [outcome] == told
    emitted = [each.envelope for each in cascade.policies.emitted]
    assert {outcome.flow_id} == {each.flow_id for each in emitted}
    assert sorted(STAGES) == sorted(each.source_system for each in emitted)
    stamp = next(each.policy for each in emitted if each.source_system == "strategic")
    assert "on_strategic" in stamp.name
    assert len(stamp.sha256) == 64
    status = manager.get_cascade_status()
    assert status.metrics.total_packets_processed >= 1
    assert all(each.registered and each.here for each in status.systems.values())
    assert 1.0 == status.metrics.cascade_health_score


def test_a_users_policy_reaches_execution(cascade: Cascade) -> None:
    """A policy of a few lines replaces the tactical agents, and its decisions become orders."""

    def follow_the_signal(packet: Any) -> Mapping[str, float]:
        bias = packet.strategic.signal_strength
        return {"BUY": 0.9, "HOLD": 0.1} if bias > 0.0 else {"HOLD": 1.0}

    cascade.policies.tactical = follow_the_signal
    manager = cascade.manager
    packets = [inject(manager, number, symbol="USER") for number in range(90)]
    outcomes = [manager.wait_for(each, LONG_S) for each in packets]

    executed = [each for each in outcomes if each.executed]
    assert executed, Counter((each.stage, each.reasons) for each in outcomes)
    assert all(each.orders for each in executed)
    assert all(isinstance(each.plan, ExecutionPlan) for each in executed)
    assert cascade.policies.rounds  # the decision on a whole round was asked for, too


def test_a_callback_that_fails_is_retried_and_dead_lettered(cascade: Cascade) -> None:
    """Only the failing packet is lost; it is asked about three times, one after the other."""
    calls: Counter[int] = Counter()
    at_once: list[int] = []
    running = threading.Lock()

    def fail_on_second(packet: Any) -> Mapping[str, float]:
        if not running.acquire(blocking=False):
            at_once.append(packet.envelope.sequence)
        try:
            calls[packet.envelope.sequence] += 1
            if packet.envelope.sequence == 2:
                raise ArithmeticError("on purpose")
            return UP
        finally:
            running.release()

    cascade.policies.strategic = fail_on_second
    manager = cascade.manager
    packets = [inject(manager, n, symbol="FAIL", sequence=n) for n in range(1, 4)]
    first, second, third = [manager.wait_for(each, LONG_S) for each in packets]

    assert [OutcomeKind.HELD] * 2 == [first.kind, third.kind]
    assert (OutcomeKind.DEAD_LETTERED, "strategic", ("POLICY_FAILED",)) == (
        second.kind, second.stage, second.reasons,
    )  # fmt: skip
    assert "on purpose" in second.detail
    assert {1: 1, 2: 3, 3: 1} == calls  # two retries
    assert not at_once
    letters = [
        m for each in read_topic(cascade.settings, "cascade.market.dead").values() for m in each
    ]
    assert 1 == sum(1 for each in letters if second.flow_id in str(each.headers()))


def test_injections_are_told_apart(cascade: Cascade) -> None:
    """Without a number two injections are two flows; a repeated number is a duplicate."""
    manager = cascade.manager
    first, second = inject(manager, 1), inject(manager, 1)
    assert first != second
    assert manager.wait_for(first, LONG_S).flow_id != manager.wait_for(second, LONG_S).flow_id
    once = manager.wait_for(inject(manager, 1, symbol="TWICE", sequence=5), LONG_S)
    again = manager.wait_for(inject(manager, 1, symbol="TWICE", sequence=5), LONG_S)

    assert flow_id("market_data", "TWICE", 5) == once.flow_id == again.flow_id
    assert ("DUPLICATE",) == again.reasons


def test_what_has_no_place_is_refused(cascade: Cascade) -> None:
    """Unknown systems, a second registration, and packets of other stages."""
    manager = cascade.manager
    with pytest.raises(UsageError, match="strategic, tactical, risk, execution"):
        manager.register_marl_system("sentiment", "Sentiment MARL", print, print)
    with pytest.raises(UsageError, match="again"):
        manager.register_marl_system("tactical", "Tactical MARL", print, print)
    with pytest.raises(RoutingError, match="EXECUTION_PLAN"):
        manager.inject_superposition(SuperpositionType.EXECUTION_PLAN, {}, "execution", 1)
    assert 0 == manager.get_cascade_status().flows_in_flight


def test_an_emergency_signal_goes_to_the_emergency_topic(cascade: Cascade) -> None:
    """It is no flow: it stands on cascade.emergency, whatever is in flight."""
    got: list[Received] = []
    cascade.bus.subscribe("cascade.emergency", got.append).ready(30.0)
    data = {
        "emergency_type": "SYSTEM_FAILURE", "emergency_level": "ADVISORY", "description": "drill",
    }  # fmt: skip

    event_id = cascade.manager.inject_superposition(
        SuperpositionType.EMERGENCY_SIGNAL, data, "tactical", 3
    )
    wait_until(lambda: got, "the event")

    assert isinstance(got[0].packet, EmergencyEvent)
    assert event_id == got[0].packet.event_id


def test_no_more_flows_than_allowed_are_in_flight(cascade: Cascade) -> None:
    """At the limit a second manager refuses, until the first flow has ended; so does its timer."""
    free = threading.Event()

    def wait_until_free(packet: Any) -> Mapping[str, float]:
        assert free.wait(60.0)
        return UP

    cascade.policies.strategic = wait_until_free
    refusing = SuperpositionCascadeManager(
        event_bus=cascade.bus, max_concurrent_flows=1, on_limit="refuse"
    )
    blocking = SuperpositionCascadeManager(
        event_bus=cascade.bus, max_concurrent_flows=1, limit_timeout_s=LONG_S
    )
    with refusing, blocking:
        try:
            first = inject(refusing, 1, symbol="LIMIT")
            with pytest.raises(FlowLimitReached):
                inject(refusing, 2, symbol="LIMIT")
            assert (first,) == refusing.shutdown(timeout_s=0.0)
            held = inject(blocking, 3, symbol="LIMIT")
            threading.Timer(0.5, free.set).start()
            then = inject(blocking, 4, symbol="LIMIT")  # waits for the one before
            assert OutcomeKind.HELD is blocking.wait_for(held, 0.0).kind
            assert OutcomeKind.HELD is blocking.wait_for(then, LONG_S).kind
        finally:
            free.set()


def test_a_stage_that_is_gone_is_an_emergency_with_a_way_out(cascade: Cascade) -> None:
    """The state falls and recovers, flows that wait go on, and people are alerted."""
    manager = cascade.manager
    states: list[CascadeState] = []
    alerts: list[Received] = []
    manager.on_state_change(lambda _, after: states.append(after))
    cascade.bus.subscribe("cascade.alerts", alerts.append).ready(30.0)
    wait_until(lambda: manager.state in (CascadeState.READY, CascadeState.FLOWING), "READY")

    manager.unregister_marl_system("execution")
    wait_until(lambda: manager.state is CascadeState.EMERGENCY, "EMERGENCY")
    status = manager.get_cascade_status()
    packet_id = inject(manager, 0, symbol="LATER")
    cascade.register("execution")
    outcome = manager.wait_for(packet_id, LONG_S)
    wait_until(lambda: manager.state in (CascadeState.READY, CascadeState.FLOWING), "recovery")
    wait_until(lambda: len(alerts) >= 2, "both alerts")

    assert "stale" == status.systems["execution"].status
    assert 0.75 >= status.metrics.cascade_health_score
    assert any("execution is stale" in each for each in status.warnings)
    assert OutcomeKind.HELD is outcome.kind
    assert CascadeState.EMERGENCY in states
    assert all(isinstance(each.packet, Alert) for each in alerts)


def test_shutdown_drains_and_ends(run_settings: Settings) -> None:
    """A manager without flows ends at once, says SHUTDOWN, and takes nothing any more."""
    with EventBus(settings=run_settings) as bus:
        manager = SuperpositionCascadeManager(event_bus=bus)
        assert CascadeState.INITIALIZING is manager.get_cascade_status().state
        assert () == manager.shutdown()
        assert CascadeState.SHUTDOWN is manager.get_cascade_status().state
        with pytest.raises(UsageError, match="shut down"):
            inject(manager, 1)
        assert bus.connected


def test_the_built_in_worker_steps_back(run_settings: Settings, start_worker: StartWorker) -> None:
    """While a system is registered its built-in worker leaves the group; then it comes back."""
    worker = start_worker("strategic", run_settings)
    worker.wait_for("took_over")
    asked: list[Any] = []

    def decide(packet: Any) -> Mapping[str, float]:
        asked.append(packet.envelope.sequence)
        return UP

    with EventBus(settings=run_settings) as bus:
        manager = SuperpositionCascadeManager(event_bus=bus)
        assert not manager.get_cascade_status().systems["strategic"].registered
        status = manager.register_marl_system("strategic", "Mine", decide)
        assert (True, True, "Mine") == (status.registered, status.here, status.system_name)
        assert "stepped_back" in worker.log
        first = manager.inject_superposition("CONTEXT_UPDATE", bar(1), symbol="A", sequence=1)
        wait_until(lambda: asked, "the packet at the registered system")
        manager.unregister_marl_system("strategic")
        worker.wait_for("came_back")
        worker.wait_for("took_over", times=2)
        second = manager.inject_superposition("CONTEXT_UPDATE", bar(2), symbol="A", sequence=2)
        wait_until(
            lambda: sum(map(len, read_topic(run_settings, "cascade.strategic").values())) >= 14,
            "three markers of four partitions and two records",
        )
        assert (first, second) == manager.shutdown(timeout_s=0.0)  # nobody executes here
    assert [1] == asked


def test_the_one_liner_looks_at_the_cascade_that_runs(cascade: Cascade, tmp_path: Path) -> None:
    """Importing connects to nothing; the first question attaches, or says that none runs."""
    code = (
        "from pipeline.cascade import SuperpositionCascadeManager, cascade_manager;"
        "import sys; assert 'faust' not in sys.modules, 'faust';"
        "print(cascade_manager.get_cascade_status())"
    )
    environment = {
        "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1]),
        "CASCADE_HOME": str(tmp_path), "CASCADE_NAMESPACE": cascade.settings.namespace,
    }  # fmt: skip
    command = [sys.executable, "-c", code]
    with_broker = {**environment, "CASCADE_BROKER": str(cascade.settings.broker)}
    found = subprocess.run(
        command, env=with_broker, capture_output=True, text=True, timeout=90, check=False
    )
    assert "READY" in found.stdout, found.stderr
    without = {**environment, "CASCADE_BROKER": "127.0.0.1:1"}
    absent = subprocess.run(
        command, env=without, capture_output=True, text=True, timeout=90, check=False
    )
    assert "Expected a Kafka broker at 127.0.0.1:1" in absent.stderr
    assert 1 == absent.returncode
