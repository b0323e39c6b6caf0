"""Which ranges of which logs are replayed."""

from typing import cast

import pytest

from pipeline.errors import UsageError
from pipeline.packets.codec import encode
from pipeline.packets.events import EmergencyCourse, EmergencyEvent, EmergencyLevel, EmergencyType
from pipeline.replay.reading import Entry, TopicReader
from pipeline.replay.selection import Bounds, LogRange, of_emergency, of_topic
from pipeline.stages.strategic_logic import StrategicLogic
from tests.unit.replay.factories import STRATEGIC, FakeReader, entry, history, packets
from tests.unit.stages.engine_factories import MARKET, NOW

AT_MS = NOW // 1000


def _reader() -> TopicReader:
    """Return twenty packets of one partition and what strategic made of them, a second apart."""
    records = history(StrategicLogic(), packets(20))
    topics = {
        (MARKET, 0): [_at(each.source) for each in records],
        (STRATEGIC, 0): [_at(each.entry) for each in records],
        ("cascade.tactical", 0): [],
        ("cascade.emergency", 0): _emergency(5, 8),
    }
    return cast(TopicReader, FakeReader(topics))


def _at(each: Entry) -> Entry:
    return each._replace(timestamp_ms=AT_MS + each.offset * 1000)


def _emergency(*seconds: int) -> list[Entry]:
    events = [
        EmergencyEvent(
            "e1", EmergencyType.DATA_CORRUPTION, EmergencyLevel.CAUTION, NOW, "me", ("tactical",),
            "odd", "{}", (), "", 0.0, EmergencyCourse.DECLARED, NOW + second * 1_000_000,
        )
        for second in seconds
    ]  # fmt: skip
    return [entry("cascade.emergency", n, encode(each)) for n, each in enumerate(events)]


@pytest.mark.parametrize(
    ("bounds", "start", "end"),
    [
        (Bounds(), 1, 21),
        (Bounds(from_offset=3, to_offset=9), 3, 9),
        (Bounds(from_us=NOW + 4_000_000), 4, 21),
        (Bounds(to_us=NOW + 4_000_000), 1, 4),
        (Bounds(from_us=NOW + 4_000_000, to_offset=9), 4, 9),
    ],
)
def test_a_log_is_cut_by_offsets_and_times(bounds: Bounds, start: int, end: int) -> None:
    """Ends are the first that are not meant any more."""
    found = of_topic(_reader(), STRATEGIC, (), bounds)
    assert (LogRange(STRATEGIC, 0, start, end),) == found.ranges
    assert found.flows is None


def test_market_data_are_followed_through_the_stages() -> None:
    """Only their flows count, and only logs that have them."""
    found = of_topic(_reader(), MARKET, (), Bounds(from_offset=4, to_offset=7))
    assert (LogRange(STRATEGIC, 0, 5, 8),) == found.ranges
    wanted = frozenset(packets(20)[number].envelope.flow_id for number in (4, 5, 6))
    assert wanted == found.flows


@pytest.mark.parametrize(
    ("topic", "partitions", "bounds", "sentence"),
    [
        ("cascade.fills", (), Bounds(), "no code makes that again"),
        (STRATEGIC, (7,), Bounds(), r"Expected a partition of cascade.strategic from \[0\]"),
        (STRATEGIC, (), Bounds(from_offset=3, to_offset=99), "from 1 to 21, was 3 to 99"),
        (STRATEGIC, (), Bounds(from_offset=9, to_offset=3), "was 9 to 3"),
        (STRATEGIC, (), Bounds(from_us=NOW + 90_000_000), "Expected records of"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    topic: str, partitions: tuple[int, ...], bounds: Bounds, sentence: str
) -> None:
    """Before anything is read."""
    with pytest.raises(UsageError, match=sentence):
        of_topic(_reader(), topic, partitions, bounds)


def test_an_emergency_is_replayed_with_a_second_before_and_after() -> None:
    """From its declaration to the last step of its course."""
    found = of_emergency(_reader(), "e1")
    assert (LogRange(STRATEGIC, 0, 4, 9),) == found.ranges
    assert (NOW + 4_000_000, NOW + 9_000_000) == found.span_us


def test_an_emergency_that_is_not_known_is_refused() -> None:
    """With where to look."""
    with pytest.raises(UsageError, match="Expected emergency e2 in"):
        of_emergency(_reader(), "e2")
