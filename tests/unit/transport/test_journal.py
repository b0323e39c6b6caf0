"""What an owner folds from its log's journals, and what it knows of its unread records."""

from typing import Any

from pipeline.packets.models import Journal
from pipeline.transport.journal import (
    LogSpec,
    Ownership,
    cursors_of,
    fold_journal,
    input_readers,
)
from pipeline.transport.log import InputPosition, Position

INPUT = ("cascade.tactical", 1)
FILLS = ("cascade.fills", 0)
SPEC = LogSpec(
    "risk", "cascade.risk", "cascade.fills", ("cascade.tactical",),
    logs=frozenset({"cascade.fills", "cascade.tactical"}),
)  # fmt: skip


def _journal(offset: int, resume: int, where: tuple[str, int] = INPUT) -> Journal:
    return Journal(0, 0, *where, offset, 3, 4, resume, 3, resume, 0, 0, "o", "b")


def _ownership(**changes: Any) -> Ownership:
    fields: dict[str, Any] = {
        "partition": 0, "epoch": 4, "sequence": 9, "state": [], "positions": {}, "readers": {},
        "read_back": (9, 4),
    }  # fmt: skip
    return Ownership(**{**fields, **changes})


def test_positions_follow_the_journals() -> None:
    """Each input resumes where its last record says; what was done ahead is remembered."""
    positions: dict[tuple[str, int], InputPosition] = {}
    fold_journal(positions, _journal(7, 5))
    assert (Position(5, 3, 5), {7}) == (positions[INPUT].position, positions[INPUT].done)
    fold_journal(positions, _journal(5, 8))
    assert (Position(8, 3, 8), set()) == (positions[INPUT].position, positions[INPUT].done)


def test_inputs_are_followed_each_by_itself() -> None:
    """A vector of positions: one input's record leaves the others alone."""
    positions: dict[tuple[str, int], InputPosition] = {}
    fold_journal(positions, _journal(5, 6))
    fold_journal(positions, _journal(0, 1, FILLS))
    assert [1, 6] == [positions[where].position.offset for where in (FILLS, INPUT)]


def test_an_input_with_more_records_to_come_is_not_done() -> None:
    """Only the last of several records finishes its input."""
    positions: dict[tuple[str, int], InputPosition] = {}
    fold_journal(positions, _journal(5, 5), finished=False)
    assert (5, set()) == (positions[INPUT].position.offset, positions[INPUT].done)


def test_cursors_hold_all_of_a_position() -> None:
    """A snapshot stores where to resume, the rule's position there, and what is done ahead."""
    positions = {INPUT: InputPosition(Position(5, 3, 4), {9, 7})}
    (cursor,) = cursors_of(positions)
    assert (*INPUT, 5, 3, 4, (7, 9)) == (
        cursor.topic, cursor.partition, cursor.offset, cursor.epoch, cursor.sequence, cursor.done
    )  # fmt: skip


def test_an_owner_reads_its_partition_and_all_joined_ones() -> None:
    """Risk owns by fills and reads every tactical partition."""
    expected = [("cascade.fills", 2), ("cascade.tactical", 0), ("cascade.tactical", 1)]
    assert expected == SPEC.inputs(2, {"cascade.tactical": 2, "cascade.fills": 3})


def test_an_owner_reads_its_partition_of_the_priority_topic() -> None:
    """Where there is one; a cluster from before it has none to count."""
    spec = LogSpec("first", "log", "normal", priority="urgent")
    assert [("normal", 2), ("urgent", 2)] == spec.inputs(2, {"normal": 4, "urgent": 4})
    assert [("normal", 2)] == spec.inputs(2, {"normal": 4})
    assert ("normal", "urgent") == spec.sources


def test_inputs_that_are_logs_have_a_reading_rule() -> None:
    """It stands at the input's position; an ingest topic has none."""
    positions = {
        INPUT: InputPosition(Position(5, 3, 4), set()),
        ("cascade.market", 0): InputPosition(Position(5, -1, -1), set()),
    }
    readers = input_readers(SPEC, positions)
    assert [(INPUT, 3, 4)] == [(where, r.epoch, r.sequence) for where, r in readers.items()]


def test_the_oldest_unread_record_has_an_age() -> None:
    """It ends when the record is read back, whatever was written since."""
    ownership = _ownership()
    assert 0.0 == ownership.oldest_unread_s()
    ownership.sequence = 12
    ownership.written(3)
    assert ownership.oldest_unread_s() > 0.0
    ownership.read_back = (11, 20)
    assert ownership.oldest_unread_s() > 0.0
    ownership.read_back = (12, 21)
    assert 0.0 == ownership.oldest_unread_s()


def test_writing_nothing_waits_for_nothing() -> None:
    """A round without records leaves nothing unread."""
    ownership = _ownership(read_back=(0, 0))
    ownership.written(0)
    assert (0.0, 0) == (ownership.oldest_unread_s(), ownership.records_since_snapshot)
