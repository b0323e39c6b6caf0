"""A process in the coordination, over topics in memory."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.coordination.messages import (
    Announcement,
    ReplyBody,
    RequestBody,
    SyncBody,
    payload_of,
)
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.systems import LocalSystem, Vitals, process_load
from pipeline.coordination.vocabulary import (
    TOPIC,
    CoordinationState,
    ReplyStatus,
    SyncProtocol,
)
from pipeline.errors import UsageError
from pipeline.packets.events import CoordinationMessage, MessageType
from tests.unit.cascade.fake_bus import FakeBus, FakeTopics
from tests.unit.coordination.factories import eventually, now_ms

SLOW_S = 600.0
Join = Callable[..., CoordinationService]


@pytest.fixture
def topics() -> FakeTopics:
    """The topics that all processes of a test share."""
    return FakeTopics(now_ms)


@pytest.fixture
def join(topics: FakeTopics) -> Iterator[Join]:
    """Have processes take part; all have left at the end."""
    joined: list[CoordinationService] = []

    def start(*systems: LocalSystem, **options: Any) -> CoordinationService:
        bus = FakeBus(topics)
        service = CoordinationService(bus, **{"heartbeat_interval_s": SLOW_S, **options})
        joined.append(service)
        for system in systems:
            service.add(system)
        service.start()
        return service

    yield start
    for service in joined:
        service.close()


def sent(topics: FakeTopics, kind: MessageType) -> list[CoordinationMessage]:
    """Return the messages of a type that stand in the topic."""
    found = topics.packets(TOPIC)
    return [
        each
        for each in found
        if isinstance(each, CoordinationMessage) and each.message_type is kind
    ]


def ask(service: CoordinationService, *systems: str) -> CoordinationMessage:
    """Send a request and return it."""
    body = RequestBody(decision_type="entry", decision_data={"n": 1}, affected_systems=systems)
    request = service.compose(MessageType.COORDINATION_REQUEST, "strategic", body)
    service.post(request)
    return request


def replies(topics: FakeTopics) -> list[tuple[str, ReplyBody]]:
    """Return (sender, reply) of all replies."""
    found = sent(topics, MessageType.COORDINATION_RESPONSE)
    return [(each.sender_system, payload_of(each, ReplyBody)) for each in found]


def test_systems_announce_what_they_are(join: Join) -> None:
    """Another process learns name, capabilities, configuration, version, load and figures."""
    observer = join()
    join(
        LocalSystem(
            "tactical", "Tactical MARL", capabilities=("timing", "signals"), version="2.1",
            configuration={"timeframe": "5min"},
            vitals=lambda: Vitals(0.25, {"success_rate": 0.9}),
        )
    )  # fmt: skip

    found = observer.systems()["tactical"]

    assert ("Tactical MARL", ("signals", "timing"), {"timeframe": "5min"}, "2.1", 0.25) == (
        found.system_name, found.capabilities, found.configuration, found.version,
        found.current_load,
    )  # fmt: skip
    assert {"success_rate": 0.9} == found.performance_metrics
    assert CoordinationState.SYNCHRONIZED is found.state


def test_who_joins_late_hears_of_all_at_once(join: Join) -> None:
    """A handshake makes everybody announce themselves, long before the next heartbeat."""
    join(LocalSystem("tactical"))
    join(LocalSystem("risk"))

    assert {"tactical", "risk", "late"} == set(join(LocalSystem("late")).systems())


def test_heartbeats_come_from_the_systems_own_process(topics: FakeTopics, join: Join) -> None:
    """One per system and interval, from where it lives; an observer's clock makes nobody live."""
    join(heartbeat_interval_s=0.01)
    beating = join(LocalSystem("tactical"), LocalSystem("risk"), heartbeat_interval_s=0.01)

    def beats() -> list[str]:
        return [each.sender_system for each in sent(topics, MessageType.HEARTBEAT)]

    eventually(lambda: beats().count("risk") >= 5, "heartbeats")
    assert {"tactical", "risk"} == set(beats())
    instances = {
        payload_of(each, Announcement).instance for each in sent(topics, MessageType.HEARTBEAT)
    }
    assert {beating.instance} == instances


def test_an_idle_process_sends_no_heartbeat_before_the_interval(
    topics: FakeTopics, join: Join
) -> None:
    """With a long interval there are announcements, and no heartbeat."""
    join(LocalSystem("tactical"), heartbeat_interval_s=SLOW_S)

    assert [] == sent(topics, MessageType.HEARTBEAT)
    assert sent(topics, MessageType.HANDSHAKE)


def test_leaving_is_said(topics: FakeTopics, join: Join) -> None:
    """A closed process, and a removed system, are disconnected for others at once."""
    observer = join()
    peer = join(LocalSystem("tactical"), LocalSystem("risk"))

    peer.remove("risk")
    assert ("disconnected", "active") == (
        observer.systems()["risk"].status, observer.systems()["tactical"].status,
    )  # fmt: skip
    peer.close()
    assert "disconnected" == observer.systems()["tactical"].status
    with pytest.raises(UsageError, match="closed"):
        peer.start()


def test_a_request_is_answered_by_the_handler_of_the_system(topics: FakeTopics, join: Join) -> None:
    """With the request's id, by the systems that were asked and are here, and by no other."""
    join(
        LocalSystem("tactical", handler=lambda request: request.decision_data["n"] and "buy"),
        LocalSystem("risk", handler=lambda _: "approve"),
    )
    asking = join()

    request = ask(asking, "tactical", "execution")

    eventually(lambda: replies(topics), "an answer")
    ((sender, reply),) = replies(topics)
    (response,) = sent(topics, MessageType.COORDINATION_RESPONSE)
    assert ("tactical", ReplyStatus.ANSWERED, "BUY", request.message_id, "strategic") == (
        sender, reply.status, reply.answer and reply.answer.decision, response.correlation_id,
        response.recipient_system,
    )  # fmt: skip


def test_what_a_handler_raises_is_told(topics: FakeTopics, join: Join) -> None:
    """A failed handler is a failure with its reason; so is what it returns that is no answer."""

    def broken(request: Any) -> str:
        raise ZeroDivisionError(request.decision_type)

    join(LocalSystem("tactical", handler=broken), LocalSystem("risk", handler=lambda _: 7))
    ask(join(), "tactical", "risk")

    eventually(lambda: len(replies(topics)) == 2, "two failures")
    by_system = dict(replies(topics))
    assert {ReplyStatus.FAILED} == {each.status for each in by_system.values()}
    assert "ZeroDivisionError('entry')" in by_system["tactical"].reason
    assert "Expected an Answer" in by_system["risk"].reason


def test_no_handler_and_none_are_no_answer(topics: FakeTopics, join: Join) -> None:
    """Nobody speaks for a system that has no handler, or whose handler returns None."""
    join(
        LocalSystem("mute"),
        LocalSystem("quiet", handler=lambda _: None, quick=True),
        LocalSystem("tactical", handler=lambda _: "BUY", quick=True),
    )

    ask(join(), "mute", "quiet", "tactical")

    assert ["tactical"] == [sender for sender, _ in replies(topics)]


def test_requests_are_refused_in_an_emergency(topics: FakeTopics, join: Join) -> None:
    """Whoever asks without knowing of it is told, and no handler runs."""
    service = join(LocalSystem("tactical", handler=lambda _: "BUY", quick=True))
    body = SyncBody(instance="other", protocol=SyncProtocol.EMERGENCY_SYNC, reason="drill")
    service.post(service.compose(MessageType.EMERGENCY_BROADCAST, "other", body))

    ask(service, "tactical")

    ((_, reply),) = replies(topics)
    assert ReplyStatus.REFUSED is reply.status
    assert CoordinationState.EMERGENCY is join().systems()["tactical"].state


def test_coroutines_are_awaited(topics: FakeTopics, join: Join) -> None:
    """A handler may be a coroutine function."""

    async def handler(request: Any) -> str:
        return str(request.decision_type)

    join(LocalSystem("tactical", handler=handler))
    ask(join(), "tactical")

    eventually(lambda: replies(topics), "an answer")
    answer = replies(topics)[0][1].answer
    assert "ENTRY" == (answer and answer.decision)


def test_handlers_beyond_the_limit_fail_at_once(topics: FakeTopics, join: Join) -> None:
    """So many run at once, and who asks for one more is told so instead of waiting."""
    go = threading.Event()
    running = threading.Semaphore(0)

    def handler(request: Any) -> str:
        del request
        running.release()
        go.wait()
        return "BUY"

    join(LocalSystem("tactical", handler=handler), most_handlers=2)
    asking = join()
    for _ in range(2):
        ask(asking, "tactical")
        running.acquire()

    ask(asking, "tactical")

    ((_, refused),) = replies(topics)
    assert (ReplyStatus.FAILED, "2 handlers run there already") == (refused.status, refused.reason)
    go.set()
    eventually(lambda: len(replies(topics)) == 3, "the other two")


def test_an_answer_that_no_record_can_hold_is_a_failure(topics: FakeTopics, join: Join) -> None:
    """Whoever asked is told, and does not wait for nothing."""
    large = {"decision": "BUY", "details": {"text": "x" * 70_000}}
    join(LocalSystem("tactical", handler=lambda _: large))
    ask(join(), "tactical")

    eventually(lambda: replies(topics), "a failure")
    reply = replies(topics)[0][1]
    assert ReplyStatus.FAILED is reply.status
    assert "cannot be sent" in reply.reason


def test_acknowledgements_of_commands_are_no_announcements(join: Join) -> None:
    """A STATE_UPDATE with a correlation id is somebody else's, and disturbs nobody."""
    service = join(LocalSystem("tactical"))
    message = service.compose(
        MessageType.STATE_UPDATE, "gateway", {"subject": "control"}, correlation_id="command"
    )

    service.post(message)

    assert {"tactical"} == set(service.systems())


def test_unreadable_payloads_end_nothing(topics: FakeTopics, join: Join) -> None:
    """What cannot be read is passed over, and the next message is heard."""
    service = join()
    service.post(service.compose(MessageType.HEARTBEAT, "odd", {"load": "much"}))
    join(LocalSystem("tactical"))

    assert {"tactical"} == set(service.systems())
    assert {"load": "much"} == json.loads(sent(topics, MessageType.HEARTBEAT)[0].payload)


def test_joining_soon_waits_for_the_broker(topics: FakeTopics) -> None:
    """A worker that starts before its broker takes part as soon as there is one."""
    bus = FakeBus(topics)
    bus.lost = True
    service = CoordinationService(bus, heartbeat_interval_s=0.05)
    service.add(LocalSystem("tactical"))
    service.start_soon()
    bus.lost = False

    eventually(lambda: "tactical" in service.systems(), "it to have joined")
    service.close()


def test_a_process_load_is_its_share_of_a_core() -> None:
    """CPU time over wall time since the last look, at most 1, and unknown at first."""
    times = iter([(0.0, 5.0), (0.05, 5.0), (2.0, 5.5), (3.0, 9.0)])
    now: list[float] = []

    def step() -> None:
        now[:] = next(times)

    step()
    load = process_load(lambda: now[1], lambda: now[0])
    found = []
    for _ in range(3):
        step()
        found.append(load())

    assert [None, 0.25, 1.0] == found
