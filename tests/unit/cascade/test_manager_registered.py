"""A stage whose policy is a callback: how it is asked, and what its failures do."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.cascade.manager.asking import (
    is_coroutine,
    is_whole_round,
    source_of,
    whole_round,
)
from pipeline.cascade.manager.registered import RegisteredLogic
from pipeline.control.state import ControlView, TradingState
from pipeline.errors import ConfigurationError, InvalidPacket
from pipeline.packets.models import MarketData
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.contract import Context, Draft, Input, seal
from pipeline.stages.strategic_logic import StrategicLogic
from tests.unit.stages.engine_factories import NOW, market_data

UP = {"BUY": 0.8, "HOLD": 0.2}
CONTEXT = Context(ControlView(TradingState.ACTIVE, 0, current=True), 10)

Make = Callable[..., RegisteredLogic]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes strategic stages by callback; their loops end with the test."""
    made: list[RegisteredLogic] = []

    def registered(callback: Any, timeout_s: float = 30.0) -> RegisteredLogic:
        logic = RegisteredLogic(
            StrategicLogic(), callback, name="registered.mine", version="7", timeout_s=timeout_s
        )
        made.append(logic)
        return logic

    yield registered
    for each in made:
        each.close()


def given(sequence: int, **changes: Any) -> Input:
    """Return an input as the stage gets it."""
    packet = market_data(sequence=sequence)
    fields: dict[str, Any] = {"fate": None, "error": None, **changes}
    return Input(
        "cascade.market", 0, sequence, -1, -1, (-1, -1), NOW // 1000, NOW, NOW, b"AAPL", b"",
        packet, **fields,
    )  # fmt: skip


def decide(logic: RegisteredLogic, inputs: Sequence[Input]) -> list[Any]:
    """Return what the stage yields."""
    return list(logic.decide(logic.initial(), inputs, CONTEXT))


def test_a_function_is_asked_packet_by_packet(make: Make) -> None:
    """Its answer is the decision, under its own name."""
    asked: list[int] = []

    def policy(packet: MarketData) -> Mapping[str, float]:
        asked.append(packet.envelope.sequence)
        return UP

    drafts = decide(make(policy), [given(0), given(1)])

    assert [0, 1] == asked
    assert [0.8, 0.8] == [each.parts["strategic"].confidence for each in drafts]
    assert [("registered.mine", "7", 10), ("registered.mine", "7", 11)] == [
        (each.policy.name, each.policy.version, each.policy.state_sequence) for each in drafts
    ]


def test_sealed_and_repeated_packets_are_not_asked_about(make: Make) -> None:
    """Fates of earlier stages and duplicates are none of the policy's business."""
    asked: list[int] = []

    def policy(packet: MarketData) -> None:
        asked.append(packet.envelope.sequence)

    late = seal(OutcomeKind.EXPIRED, "strategic", "DEADLINE")

    drafts = decide(make(policy), [given(0), given(0), given(1, fate=late)])

    assert [0] == asked
    reasons = [each.outcome.reasons for each in drafts]
    assert [("NO_DECISION",), ("DUPLICATE",), ("DEADLINE",)] == reasons


def test_a_round_is_asked_about_at_once(make: Make) -> None:
    """Marked or annotated callbacks get all packets of the round, and answer in order."""
    rounds: list[int] = []

    @whole_round
    def marked(packets: Any) -> Any:
        rounds.append(len(packets))
        return [UP, None]

    def annotated(packets: Sequence[MarketData]) -> Any:
        return marked(packets)

    for policy in (marked, annotated):
        drafts = decide(make(policy), [given(0), given(1)])
        assert [None, OutcomeKind.HELD] == [each.outcome and each.outcome.kind for each in drafts]
    assert [2, 2] == rounds


def test_too_few_answers_are_a_failure(make: Make) -> None:
    """Nobody guesses which packet was left out."""

    @whole_round
    def policy(packets: Any) -> Any:
        return [UP]

    with pytest.raises(InvalidPacket, match="2 answers"):
        decide(make(policy), [given(0), given(1)])


def test_coroutines_of_a_round_run_together(make: Make) -> None:
    """Each of two packets is awaited while the other one is."""
    arrived: list[int] = []

    async def policy(packet: MarketData) -> Mapping[str, float]:
        arrived.append(packet.envelope.sequence)
        async with asyncio.timeout(30.0):
            while len(arrived) < 2:  # noqa: ASYNC110  # polled with a deadline
                await asyncio.sleep(0.001)
        return UP

    drafts = decide(make(policy), [given(0), given(1)])

    assert [None, None] == [each.outcome for each in drafts]


def test_after_a_failure_nobody_is_asked_twice(make: Make) -> None:
    """Packets that were answered together with the failing one keep their answers."""
    asked: list[int] = []

    async def policy(packet: MarketData) -> Mapping[str, float]:
        asked.append(packet.envelope.sequence)
        if packet.envelope.sequence == 1 and asked.count(1) == 1:
            raise ArithmeticError("on purpose")
        return UP

    logic = make(policy)
    inputs = [given(0), given(1), given(2)]
    items = logic.decide(logic.initial(), inputs, CONTEXT)
    assert isinstance(next(items), Draft)
    with pytest.raises(ArithmeticError):
        next(items)
    assert 1 == len(list(logic.decide(logic.initial(), inputs[1:2], CONTEXT)))
    assert 1 == len(list(logic.decide(logic.initial(), inputs[2:], CONTEXT)))

    assert [0, 1, 2, 1] == asked[:4]
    assert asked.count(0) == 1


def test_a_coroutine_that_takes_too_long_has_ended_before_its_retry(make: Make) -> None:
    """It is cancelled, and the failure is raised only when it is over."""
    ended = threading.Event()

    async def policy(packet: MarketData) -> None:
        try:
            await asyncio.sleep(3600.0)
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    with pytest.raises(TimeoutError, match=r"0\.02 s"):
        decide(make(policy, timeout_s=0.02), [given(0)])
    assert ended.is_set()


def test_state_is_that_of_the_built_in_stage(make: Make) -> None:
    """Either may go on from the other's snapshot."""
    logic, built_in = make(lambda _: UP), StrategicLogic()

    assert built_in.dump(built_in.initial()) == logic.dump(
        logic.load(built_in.dump(built_in.initial()))
    )
    assert "strategic" == logic.stage


def test_kinds_of_callbacks_are_told_apart() -> None:
    """By mark, by annotation, by being a coroutine function; objects with __call__ too."""

    class Policy:
        async def __call__(self, packets: list[Any]) -> None: ...

    def plain(packet: Any) -> None: ...
    def text(packet: str) -> None: ...

    assert (True, True) == (is_whole_round(Policy()), is_coroutine(Policy()))
    assert (False, False) == (is_whole_round(plain), is_coroutine(plain))
    assert not is_whole_round(text)
    assert not is_whole_round(print)
    with pytest.raises(ConfigurationError, match="takes a packet"):
        is_whole_round(lambda: None)


def test_a_callback_whose_source_cannot_be_read_still_has_a_hash(tmp_path: Path) -> None:
    """Code that names a file which holds something else at its line is hashed by its name."""
    other = tmp_path / "other.py"
    other.write_text("x = (\n")
    names: dict[str, Any] = {}
    exec(compile("def decide(packet):\n    return None", str(other), "exec"), names)  # noqa: S102  # as notebooks do
    assert 64 == len(source_of(names["decide"]))
