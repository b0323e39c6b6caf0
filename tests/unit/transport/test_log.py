import pytest

from pipeline.errors import ForeignRecord
from pipeline.transport.log import (
    START,
    InputPosition,
    LogReader,
    Position,
    RoundCursor,
    by_priority,
)


def reader_after(*records: tuple[int, int]) -> LogReader:
    """Return a reader of a log that begins with a marker, after (epoch, sequence) records."""
    reader = LogReader()
    reader.marker(0)
    for offset, (epoch, sequence) in enumerate(records, start=1):
        reader.accepts(offset, epoch, sequence)
    return reader


# -- the reading rule ------------------------------------------------------------------------------


def test_records_of_the_epoch_count_in_sequence() -> None:
    """The owner's records count, from sequence 0 on."""
    reader = reader_after()
    assert [True, True, True] == [reader.accepts(1 + n, 0, n) for n in range(3)]
    assert (0, 2) == (reader.epoch, reader.sequence)


def test_a_log_begins_with_sequence_0() -> None:
    """A first record with another sequence lies behind a hole."""
    assert reader_after().accepts(1, 0, 1) is False


def test_a_record_of_an_old_epoch_is_ignored() -> None:
    """What an owner writes after another one's marker is as good as unwritten."""
    reader = reader_after((0, 0))
    reader.marker(2)
    assert reader.accepts(3, 0, 1) is False
    assert (2, 0) == (reader.epoch, reader.sequence)


def test_a_record_between_two_markers_belongs_to_the_first() -> None:
    """An owner that is about to be taken over may still write until the marker stands."""
    reader = LogReader()
    reader.marker(0)
    assert reader.accepts(1, 0, 0) is True
    reader.marker(2)
    assert reader.accepts(3, 2, 1) is True


def test_of_two_markers_in_a_row_the_last_counts() -> None:
    """The loser of a race writes in vain, the winner does not."""
    reader = LogReader()
    reader.marker(0)
    reader.marker(1)
    assert reader.accepts(2, 0, 0) is False
    assert reader.accepts(3, 1, 0) is True


def test_nothing_counts_behind_a_hole() -> None:
    """After a lost batch the epoch is over, however much its owner still writes."""
    reader = reader_after((0, 0))
    assert [False, False] == [reader.accepts(2, 0, 2), reader.accepts(3, 0, 3)]
    assert reader.sequence == 0


def test_the_next_owner_fills_a_hole() -> None:
    """A new epoch goes on after the last record that counted."""
    reader = reader_after((0, 0), (0, 2))
    reader.marker(3)
    assert reader.accepts(4, 3, 3) is False
    assert reader.accepts(5, 3, 1) is True


def test_a_repeated_record_counts_once() -> None:
    """A batch that a retry wrote twice changes nothing."""
    reader = reader_after((0, 0), (0, 1))
    assert [False, False] == [reader.accepts(3, 0, 0), reader.accepts(4, 0, 1)]
    assert reader.sequence == 1


def test_a_marker_leaves_the_sequence_alone() -> None:
    """Sequences run through all epochs."""
    reader = reader_after((0, 0), (0, 1))
    reader.marker(3)
    assert (3, 1) == (reader.epoch, reader.sequence)


def test_a_record_of_an_epoch_without_marker_is_an_error() -> None:
    """Such a record cannot come from the protocol, so nothing is guessed from it."""
    reader = reader_after((0, 0))
    with pytest.raises(
        ForeignRecord, match="Expected a record of an epoch from 0 to 0, was 7"
    ) as met:
        reader.accepts(2, 7, 1)
    assert met.value.offset == 2
    assert (0, 0) == (reader.epoch, reader.sequence)


@pytest.mark.parametrize("epoch", [0, -1])
def test_a_record_before_any_marker_is_an_error(epoch: int) -> None:
    """Nobody may write a log without having taken it over."""
    with pytest.raises(ForeignRecord, match=f"was {epoch} at offset 0"):
        LogReader(START).accepts(0, epoch, 0)


def test_reading_goes_on_at_a_position() -> None:
    """A position holds all that the rule needs to know of what came before."""
    reader = LogReader(Position(10, 4, 8))
    assert reader.accepts(10, 0, 9) is False
    assert reader.accepts(11, 4, 10) is False
    assert reader.accepts(12, 4, 9) is True


# -- the round -------------------------------------------------------------------------------------


def test_a_round_is_worked_off_by_priority_else_in_order() -> None:
    """Emergency first, then high, then normal; within a priority nothing is overtaken."""
    assert by_priority([1, 3, 2, 1, 3]) == [1, 4, 2, 0, 3]


def cursor() -> RoundCursor:
    """Return a cursor over three records with gaps between them."""
    return RoundCursor([5, 7, 8], [(0, 3), (6, 4), (6, 5)], Position(9, 6, 6))


def test_in_order_the_resume_position_is_the_next_record() -> None:
    """Markers and ignored records before it are not read again."""
    round_cursor = cursor()
    assert round_cursor.finish(5) == Position(7, 6, 4)
    assert round_cursor.finish(7) == Position(8, 6, 5)


def test_the_last_record_resumes_after_the_round() -> None:
    """What follows the round's last record in its fetch is not read again either."""
    round_cursor = cursor()
    assert [round_cursor.finish(offset) for offset in (5, 7, 8)][-1] == Position(9, 6, 6)


def test_a_record_left_behind_holds_the_resume_position() -> None:
    """What was overtaken by priority is where a restart begins, with the rule as it was there."""
    round_cursor = cursor()
    assert round_cursor.finish(8) == Position(5, 0, 3)
    assert round_cursor.finish(5) == Position(7, 6, 4)
    assert round_cursor.finish(7) == Position(9, 6, 6)


# -- input positions -------------------------------------------------------------------------------


def test_a_record_before_the_position_is_not_kept() -> None:
    """In order, there is nothing to remember but the position."""
    at = InputPosition(START, set())
    at.fold(0, Position(1, 0, 0))
    assert at == InputPosition(Position(1, 0, 0), set())


def test_a_record_past_the_position_is_kept_as_done() -> None:
    """A restart skips what priority worked off early."""
    at = InputPosition(START, set())
    at.fold(3, START)
    at.fold(1, START)
    assert at == InputPosition(START, {1, 3})


def test_what_the_position_passes_is_forgotten() -> None:
    """Done offsets are kept only while they lie ahead."""
    at = InputPosition(START, {0, 1, 2, 3, 6})
    at.fold(0, Position(3, 0, 2))
    assert at == InputPosition(Position(3, 0, 2), {3, 6})


def test_what_a_leap_passes_is_forgotten() -> None:
    """The same holds where the position goes further than there are done offsets."""
    at = InputPosition(START, {0, 6, 800, 900})
    at.fold(0, Position(800, 0, 2))
    assert at == InputPosition(Position(800, 0, 2), {800, 900})


def test_the_record_at_the_position_may_be_done_itself() -> None:
    """A journal may name a resume position that its own record lies at or past."""
    at = InputPosition(START, set())
    at.fold(5, Position(5, 0, 4))
    assert at == InputPosition(Position(5, 0, 4), {5})


def test_a_position_never_goes_back() -> None:
    """A snapshot may know of more inputs that need no record than the journal written after it."""
    at = InputPosition(Position(3, 0, 2), set())
    at.fold(4, Position(0, -1, -1))
    assert at == InputPosition(Position(3, 0, 2), {4})
    at.fold(1, Position(0, -1, -1))
    assert at == InputPosition(Position(3, 0, 2), {4})


def test_an_input_that_needs_more_records_is_not_done() -> None:
    """A restart comes back to an input of which only the first records stand."""
    at = InputPosition(START, set())
    at.fold(3, START, finished=False)
    assert at == InputPosition(START, set())
    at.fold(3, START, finished=True)
    assert at == InputPosition(START, {3})


def test_a_position_moves_past_what_needs_no_record() -> None:
    """Markers and ignored records are passed in memory, and what was done before is forgotten."""
    at = InputPosition(START, {2, 7})
    at.move(Position(5, 0, 4))
    assert at == InputPosition(Position(5, 0, 4), {7})
