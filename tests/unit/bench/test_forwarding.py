"""Stages that forward, and the hosts that they are compared under."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.bench.forwarding import ForwardLogic
from pipeline.bench.guarantees import AtLeastOnceHost
from pipeline.bench.worker import Decisions, Guarantee, bench_app
from pipeline.clock import WallClock
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import Settings, load_settings
from pipeline.stages.contract import Draft, Input, seal
from pipeline.stages.routes import ROUTES
from pipeline.transport.host import LogHost
from pipeline.transport.journal import Ownership
from pipeline.transport.log import InputPosition, Position

WITH_ENVELOPE = SimpleNamespace(envelope=object())
CONTEXT = cast(Any, SimpleNamespace(state_sequence=0))
WHERE = ("cascade.market", 0)


def given(packet: object = WITH_ENVELOPE, fate: Any = None) -> Input:
    """Return an input with this packet."""
    return Input("cascade.market", 0, 0, -1, -1, (-1, -1), 0, 0, 0, b"", b"", packet, None, fate)


def decided(logic: ForwardLogic, *inputs: Input) -> list[Draft | None]:
    """Return what a stage decides on inputs."""
    return list(logic.decide(logic.initial(), inputs, CONTEXT))


def test_a_stage_forwards_what_goes_on_and_carries_on_what_has_ended() -> None:
    """A packet goes on, a sealed fate travels along, and what carries no packet needs no record."""
    fate = seal(OutcomeKind.EXPIRED, "strategic", "DEADLINE")
    items = decided(ForwardLogic("tactical"), given(), given(fate=fate), given(packet=object()))
    assert [None, fate] == [item.outcome for item in items if item is not None]
    assert items[2] is None


def test_the_last_stage_ends_the_flow() -> None:
    """Execution's record is the end of a flow."""
    (item,) = decided(ForwardLogic("execution"), given())
    assert item is not None
    assert item.outcome is not None
    assert OutcomeKind.HELD is item.outcome.kind


def test_padding_is_added_once_by_the_first_stage() -> None:
    """Later stages carry it along, so that all hops have the size."""
    (first,), (second,) = (
        decided(ForwardLogic(stage, 1000), given()) for stage in ("strategic", "tactical")
    )
    assert first is not None
    assert second is not None
    assert 1000 == max(map(len, first.parts["strategic"].distribution))
    assert {} == second.parts


def test_the_state_counts_and_survives_a_snapshot() -> None:
    """What is folded is dumped and loaded."""
    logic = ForwardLogic("risk")
    state = logic.initial()
    for _ in range(3):
        logic.apply(state, object())
    assert 3 == logic.load(logic.dump(state)).records


class FakeProducer:
    """Takes records and acknowledges those that it is told to."""

    def __init__(self) -> None:
        self.reports: list[Any] = []

    def produce_batch(self, topic: str, messages: list[Any], **options: Any) -> int:
        """Take records."""
        self.reports += [options["on_delivery"]] * len(messages)
        return len(messages)

    def acknowledge(self, count: int) -> None:
        """Report the first records as delivered."""
        for report in self.reports[:count]:
            report(None, None)
        del self.reports[:count]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a broker that is not asked."""
    return load_settings(broker="127.0.0.1:9092", home=tmp_path)


async def test_at_least_once_commits_only_what_was_acknowledged(settings: Settings) -> None:
    """An offset is committed when all records made before it stand in the log, not sooner."""
    route = ROUTES["strategic"]
    host = AtLeastOnceHost(settings, route.spec, ForwardLogic("strategic"), WallClock())
    host.loop = asyncio.get_running_loop()
    commits: list[Any] = []
    host.pump = cast(Any, SimpleNamespace(commit=commits.append))
    producer = FakeProducer()
    host.producer = cast(Any, producer)
    position = InputPosition(Position(0, -1, -1), set())
    ownership = Ownership(0, 0, -1, None, {WHERE: position}, {}, (-1, -1))
    host.owned = {0: ownership}
    host.note_start()

    for offset in (2, 5):
        position.move(Position(offset, -1, -1))
        host.write(ownership, [(b"", b"")] * 2)
    committed = []
    for acknowledged in (1, 1, 1, 1):
        producer.acknowledge(acknowledged)
        host._commit()
        committed.append([found[WHERE] for found in commits])

    assert [[], [2], [2], [2, 5]] == committed


def test_each_guarantee_has_the_same_app_with_another_host(settings: Settings) -> None:
    """What is compared differs in its host alone."""
    hosts = {
        guarantee: type(bench_app("tactical", Decisions.REAL, guarantee, settings).host).__name__
        for guarantee in Guarantee
    }
    assert {
        Guarantee.LOG: LogHost.__name__,
        Guarantee.AT_LEAST_ONCE: "AtLeastOnceHost",
        Guarantee.TRANSACTION: "TransactionalHost",
    } == hosts
