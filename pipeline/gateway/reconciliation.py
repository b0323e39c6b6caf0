"""Agreement between the log and the venue: what the venue says that the log rules out.

Two things are a break, and halt trading until a person has looked (`pipeline.control.trips`):

1. An order works at the venue that is not in flight by the log. It takes two looks, for an order
   may end between asking the venue and looking at the log.
2. A result that its order rules out: more filled than ordered, FILLED with less, or no number.

A new owner sends nothing before the first look.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from pipeline.control.scope import Scope, ScopeKind
from pipeline.control.trips import Trips
from pipeline.control.tripwire import Tripped
from pipeline.gateway.orders import Result
from pipeline.gateway.venue import VenueReport
from pipeline.packets.models import ChildOrder
from pipeline.packets.vocabulary import OrderEventKind

__all__ = ["Reconciliation"]

_TOLERANCE = 1e-9
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Break:
    reason: str
    control_epoch: int


class Reconciliation:
    """Remembers the breaks of one gateway.

    Args:
        account: The account that open orders of the venue belong to.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._suspects: frozenset[str] = frozenset()
        self._breaks: dict[str, _Break] = {}

    def compare(
        self, reports: Iterable[VenueReport], in_flight: Collection[str], control_epoch: int
    ) -> bool:
        """Compare the venue's open orders with the log; return whether both agree.

        Args:
            reports: What works at the venue.
            in_flight: Client order ids with a SUBMITTING record and no result, looked up after
                the venue was asked.
            control_epoch: What is known of control.
        """
        unknown = frozenset(each.client_order_id for each in reports) - frozenset(in_flight)
        if confirmed := unknown & self._suspects:
            names = ", ".join(sorted(confirmed)[:_SHOWN])
            reason = f"{len(confirmed)} orders work at the venue and not by the log: {names}"
            self._note(self._account, reason, control_epoch)
        self._suspects = unknown
        return not unknown

    def check(self, account: str, order: ChildOrder, result: Result, control_epoch: int) -> None:
        """Hold a result against its order."""
        if not (math.isfinite(result.filled) and result.filled >= 0.0):
            what = "no number of units"
        elif result.filled > order.quantity * (1.0 + _TOLERANCE):
            what = "more than was ordered"
        elif result.kind is OrderEventKind.FILLED and result.filled < order.quantity * (
            1.0 - _TOLERANCE
        ):
            what = "FILLED with less than was ordered"
        else:
            return
        reason = f"{order.client_order_id} of {order.quantity:g}: {what}, {result.filled:g} filled"
        self._note(account, reason, control_epoch)

    def broken(self, trips: Trips) -> Iterator[Tripped]:
        """Yield the breaks that were not reset since."""
        for scope, each in list(self._breaks.items()):
            if trips.reset_since(scope, each.control_epoch):
                del self._breaks[scope]
            else:
                yield Tripped(scope, each.reason)

    def _note(self, account: str, reason: str, control_epoch: int) -> None:
        scope = str(Scope(ScopeKind.RECONCILIATION, account))
        self._breaks[scope] = _Break(reason, control_epoch)
