from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.transport.log import (
    START,
    InputPosition,
    LogReader,
    Position,
    RoundCursor,
    by_priority,
)

PRIORITIES = st.integers(1, 3)
GAPPY_OFFSETS = st.lists(st.integers(0, 60), unique=True, max_size=40).map(sorted)
# What follows a log's first marker: None is another, else (whose epoch, log sequence).
ENTRIES = st.lists(
    st.none() | st.tuples(st.integers(0, 10), st.integers(0, 12)), min_size=1, max_size=60
)


def position(offset: int) -> Position:
    """Return a position that shows by epoch and sequence which offset it was made for."""
    return Position(offset, offset * 10, offset * 100)


def cursor_over(offsets: list[int], end: int) -> RoundCursor:
    """Return a cursor whose resume positions are those of `position`."""
    priors = [(at.epoch, at.sequence) for at in map(position, offsets)]
    return RoundCursor(offsets, priors, position(end))


@given(st.lists(PRIORITIES))
def test_the_order_of_a_round_is_a_stable_sort(priorities: list[int]) -> None:
    """Every record comes once, by priority, and within a priority in its place."""
    expected = [i for level in (3, 2, 1) for i, each in enumerate(priorities) if each == level]
    assert expected == by_priority(priorities)


@given(GAPPY_OFFSETS, st.randoms(use_true_random=False))
def test_the_resume_position_is_the_first_unfinished_record(
    offsets: list[int], random: Random
) -> None:
    """Whatever the order, a restart begins at the first record that is not worked off."""
    cursor, unfinished = cursor_over(offsets, 61), set(offsets)
    for offset in random.sample(offsets, len(offsets)):
        unfinished.remove(offset)
        assert position(min(unfinished, default=61)) == cursor.finish(offset)


# Evenly random, since small values do not make this simpler, only duller.
@settings(max_examples=300)
@given(GAPPY_OFFSETS, st.randoms(use_true_random=True))
def test_a_restart_from_any_snapshot_neither_skips_nor_repeats(
    offsets: list[int], random: Random
) -> None:
    """However rounds are cut and wherever work is taken over, each input gets one record.

    Some inputs need none: they move positions in memory and, by a snapshot, past a restart, but
    not in the journal. So a snapshot may know more than the records that another owner wrote
    after it.
    """
    silent = {offset for offset in offsets if random.random() < 0.5}
    priorities = {offset: random.choice((1, 2, 3)) for offset in offsets}
    journal: list[tuple[int, Position]] = []
    snapshots = [(0, START, frozenset[int]())]
    for _ in range(20):
        count, known, done = random.choice(snapshots[-4:])
        at = InputPosition(known, set(done))
        for offset, resume in journal[count:]:
            at.fold(offset, resume)
        left = [offset for offset in offsets if offset not in {offset for offset, _ in journal}]
        ahead = [o for o in offsets if o >= at.position.offset and o not in at.done]
        assert [o for o in left if o not in silent] == [o for o in ahead if o not in silent]
        assert all(each >= at.position.offset for each in at.done)

        limit = random.randint(0, 8)
        taken, end = ahead[:limit], ahead[limit] if limit < len(ahead) else 61
        cursor = cursor_over(taken, end)
        crash = random.randint(0, 8)
        for index in by_priority(priorities[offset] for offset in taken)[:crash]:
            resume = cursor.finish(taken[index])
            at.fold(taken[index], resume)
            if taken[index] not in silent:
                journal.append((taken[index], resume))
            if random.random() < 0.3:
                snapshots.append((len(journal), at.position, frozenset(at.done)))
    assert len(journal) == len({offset for offset, _ in journal})


@given(ENTRIES)
def test_reading_from_any_position_takes_the_same_records(
    entries: list[tuple[int, int] | None],
) -> None:
    """A reader that stored its position anywhere goes on like one that read it all."""
    entries = [None, *entries]
    markers = [offset for offset, entry in enumerate(entries) if entry is None]
    log = [
        entry if entry is None else (epoch_of(markers, offset, entry[0]), entry[1])
        for offset, entry in enumerate(entries)
    ]
    reader, positions, taken = LogReader(), [START], list[int]()
    for offset in range(len(log)):
        taken += read(reader, log, offset)
        positions.append(Position(offset + 1, reader.epoch, reader.sequence))
    for at in positions:
        again, from_there = LogReader(at), list[int]()
        for offset in range(at.offset, len(log)):
            from_there += read(again, log, offset)
        assert [offset for offset in taken if offset >= at.offset] == from_there


def epoch_of(markers: list[int], offset: int, which: int) -> int:
    """Return one of the epochs opened before `offset`."""
    before = [marker for marker in markers if marker < offset]
    return before[which % len(before)]


def read(reader: LogReader, log: list[tuple[int, int] | None], offset: int) -> list[int]:
    """Return [offset] if the record there counts, else []."""
    entry = log[offset]
    if entry is None:
        reader.marker(offset)
        return []
    return [offset] if reader.accepts(offset, *entry) else []
