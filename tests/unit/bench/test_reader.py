"""Arrivals set against what was sent."""

import pytest

from pipeline.bench.packets import Seen
from pipeline.bench.reader import Arrival, check
from pipeline.packets.vocabulary import OutcomeKind

SYMBOLS = 3


def arrivals(*numbers: int, outcome: OutcomeKind = OutcomeKind.HELD) -> list[Arrival]:
    """Return arrivals of these packets, each a millisecond after it was due."""
    return [
        Arrival(Seen(number, 1000 * number, 1000 * number, outcome), 1000 * number + 1000, 200)
        for number in numbers
    ]


def test_all_packets_once_and_in_order_are_faultless() -> None:
    """Symbols may overtake one another, a symbol's own packets may not."""
    found = check(arrivals(11, 10, 12, 14, 13, 15), 10, 6, SYMBOLS)
    assert (0, 0, 0, 0) == (found.lost, found.duplicates, found.misordered, found.strays)
    assert [1000] * 6 == found.latency_us.tolist()
    assert 200.0 == found.bytes_mean


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ((10, 11, 12, 13, 14), "lost"),
        ((10, 11, 12, 12, 13, 14, 15), "duplicates"),
        ((13, 11, 12, 10, 14, 15), "misordered"),
        ((9, 10, 11, 12, 13, 14, 15), "strays"),
    ],
)
def test_each_planted_fault_is_found(numbers: tuple[int, ...], fault: str) -> None:
    """A packet missing, repeated, after a later one of its symbol, or never sent."""
    found = check(arrivals(*numbers), 10, 6, SYMBOLS)
    faults = {name: getattr(found, name) for name in ("lost", "duplicates", "misordered", "strays")}
    assert {**dict.fromkeys(faults, 0), fault: 1} == faults


def test_errors_are_counted() -> None:
    """Packets that ended expired, shed or dead-lettered arrive, and count as errors."""
    errors = {OutcomeKind.EXPIRED, OutcomeKind.SHED, OutcomeKind.DEAD_LETTERED}
    counts = {
        kind: check(arrivals(0, 1, outcome=kind), 0, 2, SYMBOLS).errors for kind in OutcomeKind
    }
    assert {kind: 2 if kind in errors else 0 for kind in OutcomeKind} == counts
