"""What the venue says that the log rules out, and how long it counts."""

from types import MappingProxyType

import pytest

from pipeline.control.trips import NO_TRIPS, Trips
from pipeline.gateway.orders import Result
from pipeline.gateway.reconciliation import Reconciliation
from pipeline.gateway.venue import VenueReport, VenueState
from pipeline.packets.vocabulary import OrderEventKind
from tests.unit.gateway.factories import child

_SCOPE = "reconciliation:main"


def _working(*names: str) -> list[VenueReport]:
    return [VenueReport(name, "v", VenueState.WORKING, 0.0, 0.0, 0.0) for name in names]


def _broken(found: Reconciliation, trips: Trips = NO_TRIPS) -> list[str]:
    return [each.scope for each in found.broken(trips)]


def test_log_and_venue_agree_where_all_that_works_is_in_flight() -> None:
    """What the venue has not yet, or no more, is no break: it is on its way."""
    found = Reconciliation("main")
    assert found.compare(_working("a"), {"a", "b"}, 1)
    assert found.compare([], {"b"}, 1)
    assert not _broken(found)


def test_an_order_that_the_log_does_not_know_is_a_break_at_the_second_look() -> None:
    """It may have ended between the two questions of the first."""
    found = Reconciliation("main")
    assert not found.compare(_working("a", "stray"), {"a"}, 1)
    assert not _broken(found)
    assert found.compare(_working("a"), {"a"}, 1)
    assert not found.compare(_working("stray"), set(), 1)
    assert not _broken(found)
    assert not found.compare(_working("stray"), set(), 1)
    (tripped,) = found.broken(NO_TRIPS)
    assert (tripped.scope, "stray" in tripped.reason) == (_SCOPE, True)


def test_a_break_lasts_until_it_is_reset_and_comes_back_while_it_is_there() -> None:
    """A reset of what is not mended trips again."""
    found = Reconciliation("main")
    for _ in range(2):
        found.compare(_working("stray"), set(), 5)
    found.compare([], set(), 5)
    assert _broken(found) == [_SCOPE]  # gone, and still nobody has looked
    assert _broken(found, Trips(resets=MappingProxyType({_SCOPE: 4}))) == [_SCOPE]
    reset = Trips(resets=MappingProxyType({_SCOPE: 6}))
    assert not _broken(found, reset)
    for _ in range(2):
        found.compare(_working("stray"), set(), 6)
    assert _broken(found, reset) == [_SCOPE]


@pytest.mark.parametrize(
    ("kind", "filled", "breaks"),
    [
        (OrderEventKind.FILLED, 10.0, False),
        (OrderEventKind.FILLED, 9.0, True),
        (OrderEventKind.FILLED, 10.5, True),
        (OrderEventKind.PARTIALLY_FILLED, 9.0, False),
        (OrderEventKind.PARTIALLY_FILLED, 10.5, True),
        (OrderEventKind.CANCELLED, -1.0, True),
        (OrderEventKind.CANCELLED, float("nan"), True),
        (OrderEventKind.REJECTED, 0.0, False),
    ],
)
def test_a_result_that_its_order_rules_out_is_a_break(
    kind: OrderEventKind, filled: float, breaks: bool
) -> None:
    """More than was ordered, FILLED with less, or no number."""
    found = Reconciliation("main")
    found.check("main", child(quantity=10.0), Result(kind, filled=filled), 1)
    assert bool(_broken(found)) == breaks
