"""What is said to the venue about one order, call by call.

`submit` and `reconcile` are generators without input or output of their own: each yields the call
to make and is sent what it came to (a report, None, or the venue's error). `deal` makes the calls.
So a test can let anything happen between two calls: a crash, a halt, another owner.

Both return the order's `Result`, or None while it is in flight: the venue did not say, or still
works. Then `reconcile` is to be tried again later; nothing else may end the order.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from pipeline.gateway.orders import Result
from pipeline.gateway.venue import (
    DuplicateOrder,
    Venue,
    VenueOrder,
    VenueRejected,
    VenueReport,
    VenueState,
    VenueUnknown,
)
from pipeline.packets.vocabulary import OrderEventKind

__all__ = [
    "Answer",
    "Barrier",
    "CancelCall",
    "Dealing",
    "QueryCall",
    "SubmitCall",
    "call",
    "deal",
    "reconcile",
    "submit",
]

Barrier = Callable[[], Result | None]
"""Says, whenever asked, how the order ends unsent; None while it may be sent."""


@dataclass(frozen=True, slots=True)
class SubmitCall:
    """Call `Venue.submit`."""

    order: VenueOrder


@dataclass(frozen=True, slots=True)
class QueryCall:
    """Call `Venue.query`."""

    client_order_id: str


@dataclass(frozen=True, slots=True)
class CancelCall:
    """Call `Venue.cancel`."""

    client_order_id: str


Answer = VenueReport | VenueRejected | DuplicateOrder | VenueUnknown | None
Dealing = Generator[SubmitCall | QueryCall | CancelCall, Answer, Result | None]


def submit(order: VenueOrder, barrier: Barrier) -> Dealing:
    """Send an order that this owner has announced and not sent yet.

    1. Check the barrier a last time; where it stands, the order ends unsent.
    2. Send. A final report, or a rejection, ends it.
    3. Anything else (no answer, a known id, still working) is for the venue to tell: `reconcile`.
    """
    # Step 1
    if end := barrier():
        return end
    # Step 2
    answer = yield SubmitCall(order)
    if end := _result(answer):
        return end
    # Step 3
    return (yield from reconcile(order, barrier))


def reconcile(order: VenueOrder, barrier: Barrier) -> Dealing:
    """Find out what became of an order that may have been sent, by this owner or an earlier one.

    1. Ask the venue. A final report ends it, no answer leaves it in flight.
    2. Unknown to the venue: that is not final, for an earlier owner may still send it. So the venue
       must come to know the id: where the order may still be sent, send it under the same id.
       A known id now means that somebody was faster: ask once more.
    3. Where it may not be sent any more, or works though it may not: cancel, which ends it, and has
       a late submit refused.
    """
    # Step 1
    answer = yield QueryCall(order.client_order_id)
    if answer is None and barrier() is None:
        # Step 2
        answer = yield SubmitCall(order)
        if isinstance(answer, DuplicateOrder):
            answer = yield QueryCall(order.client_order_id)
    if end := _result(answer):
        return end
    # Step 3
    if (stopped := barrier()) and not isinstance(answer, VenueUnknown):
        answer = yield CancelCall(order.client_order_id)
        return _result(answer, stopped)
    return None


def deal(venue: Venue, dealing: Dealing) -> Result | None:
    """Make the calls of a dealing, one after the other; return what it came to."""
    try:
        request = next(dealing)
        while True:
            request = dealing.send(call(venue, request))
    except StopIteration as end:
        result: Result | None = end.value
        return result


def call(venue: Venue, request: SubmitCall | QueryCall | CancelCall) -> Answer:
    """Make one call; return the answer, or the venue's error as an answer."""
    try:
        match request:
            case SubmitCall(order):
                return venue.submit(order)
            case QueryCall(client_order_id):
                return venue.query(client_order_id)
            case CancelCall(client_order_id):
                return venue.cancel(client_order_id)
    except (VenueRejected, DuplicateOrder, VenueUnknown) as error:
        return error


def _result(answer: Answer, stopped: Result | None = None) -> Result | None:
    """Return how an answer ends the order, None where it does not.

    Where nothing is filled because the gateway itself cancelled, `stopped` says what happened.
    """
    if isinstance(answer, VenueRejected):
        own_id = answer.venue_order_id
        return Result(OrderEventKind.REJECTED, (answer.reason,), venue_order_id=own_id)
    if not isinstance(answer, VenueReport) or not answer.final:
        return None
    kind = _kind(answer)
    why: tuple[str, ...] = ()
    if stopped and kind is OrderEventKind.CANCELLED:
        kind, why = stopped.kind, stopped.reasons
    return Result(
        kind=kind,
        reasons=(*why, *filter(None, [answer.reason])),
        filled=answer.filled,
        price=answer.price,
        fee=answer.fee,
        venue_order_id=answer.venue_order_id,
    )


def _kind(report: VenueReport) -> OrderEventKind:
    if report.state is VenueState.FILLED:
        return OrderEventKind.FILLED
    if report.filled > 0.0:
        return OrderEventKind.PARTIALLY_FILLED
    if report.state is VenueState.REJECTED:
        return OrderEventKind.REJECTED
    return OrderEventKind.CANCELLED
