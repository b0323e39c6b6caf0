"""Windows: which of a log's newest records count, and what nobody can have written."""

from typing import Any

from msgspec.structs import replace

from pipeline.packets.codec import encode
from pipeline.packets.models import Marker
from pipeline.rules.windows import LogWindow, PartitionWindow
from tests.unit.rules.real_packets import run

TOPIC = "cascade.strategic"


def _marker(offset: int) -> tuple[int, bytes]:
    return offset, encode(Marker(f"t{offset}", "strategic", 0, "reference", "reference", 0))


def _record(offset: int, epoch: int, sequence: int) -> tuple[int, bytes]:
    record = run()["strategic"][sequence]
    journal = replace(record.journal, epoch=epoch, log_sequence=sequence)
    return offset, encode(replace(record, journal=journal))


def _window(*entries: tuple[int, bytes | None], whole: bool = False) -> LogWindow:
    return LogWindow(TOPIC, {0: PartitionWindow(entries[0][0], whole, entries)})


def _offsets(window: LogWindow) -> list[Any]:
    return [each.offset for each in window.records]


def test_a_window_in_an_epoch() -> None:
    """Without a marker in sight all records of the one epoch count."""
    window = _window(_record(50, 7, 40), _record(51, 7, 41), _record(52, 7, 42))
    assert ([50, 51, 52], []) == (_offsets(window), list(window.foreign))


def test_a_fenced_owner_does_not_count() -> None:
    """Of two epochs before any marker the higher is in force; the other's owner was fenced."""
    window = _window(
        _record(50, 3, 99), _record(51, 7, 40), _record(52, 3, 100), _record(53, 7, 41)
    )
    assert ([51, 53], []) == (_offsets(window), list(window.foreign))


def test_a_marker_ends_an_epoch() -> None:
    """Behind a marker only its own epoch counts, and goes on with the sequence."""
    window = _window(
        _record(50, 7, 40),
        _marker(51),
        _record(52, 7, 41),
        _record(53, 51, 41),
        _record(54, 51, 43),
    )
    assert ([50, 53], []) == (_offsets(window), list(window.foreign))


def test_a_window_that_opens_with_markers() -> None:
    """Markers that nobody wrote behind change nothing; the first record gives the sequence."""
    window = _window(_marker(50), _marker(51), _record(52, 51, 41), _record(53, 51, 42))
    assert [52, 53] == _offsets(window)


def test_a_fenced_owner_behind_opening_markers() -> None:
    """Records of an epoch before the window do not count behind its first marker."""
    window = _window(_marker(50), _record(51, 7, 40), _record(52, 50, 40))
    assert ([52], []) == (_offsets(window), list(window.foreign))


def test_a_hole_is_not_jumped() -> None:
    """Behind a lost record nothing counts until the next marker."""
    window = _window(_record(50, 7, 40), _record(51, 7, 42), _marker(52), _record(53, 52, 41))
    assert [50, 53] == _offsets(window)


def test_an_epoch_that_nobody_opened_is_foreign() -> None:
    """A record whose epoch lies in the window and was never opened has no owner."""
    window = _window(_record(50, 7, 40), _record(51, 50, 41))
    assert 1 == len(window.foreign)
    assert window.foreign[0].startswith(f"{TOPIC}[0]@51")


def test_the_whole_log_is_read_by_the_rule() -> None:
    """From the start of a log on, the rule needs no guess: before a marker nothing counts."""
    window = _window(_record(0, 7, 0), _marker(1), _record(2, 1, 0), whole=True)
    assert ([2], 1) == (_offsets(window), len(window.foreign))


def test_an_unreadable_record_is_named() -> None:
    """A record that counts and cannot be read is reported; those behind it are read."""
    offset, value = _record(51, 7, 41)
    window = _window(_record(50, 7, 40), (offset, value[:-3]), _record(52, 7, 42))
    assert ([50, 52], 1) == (_offsets(window), len(window.unreadable))
