"""What the pipeline carries, measured, and which packets are shed by it."""

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.contract import Input, seal
from pipeline.stages.fates import Fate
from pipeline.stages.overload import Forecast, Throughput, judge
from tests.unit.stages.engine_factories import MARKET, NOW, market_data

MS = 1000
BUDGET_US = 100 * MS
EXPIRED = seal(OutcomeKind.EXPIRED, "strategic", Fate.DEADLINE)


def inputs(*ages_ms: float, **changes: Any) -> list[Input]:
    """Return packets that were accepted so long ago."""
    return [
        Input(
            MARKET, 0, offset, -1, -1, (-1, -1), 0, NOW, NOW, None, None,
            market_data(
                sequence=offset,
                accepted_at=NOW - round(age * MS),
                deadline=NOW - round(age * MS) + BUDGET_US,
                **changes,
            ),
            None, None,
        )
        for offset, age in enumerate(ages_ms)
    ]  # fmt: skip


def shed(found: Sequence[Input], forecast: Forecast) -> list[bool]:
    """Return which are shed."""
    return [late is not None for late in judge(found, forecast).late_us]


def carried(rate: float, waiting: int, seconds: float = 5.0) -> Throughput:
    """Return what is known after packets came out at `rate`, always with `waiting` ahead."""
    throughput = Throughput()
    step_us = 10 * MS
    each = round(rate * step_us / 1e6)
    behind = max(1, waiting // each)
    for n in range(round(seconds * 1e6 / step_us)):
        throughput.let_in(NOW + n * step_us, each)
        if n >= behind:
            begun = NOW + (n - behind) * step_us
            throughput.came_out(begun, NOW + n * step_us, begun + BUDGET_US)
    return throughput


def test_the_oldest_are_shed_and_the_others_move_up() -> None:
    """Ten come out in 10 ms each: whoever has less left than its turn takes is shed."""
    found = inputs(*(99.0 - n * 5 for n in range(12)))
    assert [True] * 2 + [False] * 10 == shed(found, Forecast(NOW, 0.0, 1000.0, 8.0 * MS))


def test_what_is_shed_takes_no_place() -> None:
    """With runs, packets behind a thousand that are shed are let in as if there were none."""
    forecast = Forecast(NOW, 0.0, 1000.0, 0.0)
    found = inputs(*[150.0] * 1000, *[1.0] * 20)
    assert [True] * 1000 + [False] * 20 == shed(found, forecast)
    assert judge(found, forecast).in_runs


def test_a_few_have_records_of_their_own() -> None:
    """While records of their own keep nobody from its deadline, nothing is shared."""
    found = inputs(150.0, 150.0, 1.0, 1.0)
    verdict = judge(found, Forecast(NOW, 0.0, 1000.0, 0.0))
    assert (False, 2) == (verdict.in_runs, verdict.late_us.count(None))


def test_those_under_way_come_first() -> None:
    """The same packet is let in with few under way, and shed with many."""
    (packet,) = inputs(0.0)
    assert [[False], [True]] == [
        shed([packet], Forecast(NOW, ahead, 1000.0, 0.0)) for ahead in (90.0, 110.0)
    ]


def test_more_than_can_be_worked_off_in_time_are_not_let_in() -> None:
    """Of a burst only as many are let in as come out before their deadline."""
    verdict = judge(inputs(*[0.0] * 500), Forecast(NOW, 0.0, 1000.0, 0.0))
    assert 100 == verdict.late_us[:100].count(None)
    assert verdict.late_us[100:].count(None) == 0


@pytest.mark.parametrize("priority", [2, 3])
def test_what_is_urgent_is_never_shed(priority: int) -> None:
    """A packet of high or emergency priority is let in however much is under way."""
    forecast = Forecast(NOW, 1e6, 10.0, 0.0)
    assert [False] == shed(inputs(50.0, priority=priority), forecast)
    assert [True] == shed(inputs(50.0), forecast)


def test_nothing_is_known_before_packets_took_long() -> None:
    """Nobody is shed by a pipeline that was never busy, however few it was given."""
    assert carried(200.0, waiting=2).forecast(NOW) is None


def test_the_rate_is_what_comes_out_under_load() -> None:
    """Packets that take more than half their time show what is carried."""
    rate = carried(1000.0, waiting=80).rate
    assert rate == pytest.approx(1000.0, rel=0.05)


def test_the_rate_falls_and_rises_with_what_comes_out() -> None:
    """A pipeline that gets slower is given less; once it takes more again it is given more."""
    throughput = carried(1000.0, waiting=80)
    at = NOW + 10_000 * MS
    rates = []
    for per_step, late_us in ((4, 80 * MS), (20, 20 * MS)):
        for _ in range(200):
            at += 10 * MS
            throughput.let_in(at - late_us, per_step, shed=True)
            throughput.came_out(at - late_us, at, at - late_us + BUDGET_US)
        rates.append(throughput.rate)
    assert rates[0] == pytest.approx(400.0, rel=0.05)
    assert (rates[1] or 0.0) >= 2000.0


def test_packets_that_come_early_tell_nothing_unless_some_were_shed() -> None:
    """A pipeline with little to do is not held to carry less, nor more, than it was seen to."""
    throughput = carried(1000.0, waiting=80)
    before = throughput.rate
    at = NOW + 10_000 * MS
    for per_step in (1, 30):
        for _ in range(200):
            at += 10 * MS
            throughput.let_in(at - 20 * MS, per_step)
            throughput.came_out(at - 20 * MS, at, at + 80 * MS)
    assert before == throughput.rate


def test_records_that_are_only_passed_on_tell_nothing() -> None:
    """They come out faster than those that are decided, and would make the rate look high."""
    throughput = carried(1000.0, waiting=80)
    before = throughput.rate
    at = NOW + 10_000 * MS
    for _ in range(200):
        at += 10 * MS
        throughput.let_in(at - 80 * MS, 1, marked=99, shed=True)
        throughput.came_out(at - 80 * MS, at, at + 20 * MS)
    assert before == throughput.rate


def test_packets_with_much_time_may_be_told_of_seldom() -> None:
    """A span between two words may be as long as packets have, and still shows what is carried."""
    throughput = Throughput()
    for at in range(NOW, NOW + 10_000 * MS, 400 * MS):
        throughput.let_in(at - 1_000 * MS, 200)
        throughput.came_out(at - 1_000 * MS, at, at + 500 * MS)
    assert throughput.rate == pytest.approx(500.0, rel=0.01)


def test_what_comes_late_is_reckoned_with_and_forgotten() -> None:
    """While packets come out later than foreseen fewer are let in; once they are in time, more."""
    throughput = carried(1000.0, waiting=80)
    at = NOW + 10_000 * MS
    shed_at = []
    for late_us in (90 * MS, 5 * MS):
        for _ in range(160):
            at += 25 * MS
            throughput.let_in(at - late_us, 5)
            throughput.came_out(at - late_us, at, at - late_us + BUDGET_US)
        forecast = throughput.forecast(at)
        assert forecast is not None
        shed_at.append(shed(inputs(50.0), forecast._replace(now_us=NOW, ahead=0.0)))
    assert [[True], [False]] == shed_at


def test_a_standstill_is_no_reason_to_shed() -> None:
    """After seconds without a packet out the next are let in at once."""
    throughput = carried(1000.0, waiting=80)
    at = NOW + 5_000 * MS
    throughput.let_in(at, 10)
    throughput.came_out(at, at + 6_000 * MS, at + BUDGET_US)
    forecast = throughput.forecast(at + 6_000 * MS)
    assert forecast is not None
    assert [False] == shed(inputs(40.0), forecast._replace(now_us=NOW))


def test_without_word_of_the_end_nobody_is_shed() -> None:
    """Once nobody can tell how far packets have come, none is held to be late."""
    throughput = carried(1000.0, waiting=80)
    assert throughput.forecast(NOW) is not None
    throughput.forget()
    assert throughput.forecast(NOW) is None
