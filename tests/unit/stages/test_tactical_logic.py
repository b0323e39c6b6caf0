"""The tactical stage's decisions over packets: windows, early fates, snapshots."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.control.state import ControlView, TradingState
from pipeline.packets.models import (
    Bar,
    Journal,
    Outcome,
    Strategic,
    StrategicSignal,
    TacticalSignal,
)
from pipeline.packets.vocabulary import Action, OutcomeKind, Regime
from pipeline.policies.windows import BarWindows
from pipeline.stages.contract import Context, Draft, Input, seal
from pipeline.stages.tactical_logic import TacticalLogic
from tests.unit.stages.engine_factories import NOW, market_data

CONTEXT = Context(ControlView(TradingState.ACTIVE, 0, current=True), -1)
JOURNAL = Journal(0, 0, "cascade.strategic", 0, 0, 0, 0, 0, 0, 0, NOW, 0, "owner", "build")
UP = Strategic(
    0.9, 0.9, 0.8, Action.BUY, {"BUY": 0.9, "HOLD": 0.08, "SELL": 0.02}, Regime.TREND_UP, 0.01
)
HELD = seal(OutcomeKind.HELD, "strategic", "WARMUP")


def _packet(sequence: int, symbol: str = "AAPL", decision: Strategic | None = UP) -> Any:
    close = 100.0 + sequence % 5 + sequence * 0.2
    envelope = replace(market_data(symbol, sequence).envelope, target_system="tactical")
    return StrategicSignal(
        JOURNAL, envelope, Bar(close, close + 1, close - 1, close, 1000.0, 60), decision
    )


def _input(packet: Any, fate: Outcome | None = None) -> Input:
    return Input(
        "cascade.strategic", 0, 0, 0, 0, (0, 0), 0, NOW, NOW, None, None, packet, None, fate
    )


def _decide(state: BarWindows, inputs: Sequence[Input]) -> list[Draft]:
    """Decide a round and fold it, as the engine does."""
    logic = TacticalLogic()
    drafts = list(logic.decide(state, inputs, CONTEXT))
    for each in inputs:
        if each.packet is not None:
            logic.apply(state, TacticalSignal(JOURNAL, each.packet.envelope, each.packet.bar))
    return drafts


@pytest.mark.parametrize("cut", [1, 25])
def test_rounds_cut_differently_decide_alike(cut: int) -> None:
    """A round sees its own earlier bars as it would see those of earlier rounds."""
    inputs = [_input(_packet(n // 2, "AB"[n % 2])) for n in range(150)]
    whole = _decide(TacticalLogic().initial(), inputs)
    state = TacticalLogic().initial()
    parts = [d for n in range(0, 150, cut) for d in _decide(state, inputs[n : n + cut])]
    assert [d.parts for d in whole] == [d.parts for d in parts]


def test_a_hold_ends_the_flow_with_its_reason() -> None:
    """HOLD is a result: held at this stage, for a named reason; BUY and SELL go on."""
    drafts = _decide(TacticalLogic().initial(), [_input(_packet(n)) for n in range(150)])
    for draft in drafts:
        decision: Any = draft.parts["tactical"]
        if decision.action is Action.HOLD:
            assert draft.outcome is not None
            assert (OutcomeKind.HELD, "tactical") == (draft.outcome.kind, draft.outcome.stage)
            assert draft.outcome.reasons
        else:
            assert draft.outcome is None


def test_the_bar_of_a_sealed_flow_counts() -> None:
    """A flow that was held before is not decided here, but later bars see its bar."""
    sealed = TacticalLogic().initial()
    first = _decide(sealed, [_input(_packet(n), HELD) for n in range(70)])
    assert [(HELD, {})] * 70 == [(draft.outcome, dict(draft.parts)) for draft in first]
    decided = TacticalLogic().initial()
    _decide(decided, [_input(_packet(n)) for n in range(70)])
    (expected,) = _decide(decided, [_input(_packet(70))])
    (actual,) = _decide(sealed, [_input(_packet(70))])
    assert expected.parts == actual.parts


def test_sealed_and_open_flows_may_mix_in_a_round() -> None:
    """Each gets its own: the fate, or a decision on a window with all bars before it."""
    fates = [HELD if n % 3 else None for n in range(70)]
    mixed = _decide(
        TacticalLogic().initial(), [_input(_packet(n), fate) for n, fate in enumerate(fates)]
    )
    alone = _decide(TacticalLogic().initial(), [_input(_packet(n)) for n in range(70)])
    for fate, actual, expected in zip(fates, mixed, alone, strict=True):
        assert (fate, {}) == (actual.outcome, dict(actual.parts)) if fate else expected == actual


def test_a_flow_without_a_bar_leaves_the_windows_alone() -> None:
    """Dead-lettered flows travel on without a bar."""
    state = TacticalLogic().initial()
    dead = seal(OutcomeKind.DEAD_LETTERED, "strategic", "MALFORMED")
    packet = replace(_packet(0), bar=None)
    assert [dead] == [draft.outcome for draft in _decide(state, [_input(packet, dead)])]
    assert 0 == len(state)


def test_without_strategic_conviction_nothing_is_entered() -> None:
    """A signal that strategy did not decide on counts as warming up."""
    drafts = _decide(
        TacticalLogic().initial(), [_input(_packet(n, decision=None)) for n in range(70)]
    )
    assert {Action.HOLD} == {draft.parts["tactical"].action for draft in drafts}


def test_a_snapshot_decides_on_as_the_state_would() -> None:
    """The windows come back as they were."""
    logic, state = TacticalLogic(), TacticalLogic().initial()
    _decide(state, [_input(_packet(n)) for n in range(70)])
    loaded = logic.load(logic.dump(state))
    expected = _decide(state, [_input(_packet(70))])
    assert [d.parts for d in expected] == [d.parts for d in _decide(loaded, [_input(_packet(70))])]
