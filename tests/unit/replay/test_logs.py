"""From where a log is read, and which of its records count."""

from typing import Any, cast

import pytest
from msgspec import structs

from pipeline.errors import PositionLost
from pipeline.packets.codec import encode
from pipeline.packets.models import Marker
from pipeline.replay.logs import accepted, snapshots_within, start_before
from pipeline.replay.reading import Entry, TopicReader
from pipeline.stages.strategic_logic import StrategicLogic
from pipeline.transport.log import START, Position
from pipeline.transport.snapshots import chunks
from tests.unit.replay.factories import STRATEGIC, FakeReader, entry, history, packets
from tests.unit.stages.engine_factories import NOW

SNAPSHOTS = f"{STRATEGIC}.snapshots"


def _log(count: int) -> list[Entry]:
    """Return a log: its marker, then records, a millisecond apart."""
    marker = encode(Marker("t", "strategic", 0, "owner", "build", NOW))
    records = history(StrategicLogic(), packets(count))
    found = [entry(STRATEGIC, 0, marker), *(each.entry for each in records)]
    return [each._replace(timestamp_ms=NOW // 1000 + each.offset) for each in found]


def _snapshot(offset: int, at: int, sequence: int, position: int, size: int = 10) -> list[Entry]:
    parts = chunks(
        "strategic", 0, Position(position, 0, sequence), (), bytes(size), NOW, chunk_bytes=10
    )
    return [entry(SNAPSHOTS, offset + n, part, NOW // 1000 + at) for n, part in enumerate(parts)]


def _reader(log: list[Entry], *snapshots: list[Entry]) -> TopicReader:
    parts = [part for each in snapshots for part in each]
    return cast(TopicReader, FakeReader({(STRATEGIC, 0): log, (SNAPSHOTS, 0): parts}))


def test_without_a_snapshot_the_log_is_read_from_its_start() -> None:
    """The first state is that before the first record."""
    start = start_before(_reader(_log(5)), STRATEGIC, 0, 3)
    assert (START, None) == (start.position, start.data)


@pytest.mark.parametrize(
    ("offset", "sequence"),
    [(2, -1), (5, 2), (9, 2), (12, 9), (30, 9)],
)
def test_the_nearest_snapshot_before_is_taken(offset: int, sequence: int) -> None:
    """Neither one that is older than need be, nor one that holds records that are wanted."""
    reader = _reader(_log(20), _snapshot(0, 4, 2, 3), _snapshot(1, 11, 9, 10))
    assert sequence == start_before(reader, STRATEGIC, 0, offset).position.sequence


def test_a_snapshot_that_holds_records_in_flight_is_not_taken_for_them() -> None:
    """Its position is where reading starts, its sequence says what is in it."""
    reader = _reader(_log(20), _snapshot(0, 4, 8, 3))
    assert START == start_before(reader, STRATEGIC, 0, 5).position
    assert 8 == start_before(reader, STRATEGIC, 0, 10).position.sequence


def test_a_snapshot_that_is_not_whole_counts_for_nothing() -> None:
    """Its last chunk makes it valid."""
    reader = _reader(_log(20), _snapshot(0, 4, 2, 3), _snapshot(1, 8, 6, 7, size=25)[:-1])
    assert 2 == start_before(reader, STRATEGIC, 0, 12).position.sequence


def test_a_log_without_its_start_needs_a_snapshot() -> None:
    """Nothing is guessed about a state that nobody can know."""
    with pytest.raises(PositionLost, match="Expected a snapshot of"):
        start_before(_reader(_log(20)[5:]), STRATEGIC, 0, 12)


def test_only_what_counts_is_read() -> None:
    """A zombie's record, one behind a hole, and markers are passed over."""
    log = _log(4)
    zombie = log[2]._replace(offset=5)
    taken = encode(Marker("u", "strategic", 0, "other", "build", NOW))
    late = history(StrategicLogic(), packets(5))[-1].record
    follows = structs.replace(late, journal=structs.replace(late.journal, epoch=6))
    hole = structs.replace(follows, journal=structs.replace(follows.journal, log_sequence=9))
    more = [
        zombie,
        entry(STRATEGIC, 6, taken),
        zombie._replace(offset=7),
        entry(STRATEGIC, 8, encode(hole)),
        entry(STRATEGIC, 9, encode(follows)),
    ]
    reader = _reader([*log, *more])
    start: Any = start_before(reader, STRATEGIC, 0, 0)
    found = [each.offset for each in accepted(reader, STRATEGIC, 0, start, 10)]
    assert [1, 2, 3, 4, 9] == found


def test_snapshots_are_found_by_the_records_that_they_end_with() -> None:
    """Those of the range, with the hash of their state."""
    reader = _reader(_log(20), _snapshot(0, 4, 2, 3), _snapshot(1, 11, 9, 10))
    found = snapshots_within(reader, (STRATEGIC, 0), NOW // 1000, (5, 15))
    assert [9] == list(found)
