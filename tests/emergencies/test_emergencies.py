"""Each of the nine types of emergency, by a real fault: detected, contained, ended.

A fault that nobody but its cause can end (a feed that sends rubbish, a network that is away) is
ended by the test once the emergency is contained; all others the plan must mend.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.cascade import MARLCoordinationEngine
from pipeline.packets.events import EmergencyCourse, EmergencyType, TradingState
from tests.emergencies.rig import EmergencyRig
from tests.emergencies.verdict import Verdict
from tests.kafka_workers import send

pytestmark = pytest.mark.timeout(300)

_CLEAN_UP_S = 10.0


@contextmanager
def _repeating(act: object, pause_s: float) -> Iterator[None]:
    """Do something again and again, for as long as the block lasts."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(pause_s):
            act()  # type: ignore[operator]  # called by nobody else

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_CLEAN_UP_S)


def test_system_failure(rig: EmergencyRig, verdict: Verdict) -> None:
    """A worker that hangs is fenced off, restarted, and let back in."""
    verdict.begin()
    rig.signal("tactical", signal.SIGSTOP)
    verdict.give(EmergencyType.SYSTEM_FAILURE, "SIGSTOP of the tactical worker")
    status = rig.protocols.get_emergency_status()
    assert "active" == status.system_health["tactical"]


def test_cascade_breakdown(rig: EmergencyRig, verdict: Verdict) -> None:
    """A stage in a deadlock, whose heart beats on: orders are halted, the stage restarted."""
    verdict.begin()
    with rig.faulty("wedge"):
        verdict.give(EmergencyType.CASCADE_BREAKDOWN, "deadlock in the tactical worker")
    status = rig.protocols.get_emergency_status()
    assert status.trading_state is TradingState.HALTED, "Expected a halt to stay for people"


def test_performance_degradation(rig: EmergencyRig, verdict: Verdict) -> None:
    """A worker that has become slow is replaced by a standby, which is not."""
    verdict.begin()
    with rig.faulty("slow"):
        found = verdict.give(
            EmergencyType.PERFORMANCE_DEGRADATION, "100 ms for each packet in the tactical worker"
        )
    assert "reroute tactical" in found.actions
    assert any(each.name.startswith("tactical-standby") for each in rig.run.supervisor.workers())


def test_security_breach(rig: EmergencyRig, verdict: Verdict) -> None:
    """A record in a stage's log that its owner has not written: all stops, people are called."""
    verdict.begin()
    send(rig.settings, "cascade.tactical", [(b"ACME", b"written by a stranger")])
    verdict.give(
        EmergencyType.SECURITY_BREACH,
        "a stranger's record in the log of tactical",
        EmergencyCourse.ESCALATED,
    )
    status = rig.protocols.get_emergency_status()
    assert status.trading_state is TradingState.HALTED
    assert "isolated" == status.system_health["tactical"]


def test_data_corruption(rig: EmergencyRig, verdict: Verdict) -> None:
    """A feed that sends rubbish is fenced off until it sends packets again."""
    verdict.begin()
    rubbish = [(b"ACME", b"\xc3\x01 no packet")] * 5
    with _repeating(lambda: send(rig.settings, "cascade.market", rubbish), 0.1):
        verdict.contained(EmergencyType.DATA_CORRUPTION)
        assert "market" in rig.protocols._live.control().fences.fences.sources
    verdict.give(EmergencyType.DATA_CORRUPTION, "50 records a second that are no packets")


def test_network_partition(rig: EmergencyRig, verdict: Verdict) -> None:
    """Two workers cut off from the broker: trading is reduced until both are heard of again."""
    verdict.begin()
    for proxy in rig.proxies.values():
        proxy.refusing = True
        proxy.cut()
    verdict.contained(EmergencyType.NETWORK_PARTITION)
    for proxy in rig.proxies.values():
        proxy.reset()
    verdict.give(EmergencyType.NETWORK_PARTITION, "risk and execution cut off from the broker")


def test_resource_exhaustion(rig: EmergencyRig, verdict: Verdict) -> None:
    """A worker whose memory grows is restarted."""
    verdict.begin()
    with rig.faulty("leak"):
        found = verdict.give(EmergencyType.RESOURCE_EXHAUSTION, "the tactical worker leaks 500 MiB")
    assert "restart tactical" in found.actions


def test_coordination_failure(rig: EmergencyRig, verdict: Verdict) -> None:
    """A system that does not answer: trading is reduced until it does again."""
    broken = threading.Event()

    def desk(request: object) -> str:
        del request
        if broken.is_set():
            raise RuntimeError("the desk is out of order")
        return "HOLD"

    with MARLCoordinationEngine(event_bus=rig.bus) as engine:
        engine.register_marl_system("desk", "Trading desk", capabilities=["veto"])
        engine.on_request("desk", desk)
        ask = lambda: engine.coordinate_decision(  # noqa: E731  # the question of this test
            "strategic", "entry_signal", {"signal": "buy", "symbol": "ACME"}, ["desk"],
            timeout_s=0.5,
        )  # fmt: skip
        with _repeating(ask, 0.1):
            verdict.begin()
            broken.set()
            verdict.contained(EmergencyType.COORDINATION_FAILURE)
            broken.clear()
            verdict.give(EmergencyType.COORDINATION_FAILURE, "a system's handler fails")


def test_validation_failure(rig: EmergencyRig, verdict: Verdict) -> None:
    """A policy whose packets break rules is taken out: its stage holds every packet."""
    verdict.begin()
    with rig.faulty("invalid"):
        found = verdict.give(
            EmergencyType.VALIDATION_FAILURE, "tactical states wrong probabilities"
        )
    assert "fall_back tactical" in found.actions
    status = rig.protocols.get_emergency_status()
    assert "degraded" == status.system_health["tactical"]
