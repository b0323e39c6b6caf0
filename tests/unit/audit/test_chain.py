"""The audit log: whatever was changed, is missing or out of order is named; a lost race is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pipeline.audit.chain import START, ChainHead, ChainReader, sha256_of
from pipeline.audit.source import RawRecord
from pipeline.audit.verifying import Verdict, against_topics, exported, read_exported, verify
from pipeline.errors import ConfigurationError
from pipeline.packets.codec import decode_as, encode
from pipeline.packets.events import AuditRecord
from tests.unit.audit.chains import Log, chained, log_of, window


def named(verdict: Verdict) -> list[tuple[str, int]]:
    """Return kind and sequence of the faults of a log."""
    return [(str(each.kind), each.sequence) for each in verdict.faults]


def altered(log: Log, at: int, **changes: object) -> Log:
    """Return the log with one record's fields changed."""
    record = replace(decode_as(log[at][1], AuditRecord), **changes)
    return [*log[:at], (at, encode(record)), *log[at + 1 :]]


def renumbered(values: list[bytes | None]) -> Log:
    """Return values as a log."""
    return list(enumerate(values))


def test_a_sound_log_is_intact() -> None:
    """All records count, and the head is the last."""
    log = log_of()
    verdict = verify(log)

    assert verdict.intact
    assert (8, 0, 7) == (verdict.records, verdict.lost_races, verdict.head[0])
    assert sha256_of(log[-1][1] or b"") == verdict.head[1]


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize(
    "changes",
    [
        {"message": "nothing found"},
        {"previous_sha256": "0" * 64},
        {"timestamp": 2},
        {"details": ""},
    ],
)
def test_a_record_that_was_changed_is_named(at: int, changes: dict[str, object]) -> None:
    """Whichever field it is: it, and no neighbour of it."""
    faults = [each for each in named(verify(altered(log_of(), at, **changes))) if each[1] == at]

    assert [("changed", at)] == faults[:1]
    assert {at, at + 1} >= {each for _, each in named(verify(altered(log_of(), at, **changes)))}


def test_a_sequence_that_was_changed_is_named() -> None:
    """The record that claims another number is the one that was changed."""
    assert ("changed", 3) in named(verify(altered(log_of(), 3, sequence=30)))


@pytest.mark.parametrize("at", range(1, 7))
def test_a_record_that_cannot_be_read_is_named(at: int) -> None:
    """Flipped bytes in the middle of it, or none at all."""
    log = log_of()
    log[at] = (at, b"\0" + (log[at][1] or b"")[1:])

    assert ("changed", at) == named(verify(log))[0]


@pytest.mark.parametrize("at", range(7))
def test_a_record_that_is_missing_is_named(at: int) -> None:
    """Also the first of all."""
    values = [value for _, value in log_of()]
    del values[at]

    assert ("missing", at) == named(verify(renumbered(values)))[0]


@pytest.mark.parametrize("at", range(1, 6))
def test_records_that_were_swapped_are_named(at: int) -> None:
    """The one that comes behind its successor is out of order."""
    values = [value for _, value in log_of()]
    values[at], values[at + 1] = values[at + 1], values[at]

    assert ("reordered", at) in named(verify(renumbered(values)))


def test_the_last_record_changed_is_found_by_its_noted_hash() -> None:
    """A chain cannot tell its own end; whoever noted the head can."""
    log = log_of()
    before, after = verify(log).head, verify(altered(log, 7, message="x")).head

    assert before[0] == after[0]
    assert before[1] != after[1]


def test_of_two_racing_auditors_one_counts_and_nothing_is_broken() -> None:
    """Both continue the same record: the first in the log counts, the other is passed over."""
    log = log_of(4)
    head = verify(log).head
    mine, yours = (
        chained(ChainHead(*head), window(15, end), window(end, end + 5)) for end in (20, 30)
    )
    values = [value for _, value in log] + [mine[0], yours[0], yours[1], mine[1]]
    verdict = verify(
        renumbered([*values, *chained(ChainHead(5, sha256_of(mine[1])), window(25, 40))])
    )

    assert [] == named(verdict)
    assert (7, 2, 6) == (verdict.records, verdict.lost_races, verdict.head[0])


def test_a_record_forged_on_top_of_nothing_known_is_named() -> None:
    """A lost race builds on a record that is there; this one does not."""
    values = [value for _, value in log_of()]
    forged = chained(ChainHead(3, "f" * 64), window(100, 105))
    values.insert(6, forged[0])

    assert ("changed", 4) in named(verify(renumbered(values)))


def test_a_window_that_leaves_records_out_is_named() -> None:
    """Windows of a partition follow on each other."""
    (opening,) = (value for _, value in log_of(1))
    assert opening is not None
    more = chained(ChainHead(0, sha256_of(opening)), window(0, 5), window(7, 9), window(8, 12))

    assert [("missing", 2), ("changed", 3)] == named(verify(renumbered([opening, *more])))


def test_a_log_whose_start_is_gone_is_checked_from_where_it_begins() -> None:
    """Retention takes the oldest records; what is left is a chain of its own."""
    verdict = verify(log_of()[3:])

    assert verdict.intact
    assert (3, 5) == (verdict.first, verdict.records)


def test_windows_are_compared_with_the_topics() -> None:
    """A record that was changed, or is gone, since it was audited is found by its window."""
    stands = {n: b"v%d" % n for n in range(35)}

    def read(topic: str, partition: int, first: int, end: int) -> Iterator[RawRecord]:
        for offset in range(first, end):
            if offset in stands:
                yield RawRecord(topic, partition, offset, 0, b"k", stands[offset], ())

    first = {("cascade.control", 0): 0}
    sound = against_topics(verify(log_of()), first, read)
    stands[12] = b"other"
    del stands[21]
    compared, gone, faults = against_topics(verify(log_of()), first, read)

    assert (7, 0, []) == sound
    assert (7, 0) == (compared, gone)
    assert [("changed", 3), ("missing", 5)] == [(str(f.kind), f.sequence) for f in faults]
    assert 2 == against_topics(verify(log_of()), {("cascade.control", 0): 10}, read)[1]


def test_an_exported_log_says_the_same(tmp_path: Path) -> None:
    """Bytes as they stand, a record a line; a line that is none cannot be read."""
    file = tmp_path / "audit.jsonl"
    with file.open("w") as out:
        assert 8 == exported(log_of(), out)

    assert verify(log_of()) == verify(read_exported(file))
    file.write_text("{}\n")
    with pytest.raises(ConfigurationError, match=r"audit\.jsonl:1"):
        list(read_exported(file))


def test_a_reader_goes_on_behind_what_was_changed() -> None:
    """An auditor that starts over has a head to add to, whatever was done to the log."""
    log = log_of()
    log[5] = (5, b"garbage")
    reader = ChainReader(START)
    for offset, value in log:
        reader.add(offset, value)

    assert ChainHead(7, sha256_of(log[7][1] or b"")) == reader.head
