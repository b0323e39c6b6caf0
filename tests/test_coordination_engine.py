"""The coordination engine over real Kafka, with systems in processes of their own."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from pipeline.cascade.coordination import (
    CoordinationFailure,
    CoordinationState,
    MARLCoordinationEngine,
    SyncProtocol,
    SystemState,
)
from pipeline.events import EventBus
from pipeline.packets.codec import decode_as, encode, is_marker
from pipeline.packets.events import CoordinationMessage, MessageType
from pipeline.packets.models import StrategicSignal
from pipeline.run.workers import child_environment
from pipeline.settings import Settings
from tests.kafka_workers import (
    StartWorker,
    as_bytes,
    market_data,
    read_topic,
    run_settings,
    send,
    start_worker,
    wait_until,
)

__all__ = ["run_settings", "start_worker"]

pytestmark = pytest.mark.integration

LIMIT_S = 60.0
StartPeer = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_peer(run_settings: Settings) -> Iterator[StartPeer]:
    """Start systems in processes of their own; none is left at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(system_id: str, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cascade.coordination.peer", system_id, *arguments],
            env=child_environment(run_settings, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert f"ready {system_id}\n" == process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(LIMIT_S)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def engine(run_settings: Settings) -> Iterator[MARLCoordinationEngine]:
    """An engine of this process, on a bus of its own."""
    with EventBus(settings=run_settings) as bus, MARLCoordinationEngine(bus) as made:
        yield made


def messages(settings: Settings, kind: MessageType) -> list[CoordinationMessage]:
    """Return the messages of a type that stand in the topic."""
    values = [as_bytes(each.value()) for each in read_topic(settings, "cascade.coordination")[0]]
    found = [decode_as(value, CoordinationMessage) for value in values if value is not None]
    return [each for each in found if each.message_type is kind]


def test_peers_in_other_processes_answer_by_correlation_id(
    engine: MARLCoordinationEngine, start_peer: StartPeer, run_settings: Settings
) -> None:
    """The decision is made of what live peers answered to that very request."""
    start_peer("tactical", "--decision", "BUY", "--confidence", "0.7")
    start_peer("risk", "--decision", "APPROVE", "--terms", '{"quantity": 5}')
    assert engine.wait_for(["tactical", "risk"], LIMIT_S, answering=True)

    result = engine.coordinate_decision(
        "strategic", "entry_signal", {"signal": "buy", "strength": 0.8, "quantity": 9},
        ["tactical", "risk"], timeout_s=LIMIT_S,
    )  # fmt: skip

    assert (True, "BUY", "APPROVE") == (result.success, result.decision, result.verdict)
    assert {"quantity": 5} == result.terms
    answers = messages(run_settings, MessageType.COORDINATION_RESPONSE)
    assert {("risk", result.coordination_id), ("tactical", result.coordination_id)} == {
        (each.sender_system, each.correlation_id) for each in answers
    }


def test_a_killed_peer_is_disconnected_in_time_and_the_next_decision_fails(
    engine: MARLCoordinationEngine, start_peer: StartPeer
) -> None:
    """After kill -9 no look finds it live over 4 s after its last heartbeat, and nobody decides."""
    peer = start_peer("tactical", "--decision", "BUY")
    assert engine.wait_for(["tactical"], LIMIT_S, answering=True)
    asked = engine.coordinate_decision(
        "strategic", "entry_signal", {"signal": "buy"}, ["tactical"], timeout_s=LIMIT_S
    )
    assert "BUY" == asked.require().decision

    peer.kill()
    samples: list[SystemState] = []

    def long_gone() -> bool:
        samples.append(engine.get_system_states()["tactical"])
        return samples[-1].age_s > 4.5

    wait_until(long_gone, "the age of the last heartbeat to grow", every_s=0.05)
    gone = [each for each in samples if each.age_s > 4.0]
    assert [CoordinationState.DISCONNECTED] * len(gone) == [each.state for each in gone]
    fresh = [each for each in samples if each.age_s < 3.0]
    assert CoordinationState.DISCONNECTED not in {each.state for each in fresh}

    result = engine.coordinate_decision(
        "strategic", "entry_signal", {"signal": "buy"}, ["tactical"], timeout_s=LIMIT_S
    )
    assert (False, "HOLD", CoordinationFailure.TOO_FEW_ANSWERS) == (
        result.success, result.decision, result.failure,
    )  # fmt: skip
    assert "disconnected" in result.missing["tactical"]


def test_a_peer_killed_while_it_is_asked_fails_the_request_before_its_time(
    engine: MARLCoordinationEngine, start_peer: StartPeer, run_settings: Settings
) -> None:
    """Whoever waits for a peer that dies learns it from its silence, not from the time-out."""
    handler = "tests.coordination_handlers:never"
    peer = start_peer("tactical", "--handler", handler)
    assert engine.wait_for(["tactical"], LIMIT_S, answering=True)

    def kill_once_asked() -> None:
        wait_until(lambda: messages(run_settings, MessageType.COORDINATION_REQUEST), "the request")
        peer.kill()

    killer = threading.Thread(target=kill_once_asked)
    killer.start()

    result = engine.coordinate_decision(
        "strategic", "entry_signal", {"signal": "buy"}, ["tactical"], timeout_s=3600.0
    )

    killer.join()
    assert CoordinationFailure.TOO_FEW_ANSWERS is result.failure
    assert {"tactical": "disconnected while it was asked"} == result.missing


def test_an_epoch_is_agreed_on_across_processes(
    engine: MARLCoordinationEngine, start_peer: StartPeer, run_settings: Settings
) -> None:
    """After a reliable synchronisation all announce the epoch, the offset of its request."""
    start_peer("tactical", "--decision", "BUY")
    start_peer("risk", "--decision", "APPROVE")
    assert engine.wait_for(["tactical", "risk"], LIMIT_S)

    result = engine.synchronize(SyncProtocol.RELIABLE_SYNC)

    assert ("", True) == (result.reason, result.success)
    states = engine.get_system_states()
    assert {result.epoch} == {states["tactical"].epoch, states["risk"].epoch}
    request = read_topic(run_settings, "cascade.coordination")[0][result.epoch]
    value = as_bytes(request.value())
    assert value is not None
    assert MessageType.SYNC_REQUEST is decode_as(value, CoordinationMessage).message_type


def test_an_emergency_stops_decisions_everywhere_until_a_synchronisation(
    engine: MARLCoordinationEngine, start_peer: StartPeer, run_settings: Settings
) -> None:
    """Peers refuse requests in an emergency, also those of an engine that joins late."""
    start_peer("tactical", "--decision", "BUY")
    assert engine.wait_for(["tactical"], LIMIT_S, answering=True)

    assert engine.synchronize(SyncProtocol.EMERGENCY_SYNC, reason="drill").epoch >= 0
    assert CoordinationState.EMERGENCY is engine.state
    with EventBus(settings=run_settings) as bus, MARLCoordinationEngine(bus) as late:
        assert late.wait_for(["tactical"], LIMIT_S, answering=True)
        question = ("strategic", "entry_signal", {"signal": "buy"}, ["tactical"])
        refused = late.coordinate_decision(*question, timeout_s=LIMIT_S)
        assert (CoordinationFailure.EMERGENCY, "HOLD") == (refused.failure, refused.decision)

        assert late.synchronize(SyncProtocol.RELIABLE_SYNC).success
        wait_until(lambda: engine.state is CoordinationState.SYNCHRONIZED, "the end of it")
        assert "BUY" == late.coordinate_decision(*question, timeout_s=LIMIT_S).require().decision


def test_a_stage_worker_answers_with_its_policys_last_decision(
    engine: MARLCoordinationEngine, start_worker: StartWorker, run_settings: Settings
) -> None:
    """The built-in worker answers what stands last in its log for the symbol, else abstains."""
    worker = start_worker("strategic", run_settings)
    packets = [market_data("ACME", sequence, run_settings) for sequence in range(60)]
    send(run_settings, "cascade.market", [(b"ACME", encode(each)) for each in packets])
    wait_until(lambda: len(_signals(run_settings)) == len(packets), "all to be decided")
    assert engine.wait_for(["strategic"], LIMIT_S, answering=True)

    result = engine.coordinate_decision(
        "operator", "direction", {"symbol": "ACME"}, ["strategic"], timeout_s=LIMIT_S
    )

    last = _signals(run_settings)[-1]
    assert last.strategic is not None
    answer = result.require().answers["strategic"]
    assert (last.strategic.action, dict(last.strategic.distribution)) == (
        answer.decision, answer.distribution,
    )  # fmt: skip
    assert last.envelope.flow_id == answer.details["flow_id"]
    state = engine.get_system_states()["strategic"]
    assert ("direction", "regime_detection") == state.capabilities
    wait_until(lambda: _success_rate(engine) is not None, "a heartbeat after the decisions")
    assert 1.0 == _success_rate(engine)
    for data in ({}, {"symbol": "OTHER"}):
        silent = engine.coordinate_decision("operator", "direction", data, ["strategic"])
        assert CoordinationFailure.TOO_FEW_ANSWERS is silent.failure
        assert silent.missing["strategic"].startswith("abstained: ")

    assert 0 == worker.stop()
    wait_until(
        lambda: engine.get_system_states()["strategic"].status == "disconnected", "its farewell"
    )


def _success_rate(engine: MARLCoordinationEngine) -> float | None:
    return engine.get_system_states()["strategic"].performance_metrics.get("success_rate")


def _signals(settings: Settings) -> list[StrategicSignal]:
    values = [
        as_bytes(each.value())
        for partition in read_topic(settings, "cascade.strategic").values()
        for each in partition
    ]
    return [
        decode_as(value, StrategicSignal)
        for value in values
        if value is not None and not is_marker(value)
    ]
