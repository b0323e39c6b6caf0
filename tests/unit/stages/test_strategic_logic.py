"""The strategic stage over packets: sequence numbers, windows, early fates, snapshots."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pipeline.control.state import ControlView, TradingState
from pipeline.packets.models import Bar, Journal, MarketData, Outcome, StrategicSignal
from pipeline.packets.vocabulary import OutcomeKind, Regime
from pipeline.policies.strategic import StrategicSettings
from pipeline.stages.contract import Context, Draft, Input, seal
from pipeline.stages.fates import Fate
from pipeline.stages.strategic_logic import StrategicLogic, StrategicState
from pipeline.stages.views import unpack
from tests.unit.stages.engine_factories import MARKET, NOW, market_data

CONTEXT = Context(ControlView(TradingState.ACTIVE, 0, current=True), -1)
JOURNAL = Journal(0, 0, MARKET, 0, 0, -1, -1, 0, -1, -1, NOW, 0, "owner", "build")


def _packet(sequence: int, symbol: str = "AAPL", priority: int = 1) -> MarketData:
    close = 100.0 + sequence % 7 + sequence * 0.1
    packet = market_data(symbol, sequence, priority=priority)
    return MarketData(packet.envelope, Bar(close, close + 1, close - 1, close, 1000.0, 60))


def _input(packet: MarketData | None, fate: Outcome | None = None) -> Input:
    return Input(MARKET, 0, 0, -1, -1, (-1, -1), 0, NOW, NOW, None, None, packet, None, fate)


def _decide(state: StrategicState, inputs: Sequence[Input]) -> list[Draft]:
    """Decide a round and fold it, as the engine does."""
    logic = StrategicLogic()
    drafts = list(logic.decide(state, inputs, CONTEXT))
    for each, draft in zip(inputs, drafts, strict=True):
        if each.packet is not None:
            reasons = draft.outcome.reasons if draft.outcome else ()
            dropped = {Fate.DUPLICATE, Fate.SUPERSEDED} & set(reasons)
            bar = None if dropped else each.packet.bar
            logic.apply(state, StrategicSignal(JOURNAL, each.packet.envelope, bar))
    return drafts


def _fates(drafts: list[Draft]) -> list[str]:
    return [draft.outcome.reasons[0] if draft.outcome else "" for draft in drafts]


def test_a_symbol_warms_up_before_it_is_decided() -> None:
    """Until the window is full a bar is held as warming up; from then on it is decided."""
    drafts = _decide(StrategicState(), [_input(_packet(n)) for n in range(60)])
    assert ["WARMUP"] * 47 + [""] * 13 == _fates(drafts)
    decision: Any = drafts[-1].parts["strategic"]
    assert Regime.WARMUP is not decision.regime


@pytest.mark.parametrize("cut", [1, 25])
def test_rounds_cut_differently_decide_alike(cut: int) -> None:
    """A round sees its own earlier bars as it would see those of earlier rounds."""
    inputs = [_input(_packet(n // 2, "AB"[n % 2])) for n in range(120)]
    whole = _decide(StrategicState(), inputs)
    state = StrategicState()
    parts = [d for n in range(0, 120, cut) for d in _decide(state, inputs[n : n + cut])]
    assert [d.parts.get("strategic") for d in whole] == [d.parts.get("strategic") for d in parts]


def test_a_repeated_sequence_is_a_duplicate() -> None:
    """In the same round or a later one, it is dead-lettered."""
    state = StrategicState()
    assert "DUPLICATE" == _fates(_decide(state, [_input(_packet(0)), _input(_packet(0))]))[1]
    (draft,) = _decide(state, [_input(_packet(0))])
    assert draft.outcome is not None
    assert OutcomeKind.DEAD_LETTERED is draft.outcome.kind


def test_an_overtaken_sequence_is_superseded_once() -> None:
    """A bar that comes after a newer one ends as expired, each time, and is never decided."""
    state = StrategicState()
    drafts = _decide(state, [_input(_packet(n)) for n in (0, 2, 1)])
    assert Fate.SUPERSEDED == _fates(drafts)[2]
    assert drafts[2].outcome is not None
    assert OutcomeKind.EXPIRED is drafts[2].outcome.kind


def test_what_nobody_can_remember_counts_as_a_duplicate() -> None:
    """64 behind the newest, a decided and an undecided sequence look alike; twice is worse."""
    state = StrategicState()
    _decide(state, [_input(_packet(100))])
    drafts = _decide(state, [_input(_packet(100 - 63)), _input(_packet(100 - 64))])
    assert [Fate.SUPERSEDED, Fate.DUPLICATE] == _fates(drafts)


def test_a_backlog_that_an_urgent_packet_overtook_is_superseded() -> None:
    """However long it is: none of it was decided, and a dead letter for each would be wrong."""
    state = StrategicState()
    _decide(state, [_input(_packet(1))])
    for urgent in (1000, 1100):
        _decide(state, [_input(_packet(urgent, priority=2))])
    drafts = _decide(state, [_input(_packet(n)) for n in (2, 900, 1036, 1)])
    assert [Fate.SUPERSEDED] * 3 + [Fate.DUPLICATE] == _fates(drafts)
    again = StrategicLogic().load(StrategicLogic().dump(state))
    assert [Fate.SUPERSEDED] == _fates(_decide(again, [_input(_packet(2))]))


def test_a_snapshot_without_urgent_packets_is_one_from_before_the_priority_lane() -> None:
    """So workers of both versions take over from each other."""
    state, logic = StrategicState(), StrategicLogic()
    _decide(state, [_input(_packet(n)) for n in (5, 6)])
    _, latest = unpack(logic.dump(state), 2)
    assert {"AAPL": [6, 3]} == msgspec.json.decode(latest)
    assert state.latest == logic.load(logic.dump(state)).latest


def test_symbols_count_each_by_itself() -> None:
    """The same sequence of two symbols are two bars."""
    drafts = _decide(StrategicState(), [_input(_packet(3, "A")), _input(_packet(3, "B"))])
    assert ["WARMUP", "WARMUP"] == _fates(drafts)


def test_an_expired_bar_counts_and_its_sequence_too() -> None:
    """It is not decided, but later bars see it, and it is not decided when it comes again."""
    state = StrategicState()
    late = seal(OutcomeKind.EXPIRED, "strategic", Fate.DEADLINE)
    (draft,) = _decide(state, [_input(_packet(0), late)])
    assert (late, {}) == (draft.outcome, dict(draft.parts))
    assert ["DUPLICATE"] == _fates(_decide(state, [_input(_packet(0))]))
    assert (1, 0) == (len(state.windows), state.latest["AAPL"][0])


def test_dead_letters_are_no_bars() -> None:
    """What cannot be read or breaks a rule leaves sequences and windows as they were."""
    state, logic = StrategicState(), StrategicLogic()
    dead = seal(OutcomeKind.DEAD_LETTERED, "strategic", Fate.VALIDATION)
    drafts = list(logic.decide(state, [_input(_packet(0), dead), _input(None, dead)], CONTEXT))
    assert [dead, dead] == [draft.outcome for draft in drafts]
    logic.apply(state, StrategicSignal(JOURNAL, _packet(0).envelope, None))
    assert StrategicState().latest == state.latest


def test_deciding_leaves_the_state_alone() -> None:
    """Only records change it."""
    state, logic = StrategicState(), StrategicLogic()
    before = logic.dump(state)
    list(logic.decide(state, [_input(_packet(n)) for n in range(50)], CONTEXT))
    assert before == logic.dump(state)


def test_a_snapshot_decides_on_as_the_state_would() -> None:
    """Windows and sequences come back; the next decision and the next duplicate are the same."""
    logic, state = StrategicLogic(), StrategicState()
    _decide(state, [_input(_packet(n)) for n in range(55)])
    loaded = logic.load(logic.dump(state))
    inputs = [_input(_packet(54)), _input(_packet(55))]
    expected, actual = _decide(state, inputs), _decide(loaded, inputs)
    assert _fates(expected) == _fates(actual) == [Fate.DUPLICATE, ""]
    assert expected[1].parts == actual[1].parts


def test_the_stamp_names_policy_and_state() -> None:
    """Each decision says what made it, by a hash that changes with the policy's settings."""
    state = StrategicState()
    draft = next(StrategicLogic().decide(state, [_input(_packet(0))], CONTEXT))
    assert draft.policy is not None
    assert ("builtin.strategic", 64) == (draft.policy.name, len(draft.policy.sha256))
    settings = StrategicSettings()
    field = next(f.name for f in dataclasses.fields(settings) if f.type in (float, "float"))
    changes: dict[str, Any] = {field: getattr(settings, field) * (1 + 1e-9)}
    changed = StrategicLogic(dataclasses.replace(settings, **changes))
    other = next(changed.decide(state, [_input(_packet(0))], CONTEXT))
    assert other.policy is not None
    assert draft.policy.sha256 != other.policy.sha256


def test_the_trace_of_a_packet_is_not_the_policys_business() -> None:
    """Decisions depend on bars and their times, not on what travels beside them."""
    plain = [_input(_packet(n)) for n in range(60)]
    other = [
        _input(MarketData(replace(each.packet.envelope, priority=3), each.packet.bar))
        for each in plain
    ]
    first, second = _decide(StrategicState(), plain), _decide(StrategicState(), other)
    assert [d.parts for d in first] == [d.parts for d in second]
