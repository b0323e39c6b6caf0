"""The engine without Kafka: one record per input, retries, breaker, dead letters, positions."""

from typing import Any

import pytest
from msgspec import structs

from pipeline.packets.models import Outcome, PolicyStamp, Superposition
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.policies.breaker import BreakerState
from pipeline.settings import load_settings
from pipeline.stages.contract import Draft, Input
from pipeline.stages.fates import Fate
from pipeline.testing import ManualClock
from pipeline.transport.credit import Credit
from pipeline.transport.log import Position
from tests.unit.stages.engine_factories import (
    DECISION,
    MARKET,
    NOW,
    Bench,
    FakeLogic,
    market_data,
)

POISON = b"\x00poison"


def _patient(**changes: Any) -> Any:
    """Return settings whose budget outlasts the retries on any machine."""
    return load_settings(broker=None, cascade_timeout_ms=600_000, **changes)


def _outcomes(records: list[Any]) -> list[Outcome | None]:
    return [record.envelope.outcome for record in records]


def _reasons(records: list[Any]) -> list[str]:
    return [outcome.reasons[0] if outcome else "" for outcome in _outcomes(records)]


async def test_each_input_has_one_record_in_sequence() -> None:
    """Log sequences rise by one, and each journal names its input and where to resume."""
    bench = Bench()
    records = await bench.work_off(*(market_data(sequence=n) for n in range(3)), start=4)
    journals = [record.journal for record in records]
    assert [0, 1, 2] == [journal.log_sequence for journal in journals]
    assert [(MARKET, 0, n) for n in (4, 5, 6)] == [
        (j.input_topic, j.input_partition, j.input_offset) for j in journals
    ]
    assert [5, 6, 7] == [journal.resume_offset for journal in journals]
    assert [(7, 5)] * 3 == [(journal.epoch, journal.control_epoch) for journal in journals]


async def test_the_state_is_the_fold_of_what_was_written() -> None:
    """Each record is folded into the state, no other thing is."""
    bench = Bench()
    records = await bench.work_off(market_data(), POISON, market_data(sequence=1))
    assert records == bench.ownership.state
    assert 2 == bench.ownership.sequence


async def test_a_whole_round_is_one_question() -> None:
    """While nothing fails the policy is asked once for all."""
    bench = Bench()
    await bench.work_off(*(market_data(sequence=n) for n in range(5)))
    assert [[0, 1, 2, 3, 4]] == bench.logic.asked


async def test_records_are_keyed_by_symbol() -> None:
    """A record's key is its packet's symbol, whatever the input's was."""
    bench = Bench()
    await bench.work_off(market_data("IBM"))
    assert [b"IBM"] == [key for key, _ in bench.host.log]


async def test_a_round_of_another_generation_is_dropped() -> None:
    """Records that were fetched for an ownership that ended are not touched."""
    bench = Bench()
    bench.host.generation = 2
    assert [] == await bench.work_off(market_data())
    assert 0 == bench.position.position.offset


async def test_worked_off_inputs_are_not_worked_off_again() -> None:
    """A record that comes twice, after a resume, is skipped."""
    bench = Bench()
    await bench.work_off(market_data(), market_data(sequence=1))
    assert 1 == len(await bench.work_off(market_data(sequence=1), market_data(sequence=2), start=1))


async def test_an_input_that_needs_no_record_moves_the_position() -> None:
    """Where a stage yields None nothing is written, and reading goes on behind it."""
    bench = Bench(FakeLogic(draft=lambda _: None))
    assert [] == await bench.work_off(market_data(), market_data(sequence=1))
    assert 2 == bench.position.position.offset


# -- failures --------------------------------------------------------------------------------------


async def test_a_passing_failure_is_retried_in_place() -> None:
    """The retry succeeds, counts, and the order of records stays that of the inputs."""
    left = [1]

    def fails(each: Input) -> bool:
        return each.offset == 1 and left.pop() == 1 if left else False

    bench = Bench(FakeLogic(fails), _patient())
    records = await bench.work_off(*(market_data(sequence=n) for n in range(4)))
    assert [0, 1, 2, 3] == [record.journal.input_offset for record in records]
    assert [0, 1, 0, 0] == [record.envelope.retry_count for record in records]
    assert [None] * 4 == _outcomes(records)
    assert [[0, 1, 2, 3], [1], [2, 3]] == bench.logic.asked


async def test_a_lasting_failure_ends_that_input_alone() -> None:
    """After its retries an input is dead-lettered with the cause; the others are decided."""
    bench = Bench(FakeLogic(lambda each: each.offset == 1), _patient())
    records = await bench.work_off(*(market_data(sequence=n) for n in range(3)))
    assert ["", Fate.POLICY_FAILED, ""] == _reasons(records)
    assert 2 == records[1].envelope.retry_count
    assert records[1].bar is not None
    ((topic, key, value, headers),) = bench.host.dead
    assert (f"{MARKET}.dead", f"{MARKET}:0:1".encode()) == (topic, key)
    assert value is not None
    assert b"no decision at 1" in headers["__cascade.errors.message"]
    assert b"3" == headers["__cascade.errors.attempt"]


async def test_rounds_are_tallied() -> None:
    """Rounds, records, retries and dead letters are counted, once a round."""
    bench = Bench(FakeLogic(lambda each: each.offset == 1), _patient())
    await bench.work_off(*(market_data(sequence=n) for n in range(3)))
    await bench.work_off(*(market_data(sequence=n) for n in range(3, 5)), start=3)
    tally = bench.engine.tally
    assert (2, 5, 2, 1) == (tally.rounds, tally.records, tally.retries, tally.dead_letters)
    assert tally.busy_s > 0.0


async def test_without_budget_there_is_no_retry() -> None:
    """A packet at its deadline is not tried again, and its letter still says what failed."""
    bench = Bench(FakeLogic(lambda _: True))
    records = await bench.work_off(market_data(deadline=bench.host.clock.now_us()))
    assert [Fate.POLICY_FAILED] == _reasons(records)
    assert 0 == records[0].envelope.retry_count
    assert "no decision at 0" in records[0].envelope.outcome.detail


async def test_an_open_breaker_holds_without_asking() -> None:
    """After too many failures in a row flows are held, bars travel on, and nobody is asked."""
    bench = Bench(FakeLogic(lambda _: True), _patient(breaker_failures=3))
    await bench.work_off(market_data())
    assert BreakerState.OPEN is bench.engine.breaker.state
    asked = len(bench.logic.asked)
    (held,) = await bench.work_off(market_data(sequence=1), start=1)
    assert Outcome(OutcomeKind.HELD, "strategic", (Fate.BREAKER_OPEN,)) == held.envelope.outcome
    assert held.bar is not None
    assert asked == len(bench.logic.asked)


async def test_sealed_flows_pass_an_open_breaker_as_they_are() -> None:
    """What needs no decision keeps its own fate while the breaker is open."""
    bench = Bench(settings=_patient())
    bench.engine.breaker.force_open()
    records = await bench.work_off(POISON, market_data())
    assert [Fate.MALFORMED, Fate.BREAKER_OPEN] == _reasons(records)


async def test_the_breaker_is_not_fed_by_poison() -> None:
    """Inputs that nobody can read say nothing about the policy."""
    bench = Bench(settings=_patient(breaker_failures=1))
    await bench.work_off(*[POISON] * 5)
    assert BreakerState.CLOSED is bench.engine.breaker.state


async def test_a_stage_that_yields_too_few_ends_the_ownership() -> None:
    """A broken contract is no failure of one input: the round is dropped, nothing is written."""

    class Short(FakeLogic):
        def decide(self, *arguments: Any) -> Any:
            return iter(list(super().decide(*arguments))[:-1])

    bench = Bench(Short())
    assert [] == await bench.work_off(market_data(), market_data(sequence=1))
    assert 1 == len(bench.host.losses)


# -- dead letters ----------------------------------------------------------------------------------


async def test_dead_letters_are_written_before_the_records() -> None:
    """The record that says dead-lettered comes after its letter, so that none can be missing."""
    bench = Bench()
    await bench.work_off(market_data(), POISON)
    assert ["dead letters", "records"] == bench.host.steps
    assert [POISON] == [value for _, _, value, _ in bench.host.dead]


async def test_without_its_letters_a_round_writes_nothing() -> None:
    """Where the dead-letter topic takes nothing, no record claims that it did."""
    bench = Bench()
    bench.host.takes_dead_letters = False
    assert [] == await bench.work_off(market_data(), POISON)


async def test_a_letter_is_written_where_the_flow_was_given_up_only() -> None:
    """A flow that an earlier stage dead-lettered has its letter already."""
    fate = Outcome(OutcomeKind.DEAD_LETTERED, "elsewhere", (Fate.MALFORMED,))
    bench = Bench()
    (record,) = await bench.work_off(market_data(outcome=fate))
    assert fate == record.envelope.outcome
    assert [] == bench.host.dead


# -- size ------------------------------------------------------------------------------------------


async def test_a_record_that_is_too_large_gives_way_to_a_minimal_one() -> None:
    """Its flow is dead-lettered, state and sequence go on as after any record."""
    views = tuple(Superposition(f"agent-{n}", {"BUY": 1.0}, 1.0, 1.0) for n in range(200))
    draft = Draft({"strategic": DECISION, "views": views})
    bench = Bench(FakeLogic(draft=lambda each: draft if each.offset == 0 else Draft()))
    bench.settings = load_settings(broker=None, record_max_bytes=2000)
    bench.__post_init__()
    records = await bench.work_off(market_data(), market_data(sequence=1))
    assert [Fate.TOO_LARGE, ""] == _reasons(records)
    assert [None, 1] == [records[0].strategic, records[1].journal.log_sequence]
    assert records == bench.ownership.state
    assert 1 == len(bench.host.dead)


async def test_a_decision_that_is_no_number_gives_way_too() -> None:
    """A NaN from a policy never reaches the log."""
    broken = Draft({"strategic": structs.replace(DECISION, volatility=float("nan"))})
    bench = Bench(FakeLogic(draft=lambda _: broken))
    records = await bench.work_off(market_data())
    assert [Fate.POLICY_FAILED] == _reasons(records)
    assert "volatility" in records[0].envelope.outcome.detail


# -- order and positions ---------------------------------------------------------------------------


async def test_urgent_records_are_written_before_others_are_decided() -> None:
    """In the order in which they would be anyway, and in a round without any nothing is split."""
    bench = Bench()
    priorities = (1, 2, 1, 3)
    records = await bench.work_off(
        *(market_data(sequence=n, priority=p) for n, p in enumerate(priorities))
    )
    assert [[3, 1], [0, 2]] == bench.logic.asked
    assert ["records", "records"] == bench.host.steps
    assert [3, 1, 0, 2] == [record.journal.input_offset for record in records]
    await bench.work_off(market_data(sequence=9), start=4)
    assert ["records"] * 3 == bench.host.steps


async def test_what_went_on_uses_up_credit() -> None:
    """Each record of a round counts, from when the round began."""
    credit = Credit(ManualClock().now_us)
    bench = Bench(credit=credit)
    credit.room(5000, 0.0)
    await bench.work_off(*(market_data(sequence=n) for n in range(5)))
    assert 5 == credit.under_way
    credit.came_out(NOW, NOW + 1, None)
    assert 0 == credit.under_way


async def test_priority_goes_first_and_positions_stay_safe() -> None:
    """Each record says where to resume were it the last: no input is skipped, none done twice."""
    bench = Bench()
    priorities = [1, 1, 3, 2]
    records = await bench.work_off(
        *(market_data(sequence=n, priority=p) for n, p in enumerate(priorities))
    )
    assert [2, 3, 0, 1] == [record.journal.input_offset for record in records]
    assert [0, 0, 1, 4] == [record.journal.resume_offset for record in records]
    assert (Position(4, -1, -1), set()) == (bench.position.position, bench.position.done)


async def test_a_resumed_round_skips_what_was_done_ahead() -> None:
    """Offsets worked off past the resume position are not worked off again."""
    bench = Bench()
    bench.position.done.add(2)
    records = await bench.work_off(*(market_data(sequence=n) for n in range(4)))
    assert [0, 1, 3] == [record.journal.input_offset for record in records]
    assert [1, 3, 4] == [record.journal.resume_offset for record in records]


# -- clocks ----------------------------------------------------------------------------------------


async def test_records_are_traced_by_the_wall_clock() -> None:
    """A trace says when the stage began and ended, and the journal what time it decided at."""
    bench = Bench()
    (record,) = await bench.work_off(market_data())
    now = bench.host.clock.now_us()
    (trace,) = record.envelope.trace
    assert ("strategic", now, now, now) == (
        trace.stage, trace.received, trace.started, trace.finished
    )  # fmt: skip
    assert now == record.journal.now


async def test_under_the_event_clock_nothing_depends_on_when_it_runs() -> None:
    """Trace and journal take the packet's own time, and no deadline has passed."""
    bench = Bench(settings=load_settings(broker=None, clock="event"))
    bench.host.clock.advance(s=3600)
    (record,) = await bench.work_off(market_data(accepted_at=1000, deadline=2000))
    assert None is record.envelope.outcome
    assert (1000, 1000, 1000) == (
        record.journal.now, record.envelope.trace[0].started, record.envelope.trace[0].finished
    )  # fmt: skip


async def test_the_policy_stamp_is_recorded() -> None:
    """Which policy decided stands in the envelope."""
    stamp = PolicyStamp("mine", "1", "abc", -1)
    bench = Bench(FakeLogic(draft=lambda _: Draft({"strategic": DECISION}, policy=stamp)))
    (record,) = await bench.work_off(market_data())
    assert stamp == record.envelope.policy


@pytest.mark.parametrize("count", [1, 7])
async def test_rounds_cut_differently_give_the_same_records(count: int) -> None:
    """How many records a round has changes nothing of what is written, but for its trace."""
    packets = [market_data(sequence=n) for n in range(7)]
    bench = Bench()
    for start in range(0, len(packets), count):
        await bench.work_off(*packets[start : start + count], start=start)
    whole = await Bench().work_off(*packets)
    assert whole == bench.ownership.state
