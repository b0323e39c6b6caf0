"""What is isolated is not decided on, and the rest is."""

from typing import Any

import pytest

from pipeline.control.fences import NO_FENCES, Fences
from pipeline.control.state import ControlView, TradingState
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.contract import Context, Input, seal
from pipeline.stages.fates import Fate
from pipeline.stages.fencing import FencedLogic, fence_around
from pipeline.stages.strategic_logic import StrategicLogic
from tests.unit.stages.engine_factories import NOW, Bench, FakeLogic, market_data


def _names(*names: str) -> frozenset[str]:
    return frozenset(names)


class _Control:
    """Says what is fenced off."""

    def __init__(self, fences: Fences) -> None:
        self.fences = fences

    def view(self) -> ControlView:
        return ControlView(TradingState.ACTIVE, 5, current=True, fences=self.fences)


class _Fenced(Bench):
    """An engine behind fences."""

    def __init__(self, fences: Fences) -> None:
        super().__init__()
        self.engine._logic = FencedLogic(self.logic)  # as in `stage_app`
        self.engine._control = _Control(fences)


def _input(packet: Any, fate: Any = None) -> Input:
    return Input(
        "cascade.market", 0, 0, -1, -1, (-1, -1), NOW // 1000, NOW, NOW, b"k", b"v",
        packet, None, fate,
    )  # fmt: skip


async def test_an_isolated_symbol_is_rejected_and_others_are_decided() -> None:
    """Its packets end with the reason, their bars count, in the order they came."""
    bench = _Fenced(Fences(symbols=_names("AAPL")))
    records = await bench.work_off(market_data("AAPL"), market_data("MSFT"), market_data("AAPL"))
    fates = [record.envelope.outcome for record in records]
    assert fates[1] is None
    detail = "symbol:AAPL is isolated"
    rejected = seal(OutcomeKind.REJECTED, "strategic", Fate.ISOLATED, detail=detail)
    assert [fates[0], fates[2]] == [rejected, rejected]
    assert all(record.bar for record in records)


async def test_the_bar_of_an_isolated_source_does_not_count() -> None:
    """At the first stage, what a source sends is kept out of all windows."""
    bench = _Fenced(Fences(sources=_names("market")))
    (record,) = await bench.work_off(market_data())
    assert (record.bar, record.envelope.outcome.kind) == (None, OutcomeKind.REJECTED)
    assert record.envelope.outcome.reasons == (Fate.SOURCE_ISOLATED,)


@pytest.mark.parametrize(
    ("fences", "reason"),
    [
        (Fences(policies=_names("strategic")), Fate.ISOLATED),
        (Fences(breakers=_names("strategic")), Fate.BREAKER_OPEN),
    ],
)
async def test_an_isolated_policy_is_not_asked(fences: Fences, reason: Fate) -> None:
    """Every packet is held; not even a policy that fails comes into it."""
    bench = _Fenced(fences)
    bench.logic.fails = lambda _: True
    (record,) = await bench.work_off(market_data())
    assert (record.envelope.outcome.kind, record.envelope.outcome.reasons) == (
        OutcomeKind.HELD,
        (reason,),
    )


async def test_fences_of_other_stages_change_nothing() -> None:
    """An isolated policy of risk, or an isolated stage, is not this stage's business."""
    fences = Fences(stages=_names("strategic"), policies=_names("risk"), breakers=_names("risk"))
    (record,) = await _Fenced(fences).work_off(market_data())
    assert record.envelope.outcome is None


def test_a_fate_that_is_sealed_stays() -> None:
    """What ended before it came to the fence keeps its outcome."""
    fate = seal(OutcomeKind.HELD, "market", "EARLIER")
    logic = FencedLogic(FakeLogic())
    view = ControlView(TradingState.ACTIVE, 5, True, fences=Fences(symbols=_names("AAPL")))
    (draft,) = logic.decide([], [_input(market_data(), fate)], Context(view, -1))
    assert draft is not None
    assert draft.outcome is fate  # type: ignore[union-attr]  # a Draft, for a packet


def test_later_stages_know_the_source_by_the_flow_id() -> None:
    """Behind the first stage the envelope names the stage before, yet the source is fenced off."""
    fences = Fences(sources=_names("market", "other"))
    head = market_data(source_system="strategic").envelope
    assert "source:market" == str(fence_around(head, fences))
    assert fence_around(head, Fences(sources=_names("other"))) is None
    assert fence_around(head, NO_FENCES) is None


def test_the_strategic_windows_do_not_depend_on_how_rounds_are_cut() -> None:
    """Packets of an isolated source in the same round leave the decision on others as it is."""

    def decided(*packets: Any) -> Any:
        view = ControlView(
            TradingState.ACTIVE, 5, current=True, fences=Fences(sources=_names("bad"))
        )
        logic = FencedLogic(StrategicLogic())
        inputs = [_input(each) for each in packets]
        return list(logic.decide(logic.initial(), inputs, Context(view, -1)))[-1]

    bad = market_data(sequence=1, source_system="bad")
    good = market_data(sequence=2)
    assert decided(good).parts == decided(bad, good).parts
