"""Records made again: by the same code, by other decisions, from other inputs, over failures."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from pipeline.control.fences import Fences
from pipeline.packets.codec import encode
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.policies.strategic import StrategicSettings
from pipeline.replay.compare import Agreement, agreement
from pipeline.replay.logs import LogStart
from pipeline.replay.recompute import Made, Recomputer, Recorded, Variant
from pipeline.stages.contract import Context, Draft, seal
from pipeline.stages.fates import Fate
from pipeline.stages.routes import ROUTES
from pipeline.stages.strategic_logic import StrategicLogic
from pipeline.transport.log import START
from tests.unit.replay.factories import ACTIVE, SETTINGS, history, packets
from tests.unit.stages.engine_factories import market_data

SAME = [Agreement.IDENTICAL]


class Fragile(StrategicLogic):
    """Fails on some sequence numbers, whenever they are decided."""

    broken: tuple[int, ...] = (3, 5)

    def decide(self, state: Any, inputs: Any, context: Context) -> Iterator[Draft]:
        for index, each in enumerate(inputs):
            if each.packet.envelope.sequence in self.broken:
                raise ValueError("no idea")
            yield from super().decide(
                state, [each], Context(context.control, _next(context, index))
            )


def _next(context: Context, index: int) -> int:
    return context.state_sequence + index


def _remade(
    records: list[Recorded], *logics: StrategicLogic, changed: dict[int, Any] | None = None
) -> list[tuple[Made, ...]]:
    variants = [Variant(str(number), logic) for number, logic in enumerate(logics)]
    recomputer = Recomputer(ROUTES["strategic"], SETTINGS, variants)
    recomputer.begin(LogStart(START))
    return list(recomputer.remake(records, changed or {}))


def _agreements(records: list[Recorded], *logics: StrategicLogic) -> list[Agreement]:
    made = _remade(records, *logics)
    return [agreement(each, made[0]) for each, made in zip(records, made, strict=True)]


def test_the_same_code_makes_the_same_bytes() -> None:
    """However rounds were cut: one record at a time then, sixty at once now."""
    records = history(StrategicLogic(), packets(60))
    assert SAME * 60 == _agreements(records, StrategicLogic())


def test_what_could_not_be_read_or_came_twice_comes_out_the_same() -> None:
    """Fates that the engine seals are sealed again: malformed, duplicate, superseded, expired."""
    first, second, third = packets(3)
    late = market_data(sequence=9, deadline=1)
    records = history(StrategicLogic(), [first, b"\x00noise", third, first, second, late])
    kinds = [each.record.envelope.outcome.kind for each in records if each.record.envelope.outcome]
    assert {OutcomeKind.DEAD_LETTERED, OutcomeKind.EXPIRED, OutcomeKind.HELD} == set(kinds)
    assert SAME * 6 == _agreements(records, StrategicLogic())


def test_what_was_isolated_then_is_isolated_again() -> None:
    """The control view of the record decides, not that of now."""
    view = replace(ACTIVE, fences=Fences(symbols=frozenset({"AAPL"})))
    records = history(StrategicLogic(), packets(2), view=view)
    assert (Fate.ISOLATED,) == records[0].record.envelope.outcome.reasons
    assert SAME * 2 == _agreements(records, StrategicLogic())


def test_other_settings_decide_otherwise_and_the_state_stays_historys() -> None:
    """Each record is judged on its own: one that differs makes none after it differ."""
    records = history(StrategicLogic(), packets(60))
    other = StrategicLogic(StrategicSettings(mlmi_weight=0.2))
    found = [
        [agreement(each, made) for made in both]
        for each, both in zip(records, _remade(records, StrategicLogic(), other), strict=True)
    ]
    assert SAME * 60 == [now for now, _ in found]
    assert Agreement.DIFFERENT in {changed for _, changed in found}


def test_a_changed_input_reaches_the_second_variant_only() -> None:
    """The first is the check that nothing else changed."""
    records = history(StrategicLogic(), packets(50))
    bar = structs.replace(market_data().bar, close=10.9, high=12.0)
    value = encode(structs.replace(market_data(sequence=49), bar=bar))
    changed = {49: records[49].source._replace(value=value)}
    logic = StrategicLogic()
    shared = Variant("now", logic)
    recomputer = Recomputer(ROUTES["strategic"], SETTINGS, [shared, shared])
    recomputer.begin(LogStart(START))
    made = list(recomputer.remake(records, changed))
    assert Agreement.IDENTICAL is agreement(records[49], made[49][0])
    assert Agreement.DIFFERENT is agreement(records[49], made[49][1])
    assert SAME * 49 == [agreement(records[n], made[n][1]) for n in range(49)]


def test_a_policy_that_fails_again_gives_the_same_dead_letter() -> None:
    """Retries come from the record, the error from the policy; those around it are decided."""
    values = packets(7)
    good = history(StrategicLogic(), values)
    detail = "after 2 of 2 retries: ValueError('no idea')"
    fate = seal(OutcomeKind.DEAD_LETTERED, "strategic", Fate.POLICY_FAILED, detail=detail)
    dead = history(StrategicLogic(), values, retries=2, instead=Draft(outcome=fate))
    records = [dead[n] if n in Fragile.broken else good[n] for n in range(7)]
    assert SAME * 7 == _agreements(records, Fragile())


def test_a_breaker_that_held_a_record_is_taken_as_recorded() -> None:
    """The engine's breaker lies outside the log, so its word is history's."""
    held = Draft(outcome=seal(OutcomeKind.HELD, "strategic", Fate.BREAKER_OPEN))
    records = history(StrategicLogic(), packets(3), instead=held)
    assert SAME * 3 == _agreements(records, StrategicLogic())


def test_what_was_shed_is_taken_as_recorded() -> None:
    """How fast the pipeline was lies outside the log, too."""
    shed = Draft(outcome=seal(OutcomeKind.SHED, "strategic", Fate.OVERLOAD, detail="12.0 ms late"))
    records = history(StrategicLogic(), packets(3), instead=shed)
    assert SAME * 3 == _agreements(records, StrategicLogic())


def test_a_breaker_forced_open_by_command_is_decided_again() -> None:
    """That one the control log knows: without the command the record comes out otherwise."""
    detail = "forced open"
    held = Draft(outcome=seal(OutcomeKind.HELD, "strategic", Fate.BREAKER_OPEN, detail=detail))
    records = history(StrategicLogic(), packets(1), instead=held)
    assert [Agreement.DIFFERENT] == _agreements(records, StrategicLogic())


@pytest.mark.parametrize("number", [0, 20])
def test_a_state_is_taken_from_a_snapshot(number: int) -> None:
    """What was folded before need not be there."""
    records = history(StrategicLogic(), packets(60))
    whole = Recomputer(ROUTES["strategic"], SETTINGS, [Variant("now", StrategicLogic())])
    whole.begin(LogStart(START))
    for each in records[:number]:
        whole.fold(each.record)
    data = whole.variants[0].dump()

    later = Recomputer(ROUTES["strategic"], SETTINGS, [Variant("now", StrategicLogic())])
    later.begin(LogStart(START, None, data))
    made = list(later.remake(records[number:], {}))
    assert SAME * (60 - number) == [
        agreement(each, one) for each, (one,) in zip(records[number:], made, strict=True)
    ]
