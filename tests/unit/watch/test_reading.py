import pytest

from pipeline.errors import ForeignRecord
from pipeline.watch.reading import MidLogReader


def test_a_log_is_read_on_from_its_middle() -> None:
    """The first record counts, and those that continue its sequence."""
    reader = MidLogReader()
    assert [True, True] == [reader.accepts(offset, 3, offset - 4) for offset in (100, 101)]


def test_a_zombies_records_are_ignored() -> None:
    """Records of an epoch below a marker that passed do not count."""
    reader = MidLogReader()
    assert reader.accepts(100, 3, 96)
    reader.marker(101)
    assert not reader.accepts(102, 3, 97)
    assert reader.accepts(103, 101, 97)


def test_a_zombie_met_first_is_corrected_by_the_owner() -> None:
    """Where the marker passed before reading began, the higher epoch tells who owns the log."""
    reader = MidLogReader()
    assert reader.accepts(100, 3, 500)  # nobody could know
    assert reader.accepts(101, 90, 97)
    assert not reader.accepts(102, 3, 501)
    assert reader.accepts(103, 90, 98)


def test_a_hole_is_not_jumped() -> None:
    """Behind a lost batch nothing counts until the owner has taken over again."""
    reader = MidLogReader()
    assert reader.accepts(100, 3, 96)
    assert not reader.accepts(101, 3, 99)
    reader.marker(102)
    assert reader.accepts(103, 102, 97)
    assert not reader.accepts(104, 102, 99)


def test_after_a_marker_the_rule_holds_in_full() -> None:
    """An epoch that no marker opened cannot exist, once one has passed."""
    reader = MidLogReader()
    reader.marker(99)
    assert reader.accepts(100, 99, 96)
    with pytest.raises(ForeignRecord):
        reader.accepts(101, 100, 97)
