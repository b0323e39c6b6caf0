"""`examine` is silent on a sound run, and each of its checkers finds what is planted for it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as replace_record

from pipeline.packets.codec import encode
from pipeline.packets.models import Marker, Outcome
from pipeline.packets.vocabulary import OutcomeKind, Side, Verdict
from pipeline.rules.oracle import (
    CHECKERS,
    Evidence,
    LogReading,
    VenueFact,
    accepted_of,
    examine,
    orders_are_announced_in_time,
    orders_are_sent_in_time,
)
from tests.unit.rules.histories import NOW, ORDER, change, drop, repeat, sound

Plant = Callable[[Evidence], Evidence]
SECOND = 1_000_000


def _rejected(run: Evidence) -> Evidence:
    """Risk rejected the flow that was traded."""
    risk = replace_record(run.of("risk")[0].record.risk, verdict=Verdict.REJECT)
    return change(run, "risk", 0, risk=risk)


def _revived(run: Evidence) -> Evidence:
    """Execution takes up what the strategic stage held."""
    held = run.of("execution")[1].record
    outcome = Outcome(OutcomeKind.REJECTED, "execution", ())
    envelope = replace_record(held.envelope, outcome=outcome)
    return change(run, "execution", 1, envelope=envelope)


def _unended(run: Evidence) -> Evidence:
    held = run.of("execution")[1].record
    return change(run, "execution", 1, envelope=replace_record(held.envelope, outcome=None))


def _overtaken(run: Evidence) -> Evidence:
    """The tactical bars change places."""
    first, second = run.of("tactical")
    swapped = [
        first._replace(record=replace_record(second.record, journal=first.journal)),
        second._replace(record=replace_record(first.record, journal=second.journal)),
    ]
    return replace(run, records={**run.records, "cascade.tactical": swapped})


def _larger(run: Evidence) -> Evidence:
    """Risk approved half of what was ordered."""
    risk = run.of("risk")[0].record.risk
    bounds = replace_record(risk.envelope, max_quantity=5.0)
    return change(run, "risk", 0, risk=replace_record(risk, envelope=bounds))


def _other_side(run: Evidence) -> Evidence:
    risk = run.of("risk")[0].record.risk
    bounds = replace_record(risk.envelope, side=Side.SELL)
    return change(run, "risk", 0, risk=replace_record(risk, envelope=bounds))


def _at_venue(*facts: VenueFact) -> Plant:
    return lambda run: replace(run, venue=facts)


MORE = {("cascade.market", 0): range(3)}
TAKEN = VenueFact(ORDER, NOW, 10.0)

PLANTED: dict[str, tuple[str, Plant]] = {
    "a record of nobody": ("foreign", lambda run: replace(run, foreign=["[0]@9: stray"])),
    "market data lost": ("one-record-strategic", lambda run: replace(run, market=MORE)),
    "a signal lost": ("one-record-tactical", lambda run: drop(run, "tactical", 1)),
    "a signal twice": ("one-record-tactical", lambda run: repeat(run, "tactical", 1)),
    "a fill that risk missed": ("one-record-risk", lambda run: drop(run, "risk", 2)),
    "an assessment lost": ("one-record-execution", lambda run: drop(run, "execution", 1)),
    "an old epoch used": (
        "fencing", lambda run: change(run, "risk", 1, journal={"input_epoch": 1}),
    ),
    "a void record used": (
        "fencing", lambda run: change(run, "execution", 1, journal={"input_offset": 99}),
    ),
    "bars out of order": ("order", _overtaken),
    "a held flow taken up": ("fates", _revived),
    "a flow without an end": ("conservation", _unended),
    "an order against a rejection": ("approval", _rejected),
    "an order larger than approved": ("bounds", _larger),
    "an order on the other side": ("bounds", _other_side),
    "an approved flow left open": ("ends", lambda run: drop(run, "fills", 1)),
    "an order ended twice": ("ends", lambda run: repeat(run, "fills", 1)),
    "a reservation kept": ("reservations", lambda run: change(run, "risk", 2, released=60.0)),
    "an order taken twice": ("sent-once", _at_venue(TAKEN, TAKEN)),
    "an order from nowhere": ("announced", _at_venue(TAKEN, VenueFact("stray", NOW, 0.0))),
    "an order taken late": ("deadline", _at_venue(VenueFact(ORDER, NOW + 2 * SECOND, 10.0))),
    "an order announced late": (
        "deadline", lambda run: change(run, "fills", 0, journal={"now": NOW + 2 * SECOND}),
    ),
    "a fill not booked": ("reconciled", _at_venue(VenueFact(ORDER, NOW, 20.0))),
    "a fill that never was": ("reconciled", _at_venue()),
}  # fmt: skip


def test_a_sound_run_has_no_findings() -> None:
    """Every checker is content, with the venue asked and without."""
    assert [] == examine(sound())
    assert [] == examine(replace(sound(), venue=None))


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_violation_is_found(name: str) -> None:
    """The checker that promises it names the violation."""
    checker, plant = PLANTED[name]
    assert checker in {each.checker for each in examine(plant(sound()))}


def test_every_checker_has_its_planted_violation() -> None:
    """No checker is there that nothing has shown to work."""
    assert {each.name for each in CHECKERS} == {checker for checker, _ in PLANTED.values()}


def test_what_is_lost_and_what_is_doubled_is_told_apart() -> None:
    """A missing record or end counts as lost, two of one as doubled."""

    def count(run: Evidence) -> tuple[bool, bool]:
        found = examine(run)
        return any(each.lost for each in found), any(each.doubled for each in found)

    assert (False, False) == count(_larger(sound()))
    assert (True, False) == count(drop(sound(), "tactical", 1))
    assert (True, False) == count(replace(sound(), market=MORE))
    assert (False, True) == count(repeat(sound(), "execution", 1))
    assert (False, True) == count(_at_venue(TAKEN, TAKEN)(sound()))
    # Risk has no record of the second end, either.
    assert (True, True) == count(repeat(sound(), "fills", 1))


def test_urgent_bars_may_overtake() -> None:
    """Lanes have an order each; between them there is none."""
    run = _overtaken(sound())
    urgent = replace_record(run.of("tactical")[0].record.envelope, priority=2)
    found = examine(change(run, "tactical", 0, envelope=urgent))
    assert "order" not in {each.checker for each in found}


def test_deadlines_hold_to_the_microsecond_without_grace() -> None:
    """The last instant to send at is the deadline itself."""
    fills = sound().of("fills")
    deadline = NOW + 100_000
    assert [] == orders_are_sent_in_time(fills, [VenueFact(ORDER, deadline, 10.0)])
    assert 1 == len(orders_are_sent_in_time(fills, [VenueFact(ORDER, deadline + 1, 10.0)]))
    late = change(sound(), "fills", 0, journal={"now": deadline + 1}).of("fills")
    assert [] == orders_are_announced_in_time(fills)
    assert 1 == len(orders_are_announced_in_time(late))


# -- a log as it comes -----------------------------------------------------------------------------


def _marker(owner: str = "owner") -> bytes:
    return encode(Marker("token", "strategic", 0, owner, "build", NOW))


def _record(sequence: int, epoch: int, **changes: Any) -> bytes:
    record = sound().of("strategic")[0].record
    journal = replace_record(record.journal, log_sequence=sequence, epoch=epoch, **changes)
    return encode(replace_record(record, journal=journal))


def test_a_reading_tells_what_counts_from_what_is_void() -> None:
    """Records of an old epoch and behind a hole are void, with both epochs named."""
    reading = LogReading()
    entries = [_marker(), _record(0, 0), _marker(), _record(1, 0), _record(1, 2), _record(3, 2)]
    counted = [reading.add(0, offset, value) for offset, value in enumerate(entries)]
    assert [1, 4] == [each.offset for each in counted if each is not None]
    assert [(3, 0, 2), (5, 2, 2)] == [(e.offset, e.epoch, e.newest) for e in reading.void]
    assert ([], 2, 2) == (reading.foreign, reading.epoch(0), reading.markers(0))


def test_a_record_in_anothers_epoch_is_foreign() -> None:
    """Whoever writes under an epoch opened it: two owners never share one."""
    reading = LogReading()
    reading.add(0, 0, _marker())
    reading.add(0, 1, _record(0, 0, owner="another"))
    assert ["[0]@1: expected a record of owner, who opened epoch 0, was one of another"] == (
        reading.foreign
    )


def test_reading_may_begin_at_a_stored_position() -> None:
    """With epoch and sequence before it, the rest of a log is read like the whole."""
    entries = list(enumerate([_marker(), _record(0, 0), _record(1, 0), _record(2, 0)]))
    whole = list(accepted_of(0, entries))
    assert whole[1:] == list(accepted_of(0, entries[2:], epoch=0, sequence=0))
    assert [] == list(accepted_of(0, entries[2:]))
