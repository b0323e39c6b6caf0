"""What the venue did, set against what the logs say."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.packets.models import OrderEvent
from pipeline.packets.vocabulary import OrderEventKind
from pipeline.rules.oracle.reading import Accepted

__all__ = [
    "VenueFact",
    "orders_are_sent_as_announced",
    "orders_are_sent_in_time",
    "orders_are_sent_once",
    "results_are_the_venues",
]

_TOLERANCE = 1e-9  # relative; sums of fills of one quantity


@dataclass(frozen=True, slots=True)
class VenueFact:
    """An order that the venue took, as often as it took one: it ought to be once per id.

    Attributes:
        client_order_id: The order.
        taken_at: When, microseconds since the Unix epoch, UTC.
        filled: Units filled so far.
    """

    client_order_id: str
    taken_at: int
    filled: float


def orders_are_sent_once(venue: Iterable[VenueFact]) -> list[str]:
    """Check that the venue took no id twice."""
    counts = Counter(each.client_order_id for each in venue)
    return [f"order {name}: taken {count} times" for name, count in counts.items() if count > 1]


def orders_are_sent_as_announced(
    fills: Iterable[Accepted], venue: Iterable[VenueFact]
) -> list[str]:
    """Check that what the venue took was announced by a record that counts.

    An owner that was taken over sends nothing under an announcement that does not count.
    """
    announced = {
        each.record.client_order_id
        for each in fills
        if isinstance(each.record, OrderEvent) and each.record.kind is OrderEventKind.SUBMITTING
    }
    return [
        f"order {each.client_order_id}: at the venue, never announced"
        for each in venue
        if each.client_order_id not in announced
    ]


def orders_are_sent_in_time(
    fills: Iterable[Accepted], venue: Iterable[VenueFact], *, grace_us: int = 0
) -> list[str]:
    """Check that the venue took no order after its deadline.

    Args:
        fills: Records of the fills log that count; they name the deadlines.
        venue: What the venue took.
        grace_us: How long the way to the venue may take, microseconds. The deadline is checked
            right before an order is sent.
    """
    deadlines = {each.record.client_order_id: each.record.deadline for each in fills}
    return [
        f"order {each.client_order_id}: taken {late / 1000:.1f} ms after its deadline"
        for each in venue
        if (late := each.taken_at - deadlines.get(each.client_order_id, each.taken_at)) > grace_us
    ]


def results_are_the_venues(fills: Iterable[Accepted], venue: Sequence[VenueFact]) -> list[str]:
    """Check that the fills log books what the venue filled, order by order, once all is over."""
    booked: dict[str, float] = defaultdict(float)
    for each in fills:
        if each.record.filled > 0.0:
            booked[each.record.client_order_id] += each.record.filled
    traded: dict[str, float] = defaultdict(float)
    for fact in venue:
        traded[fact.client_order_id] += fact.filled
    return [
        f"order {name}: {traded[name]} filled at the venue, {booked[name]} in the log"
        for name in sorted(booked.keys() | traded.keys())
        if not math.isclose(traded[name], booked[name], rel_tol=_TOLERANCE)
    ]
