"""The coordination engine, over topics in memory; every engine stands for a process."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.cascade.coordination import (
    Abstention,
    ConflictKind,
    ConflictStrategy,
    CoordinationFailed,
    CoordinationFailure,
    CoordinationResult,
    CoordinationState,
    MARLCoordinationEngine,
    SyncProtocol,
)
from pipeline.coordination.vocabulary import TOPIC
from pipeline.errors import UsageError
from pipeline.packets.events import CoordinationMessage, MessageType
from pipeline.settings import load_settings
from tests.unit.cascade.fake_bus import FakeBus, FakeTopics
from tests.unit.coordination.factories import eventually, now_ms

LONG_S = 60.0
MakeEngine = Callable[..., MARLCoordinationEngine]
PROPOSAL = {"signal": "buy", "strength": 0.8}


@pytest.fixture
def topics() -> FakeTopics:
    """The topics that all engines of a test share."""
    return FakeTopics(now_ms)


@pytest.fixture
def make(topics: FakeTopics) -> Iterator[MakeEngine]:
    """Make engines, each on a bus of its own; all are closed at the end."""
    made: list[MARLCoordinationEngine] = []

    def engine(bus: FakeBus | None = None, **options: Any) -> MARLCoordinationEngine:
        options = {"heartbeat_interval": LONG_S, "response_timeout_s": LONG_S, **options}
        made.append(MARLCoordinationEngine(bus or FakeBus(topics), **options))  # type: ignore[arg-type]  # it does what the bus does
        return made[-1]

    yield engine
    for each in made:
        each.close()


def peer(make: MakeEngine, **handlers: Any) -> MARLCoordinationEngine:
    """Return an engine with a system for each handler; None for one that does not answer."""
    engine = make()
    for system, handler in handlers.items():
        engine.register_marl_system(system, system)
        if handler is not None:
            returned = handler
            engine.on_request(
                system, returned if callable(returned) else lambda _, returned=returned: returned
            )
    return engine


def ask(engine: MARLCoordinationEngine, *systems: str, **options: Any) -> CoordinationResult:
    """Have strategic ask for an entry."""
    data = options.pop("data", PROPOSAL)
    return engine.coordinate_decision("strategic", "entry_signal", data, systems, **options)


def state(engine: MARLCoordinationEngine) -> CoordinationState:
    """Return its state now; a call, since it changes between two looks."""
    return engine.state


def sent(topics: FakeTopics, kind: MessageType) -> list[CoordinationMessage]:
    """Return the messages of a type that stand in the topic."""
    return [
        each
        for each in topics.packets(TOPIC)
        if isinstance(each, CoordinationMessage) and each.message_type is kind
    ]


def test_the_example_of_the_specification(make: MakeEngine) -> None:
    """Registering and coordinating take the arguments that the specification shows."""
    peer(make, risk="approve", execution="buy")
    engine = make(heartbeat_interval=1.0, sync_timeout=10.0)
    engine.register_marl_system(
        system_id="tactical",
        system_name="Tactical MARL",
        capabilities=["signal_generation", "timing_optimization"],
        configuration={"timeframe": "5min"},
    )
    engine.on_request("tactical", lambda request: request.decision_data["signal"])

    result = engine.coordinate_decision(
        requesting_system="strategic",
        decision_type="entry_signal",
        decision_data={"signal": "buy", "strength": 0.8},
        affected_systems=["tactical", "risk", "execution"],
    )

    assert (True, "BUY", "APPROVE", {}) == (
        result.success, result.decision, result.verdict, result.missing,
    )  # fmt: skip
    assert {"tactical", "risk", "execution"} == set(result.answers)


def test_nobody_there_is_a_failure_not_a_success(topics: FakeTopics, make: MakeEngine) -> None:
    """With all peers dead nothing is decided, and nothing is asked of nobody."""
    engine = make()
    gone = peer(make, tactical="BUY")
    assert ask(engine, "tactical")
    gone.close()

    result = ask(engine, "tactical", "execution", timeout_s=0.2)

    assert (False, "HOLD", CoordinationFailure.TOO_FEW_ANSWERS, {}) == (
        bool(result), result.decision, result.failure, result.answers,
    )  # fmt: skip
    assert result.missing["tactical"].startswith("disconnected")
    assert "never heard of" == result.missing["execution"]
    assert 1 == len(sent(topics, MessageType.COORDINATION_REQUEST))
    with pytest.raises(CoordinationFailed, match="TOO_FEW_ANSWERS"):
        result.require()


def test_answers_come_from_peers_never_from_the_engine(make: MakeEngine) -> None:
    """A system that is registered and has no handler answers nothing, here as elsewhere."""
    engine = peer(make, tactical=None)

    result = ask(engine, "tactical", timeout_s=0.2)

    assert {"tactical": "live, but nobody there answers requests"} == result.missing
    assert not result


def test_the_quorum_is_more_than_half_unless_said(make: MakeEngine) -> None:
    """Two of three are enough, one is not; a call may ask for more or less."""
    peer(make, tactical="BUY", execution="BUY", alpha=Abstention("no view"))
    engine = make()

    assert (2, True) == (
        (found := ask(engine, "tactical", "execution", "alpha")).quorum, found.success,
    )  # fmt: skip
    assert {"alpha": "abstained: no view"} == found.missing
    assert not ask(engine, "tactical", "execution", "alpha", quorum=3)
    assert ask(engine, "tactical", "alpha", quorum=1)
    assert not ask(engine, "tactical", "alpha")


def test_risk_must_answer_where_it_is_asked(make: MakeEngine) -> None:
    """A quorum without risk is none: a dead risk system cannot be outvoted."""
    peer(make, tactical="BUY", execution="BUY")
    result = ask(make(), "tactical", "execution", "risk", timeout_s=1.5)

    assert (CoordinationFailure.RISK_SILENT, "HOLD") == (result.failure, result.decision)


def test_risk_vetoes_under_every_strategy(make: MakeEngine) -> None:
    """Nobody goes ahead against risk."""
    peer(make, tactical={"decision": "BUY", "priority": 3}, risk="REJECT")
    engine = make()

    for strategy in ConflictStrategy:
        result = ask(engine, "tactical", "risk", strategy=strategy)
        assert (True, "HOLD", "REJECT", "risk") == (
            result.success, result.decision, result.verdict, result.decided_by,
        )  # fmt: skip


def test_a_silent_peer_costs_its_time_and_counts_for_nothing(make: MakeEngine) -> None:
    """Who has not answered in time is named, and who has is counted."""
    go = threading.Event()
    peer(make, tactical=lambda _: "SELL" if go.wait(LONG_S) else None, execution="BUY")

    result = ask(make(), "tactical", "execution", "alpha", quorum=1, timeout_s=1.5)

    go.set()
    assert (True, ["execution"]) == (result.success, list(result.answers))
    assert result.missing["tactical"].startswith("no answer within")


def test_a_peer_that_goes_while_it_is_asked_is_not_waited_for(
    topics: FakeTopics, make: MakeEngine
) -> None:
    """The request fails as soon as nobody is left who could answer it."""
    go = threading.Event()
    gone = peer(make, tactical=lambda _: "BUY" if go.wait(LONG_S) else None)
    engine = make()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, engine, "tactical", timeout_s=20.0)
        eventually(lambda: sent(topics, MessageType.COORDINATION_REQUEST), "the request")
        gone.close()

        missing = future.result(LONG_S).missing
        assert {"tactical": "disconnected while it was asked"} == missing
    go.set()


def test_late_answers_belong_to_their_own_request(make: MakeEngine) -> None:
    """An answer to the request before never answers the one after."""
    turns = [threading.Event(), threading.Event()]
    count = iter(range(2))

    def slow(request: Any) -> str:
        number = next(count)
        turns[number].wait(LONG_S)
        return f"{request.decision_data['signal']}-{number}"

    peer(make, tactical=slow)
    engine = make()
    assert not ask(engine, "tactical", data={"signal": "first"}, timeout_s=0.3)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, engine, "tactical", data={"signal": "second"})
        turns[0].set()
        turns[1].set()

        assert "SECOND-1" == future.result(LONG_S).answers["tactical"].decision


def test_conflicts_are_resolved_told_and_counted(topics: FakeTopics, make: MakeEngine) -> None:
    """Everybody reads how a conflict ended, and the engine was in CONFLICT meanwhile."""
    peer(make, tactical="SELL", execution="BUY")
    engine = make()

    result = ask(engine, "tactical", "execution", strategy=ConflictStrategy.HIERARCHICAL)

    assert result.conflict is not None
    assert (ConflictKind.GENERAL, "BUY", "strategic") == (
        result.conflict.kind, result.decision, result.decided_by,
    )  # fmt: skip
    (told,) = sent(topics, MessageType.CONFLICT_RESOLUTION)
    assert result.coordination_id == told.correlation_id
    assert '"decision":"BUY"' in told.payload
    assert 1 == engine.get_coordination_metrics().conflict_resolutions
    states = [each.after for each in engine.transitions]
    assert [CoordinationState.COORDINATING, CoordinationState.CONFLICT] == states[1:3]
    assert CoordinationState.SYNCHRONIZED is state(engine)


def test_a_conflict_without_a_decision_stands_until_one_is_found(make: MakeEngine) -> None:
    """No consensus fails, means HOLD, and keeps the engine in CONFLICT."""
    votes = iter(["SELL", "BUY"])
    peer(make, tactical=lambda _: next(votes))
    engine = make(conflict_strategy=ConflictStrategy.CONSENSUS_BASED)

    split = ask(engine, "tactical", data={"signal": "buy"})

    assert (CoordinationFailure.UNRESOLVED, "HOLD") == (split.failure, split.decision)
    assert CoordinationState.CONFLICT is state(engine)
    assert ask(engine, "tactical", data={"signal": "buy"})
    assert CoordinationState.SYNCHRONIZED is state(engine)


def test_performance_decides_by_what_systems_report(make: MakeEngine) -> None:
    """success_rate * (1 - load), as announced by the systems themselves."""
    peers = peer(make, alpha="BUY", beta="SELL")
    peers.report_performance("alpha", {"success_rate": 0.3})
    peers.report_performance("beta", {"success_rate": 0.9})
    engine = make(conflict_strategy=ConflictStrategy.PERFORMANCE_BASED)

    assert "SELL" == ask(engine, "alpha", "beta", data={}).decision
    peers.report_performance("beta", {"success_rate": 0.1})
    assert "BUY" == ask(engine, "alpha", "beta", data={}).decision


def test_no_more_requests_than_allowed_fly_at_once(topics: FakeTopics, make: MakeEngine) -> None:
    """The next one waits for its turn, and fails where its time is up before."""
    go = threading.Event()
    peer(make, tactical=lambda _: "BUY" if go.wait(LONG_S) else None)
    engine = make(max_concurrent_requests=2)
    with ThreadPoolExecutor(3) as pool:
        flying: list[Future[CoordinationResult]] = [
            pool.submit(ask, engine, "tactical") for _ in range(2)
        ]
        requests = MessageType.COORDINATION_REQUEST
        eventually(lambda: len(sent(topics, requests)) == 2, "two requests")

        busy = ask(engine, "tactical", timeout_s=0.2)
        waiting = pool.submit(ask, engine, "tactical")
        assert CoordinationState.COORDINATING is state(engine)
        assert 2 == len(sent(topics, requests))
        go.set()

        assert CoordinationFailure.BUSY is busy.failure
        assert all(each.result(LONG_S).success for each in [*flying, waiting])


async def test_asyncio_never_waits(make: MakeEngine) -> None:
    """From a coroutine the same is awaited."""
    peer(make, tactical="BUY")

    result = await make().acoordinate_decision("strategic", "entry", PROPOSAL, ["tactical"])

    assert "BUY" == result.decision


def test_a_registered_system_answers_before_others_of_its_name(make: MakeEngine) -> None:
    """Of several instances the first in the topic counts; all that fail are one failure."""
    first = peer(make, tactical=Abstention("not here"))
    second = peer(make, tactical="BUY")
    engine = make()

    assert "BUY" == ask(engine, "tactical").decision
    second.close()
    assert {"tactical": "abstained: not here"} == ask(engine, "tactical").missing
    first.close()


def test_a_lost_broker_is_an_explicit_failure(topics: FakeTopics, make: MakeEngine) -> None:
    """The engine is DISCONNECTED, and a decision asked for meanwhile is HOLD."""
    bus = FakeBus(topics)
    engine = make(bus)
    peer(make, tactical="BUY")
    assert ask(engine, "tactical")

    bus.lost = True
    result = ask(engine, "tactical")

    assert (CoordinationFailure.BROKER_UNAVAILABLE, "HOLD") == (result.failure, result.decision)
    assert CoordinationState.DISCONNECTED is state(engine)
    bus.lost = False
    assert CoordinationState.SYNCHRONIZED is state(engine)


def test_synchronisations_bring_all_to_an_epoch(topics: FakeTopics, make: MakeEngine) -> None:
    """The epoch is the offset of the request, and the score says who has it."""
    peer(make, tactical="BUY")
    peer(make, risk="APPROVE")
    engine = make()

    fast = engine.synchronize()
    reliable = engine.synchronize(SyncProtocol.RELIABLE_SYNC)

    assert (True, True) == (fast.success, reliable.success)
    assert fast.epoch < reliable.epoch
    request = topics.log_of(TOPIC)[reliable.epoch].packet
    assert isinstance(request, CoordinationMessage)
    assert MessageType.SYNC_REQUEST is request.message_type
    assert {reliable.epoch} == {each.epoch for each in engine.get_system_states().values()}
    assert 1.0 == engine.get_coordination_metrics().system_sync_score


def test_a_synchronisation_without_systems_fails(make: MakeEngine) -> None:
    """Nobody to agree with is no agreement."""
    result = make().synchronize()

    assert not result
    assert "Expected a live system" in result.reason


def test_fast_is_content_with_a_majority_and_reliable_is_not(
    topics: FakeTopics, make: MakeEngine
) -> None:
    """One of three that does not confirm fails only what must be reliable."""
    for system in ("tactical", "risk"):
        peer(make, **{system: "BUY"})
    frozen = peer(make, alpha="BUY")
    engine = make(sync_timeout=1.5)  # in which those who live confirm on a busy machine too
    assert engine.wait_for(["tactical", "risk", "alpha"])
    for each in frozen.event_bus._mine:  # type: ignore[attr-defined]  # as SIGSTOP does
        topics.subscriptions.remove(each)

    fast = engine.synchronize()
    reliable = engine.synchronize(SyncProtocol.RELIABLE_SYNC)

    assert (True, False) == (fast.success, reliable.success)
    assert "Expected 3 confirmations, was 2" == reliable.reason
    assert ["alpha"] == [each.partition("@")[0] for each in reliable.missing]
    topics.subscriptions.extend(frozen.event_bus._mine)  # type: ignore[attr-defined]


def test_an_emergency_ends_what_is_in_flight(topics: FakeTopics, make: MakeEngine) -> None:
    """Requests in flight fail, and nobody waits for their answers any longer."""
    go = threading.Event()
    peer(make, tactical=lambda _: "BUY" if go.wait(LONG_S) else None)
    engine = make()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, engine, "tactical", timeout_s=20.0)
        eventually(lambda: sent(topics, MessageType.COORDINATION_REQUEST), "the request")

        make().synchronize(SyncProtocol.EMERGENCY_SYNC, reason="drill")

        assert CoordinationFailure.EMERGENCY is future.result(LONG_S).failure
    go.set()
    assert CoordinationState.EMERGENCY is state(engine)
    assert engine.synchronize()
    assert CoordinationState.SYNCHRONIZED is state(engine)
    assert ask(engine, "tactical")


def test_metrics_say_nothing_before_anything_was_measured(make: MakeEngine) -> None:
    """No data is None, never a pass; then ratios, not percent."""
    engine = make()
    empty = engine.get_coordination_metrics()
    assert (None, None, None) == (
        empty.average_response_time_ms, empty.coordination_efficiency, empty.system_sync_score,
    )  # fmt: skip
    peer(make, tactical="BUY")
    ask(engine, "tactical")
    ask(engine, "nobody", timeout_s=0.1)

    found = engine.get_coordination_metrics()

    assert (1, 1, 0.5) == (
        found.successful_coordinations, found.failed_coordinations, found.coordination_efficiency,
    )  # fmt: skip
    assert found.average_response_time_ms is not None
    assert 0.0 < found.average_response_time_ms < LONG_S * 1000
    assert found.total_messages_received >= found.total_messages_sent > 0


def test_states_begin_and_end_where_they_should(make: MakeEngine) -> None:
    """INITIALIZING before it takes part, DISCONNECTED once it is closed."""
    engine = make()
    assert CoordinationState.INITIALIZING is state(engine)
    engine.start()
    assert CoordinationState.SYNCHRONIZED is state(engine)
    engine.close()
    assert CoordinationState.DISCONNECTED is state(engine)
    with pytest.raises(UsageError, match="closed"):
        ask(engine, "tactical")


def test_closing_wakes_who_waits(topics: FakeTopics, make: MakeEngine) -> None:
    """A request in flight fails when its engine is closed."""
    go = threading.Event()
    peer(make, tactical=lambda _: "BUY" if go.wait(LONG_S) else None)
    engine = make()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask, engine, "tactical", timeout_s=20.0)
        eventually(lambda: sent(topics, MessageType.COORDINATION_REQUEST), "the request")
        engine.close()

        assert CoordinationFailure.CLOSED is future.result(LONG_S).failure
    go.set()


def test_defaults_come_from_the_settings(topics: FakeTopics) -> None:
    """Arguments go before settings, settings before defaults."""
    coordination = {"heartbeat_interval": 0.5, "sync_timeout": 4.0, "max_concurrent_requests": 7}
    settings = load_settings(broker="fake:1", coordination=coordination)
    bus: Any = FakeBus(topics, settings)

    engine = MARLCoordinationEngine(bus, sync_timeout=3.0)

    assert (0.5, 3.0, 7) == (
        engine.heartbeat_interval, engine.sync_timeout, engine.max_concurrent_requests,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        {"affected_systems": []},
        {"affected_systems": [""]},
        {"requesting_system": ""},
        {"priority": 4},
        {"quorum": 0},
        {"quorum": 2},
        {"timeout_s": 0.0},
    ],
)
def test_arguments_that_cannot_be_are_refused(make: MakeEngine, arguments: dict[str, Any]) -> None:
    """Before anything is sent, and with what was expected."""
    valid = {
        "requesting_system": "strategic", "decision_type": "entry", "decision_data": {},
        "affected_systems": ["tactical"],
    }  # fmt: skip
    with pytest.raises(UsageError, match="Expected"):
        make().coordinate_decision(**{**valid, **arguments})


def test_handlers_need_a_registered_system(make: MakeEngine) -> None:
    """Ids that are not registered here are refused, and the decorator keeps its function."""
    engine = make()
    with pytest.raises(UsageError, match="register_marl_system"):
        engine.on_request("tactical", lambda _: "BUY")
    with pytest.raises(UsageError, match="registered here"):
        engine.report_performance("tactical", {})
    with pytest.raises(UsageError, match="system id"):
        engine.register_marl_system("*", "everybody")
    engine.register_marl_system("tactical", "Tactical")

    @engine.on_request("tactical")
    def handler(request: Any) -> str:
        return str(request.decision_type)

    assert "entry" == handler(type("Request", (), {"decision_type": "entry"}))
    engine.register_marl_system("tactical", "Tactical, renamed")
    assert "ENTRY_SIGNAL" == ask(engine, "tactical", data={}).decision
    engine.unregister_marl_system("tactical")
    assert not ask(engine, "tactical", timeout_s=0.1)


def test_the_status_is_plain_json(make: MakeEngine) -> None:
    """What commands and notebooks print holds state, epochs, systems and metrics."""
    engine = peer(make, tactical="BUY")
    engine.synchronize()

    status = engine.get_coordination_status()

    assert ("SYNCHRONIZED", ["tactical"], True) == (
        status["state"], list(status["systems"]), status["epoch"] >= 0,
    )  # fmt: skip
    assert 0 == status["metrics"]["failed_coordinations"]
