"""Puts the traces of flows together as they end; pure.

A flow that goes to the gateway has ended when its last order has, everything else with its record
in the execution log. The two logs are read side by side, so an order's events may come before the
end of its flow.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.watch.observations import FillSeen, FlowEnd
from pipeline.watch.tracing.spans import (
    SpanDraft,
    order_span,
    root_span,
    stage_span,
    trace_id_of,
)

__all__ = ["PATIENCE_S", "TraceAssembly", "spans_of"]

PATIENCE_S: Final = 60.0
"""Seconds that a flow's orders are waited for; then its trace is exported as it stands."""

_MOST = 10_000

Offer = Callable[[Sequence[SpanDraft]], None]


def spans_of(end: FlowEnd, events: Sequence[FillSeen] = ()) -> list[SpanDraft]:
    """Return the spans of a flow that ended, its root first.

    Args:
        end: Its end.
        events: The events of its orders, oldest first.
    """
    spans = [
        stage_span(
            end.flow_id,
            hop,
            {"messaging.destination.name": f"cascade.{hop.stage}"},
            ended_here=end.kind if end.stage == hop.stage else None,
        )
        for hop in end.trace
    ]
    orders: dict[str, list[FillSeen]] = {}
    for event in events:
        if event.client_order_id:
            orders.setdefault(event.client_order_id, []).append(event)
    spans += [
        order_span(
            end.flow_id, order, [each.appended_ms * 1000 for each in seen], str(seen[-1].kind)
        )
        for order, seen in orders.items()
    ]
    known = {"cascade.symbol": end.symbol}
    return [root_span(end.flow_id, end.accepted_at, spans, known, outcome=end.kind), *spans]


@dataclass(slots=True)
class _Open:
    since_us: int
    end: FlowEnd | None = None
    events: list[FillSeen] = field(default_factory=list)


class TraceAssembly:
    """Flows of which not all is known yet; thread-safe, and bounded.

    Args:
        sampled: Says of a trace id whether the trace is wanted.
        offer: Takes the spans of a trace.
        now_us: Now, microseconds since the Unix epoch, UTC.
        most: Most flows that are waited for; the oldest is exported early.
    """

    def __init__(
        self,
        sampled: Callable[[str], bool],
        offer: Offer,
        now_us: Callable[[], int],
        most: int = _MOST,
    ) -> None:
        self._sampled = sampled
        self._offer = offer
        self._now_us = now_us
        self._most = most
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._lock = threading.Lock()

    def take_ends(self, ends: Sequence[FlowEnd]) -> None:
        """Take ends of flows."""
        with self._lock:
            for end in ends:
                if not self._sampled(trace_id_of(end.flow_id)):
                    continue
                if end.to_gateway:
                    self._of(end.flow_id).end = end
                    self._look_at(end.flow_id)
                else:
                    self._offer(spans_of(end))

    def take_events(self, events: Sequence[FillSeen]) -> None:
        """Take events of orders, those of a flow in order."""
        with self._lock:
            for event in events:
                if self._sampled(trace_id_of(event.flow_id)):
                    self._of(event.flow_id).events.append(event)
                    self._look_at(event.flow_id)

    def sweep(self) -> None:
        """Export what has waited too long."""
        since_us = self._now_us() - int(PATIENCE_S * 1e6)
        with self._lock:
            while self._open and next(iter(self._open.values())).since_us < since_us:
                self._let_go()

    def _of(self, flow_id: str) -> _Open:
        if flow_id not in self._open:
            if len(self._open) >= self._most:
                self._let_go()
            self._open[flow_id] = _Open(self._now_us())
        return self._open[flow_id]

    def _look_at(self, flow_id: str) -> None:
        found = self._open[flow_id]
        if found.end is not None and any(each.final for each in found.events):
            del self._open[flow_id]
            self._offer(spans_of(found.end, found.events))

    def _let_go(self) -> None:
        """Export the flow that has waited longest; events without a flow make no trace."""
        _, found = self._open.popitem(last=False)
        if found.end is not None:
            self._offer(spans_of(found.end, found.events))
