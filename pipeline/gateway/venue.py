"""The seam to a venue: what a broker adapter must do, in four synchronous calls.

The gateway owes its guarantee "no duplicate order" to two duties of an adapter:

1. A client order id that the venue knows is never accepted again, whatever became of it: filled,
   cancelled, rejected, or cancelled before it ever arrived.
2. `cancel` makes the venue know the id. Where a venue cannot note an id that it has never seen,
   the adapter keeps such ids itself, on disk, ahead of every `submit`.

With them the owner of a flow can end an order that the venue does not know: whatever an earlier
owner still sends under that id is refused.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.errors import PipelineError, RetryableError
from pipeline.packets.vocabulary import OrderType, Side

__all__ = [
    "DuplicateOrder",
    "Venue",
    "VenueOrder",
    "VenueRejected",
    "VenueReport",
    "VenueState",
    "VenueUnknown",
]


class VenueRejected(PipelineError):
    """The venue refused an order for good: it is not and never will be in the market.

    Args:
        reason: The venue's reason, e.g. "INSUFFICIENT_MARGIN".
        client_order_id: The order refused.
        venue_order_id: The venue's own id, empty where it gave none.
    """

    def __init__(self, reason: str, client_order_id: str, venue_order_id: str = "") -> None:
        super().__init__(f"Expected order {client_order_id} to be accepted, was refused: {reason}")
        self.reason = reason
        self.client_order_id = client_order_id
        self.venue_order_id = venue_order_id


class VenueUnknown(RetryableError):
    """Nobody can say what became of a call: time-out, disconnect, missing answer.

    This is no failure. The order stays in flight until `Venue.query` tells; it is never sent under
    another id.
    """


class DuplicateOrder(PipelineError):
    """The venue knows this client order id already; `Venue.query` tells what became of it."""


class VenueState(StrEnum):
    """State of an order at the venue; all but WORKING are final.

    CANCELLED covers orders filled in part whose rest was cancelled: `VenueReport.filled` tells.
    """

    WORKING = "WORKING"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as it goes to the venue.

    Attributes:
        client_order_id: Id, a pure function of flow and child order.
        flow_id: The flow it belongs to.
        account: Account to trade for.
        symbol: Instrument.
        side: BUY or SELL.
        quantity: Units, positive.
        order_type: LIMIT or MARKET.
        limit_price: Worst price acceptable to a LIMIT order, currency per unit.
        reference_price: Price that risk approved the order on, currency per unit.
    """

    client_order_id: str
    flow_id: str
    account: str
    symbol: str
    side: Side
    quantity: float
    order_type: OrderType
    limit_price: float
    reference_price: float


@dataclass(frozen=True, slots=True)
class VenueReport:
    """What the venue says of an order.

    Attributes:
        client_order_id: The order.
        venue_order_id: The venue's own id of it.
        state: Its state.
        filled: Units filled so far; the whole quantity where the state is FILLED.
        price: Average price of what is filled; 0 where nothing is.
        fee: Commission on what is filled, currency.
        reason: Why it was rejected, or cancelled in whole or in part; empty otherwise.
    """

    client_order_id: str
    venue_order_id: str
    state: VenueState
    filled: float
    price: float
    fee: float
    reason: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the order."""
        return self.state is not VenueState.WORKING


class Venue(Protocol):
    """A broker adapter.

    Calls block until the venue answered or the adapter's time limit is over. They may come from
    several threads, and from several processes that each hold themselves for the owner of the
    order; the venue orders them.
    """

    def submit(self, order: VenueOrder) -> VenueReport:
        """Send an order, once: the adapter does not repeat it by itself.

        Raises:
            VenueRejected: The venue refused it, and keeps the id as refused.
            DuplicateOrder: The venue knows the id already; nothing was done.
            VenueUnknown: It may or may not have arrived.
        """
        ...

    def cancel(self, client_order_id: str) -> VenueReport:
        """Take the unfilled rest of an order out of the market, and return what became of it.

        An order already final stays as it is. An id that the venue does not know is noted as
        cancelled, so that an order which arrives under it later is refused as a duplicate.

        Raises:
            VenueUnknown: The cancel may or may not have arrived.
        """
        ...

    def query(self, client_order_id: str) -> VenueReport | None:
        """Return what the venue knows of an order; None where it knows none by this id.

        None is no proof that the order will not arrive still.

        Raises:
            VenueUnknown: The venue did not answer.
        """
        ...

    def open_orders(self) -> list[VenueReport]:
        """Return the orders that are WORKING, oldest first.

        Raises:
            VenueUnknown: The venue did not answer.
        """
        ...
