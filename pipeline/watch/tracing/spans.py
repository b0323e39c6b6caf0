"""The spans of a flow, from the times that its packets carry anyway; pure.

Ids are pure functions of the flow and, for its replay, of the replay's id: whoever exports a flow,
and however often, it is the same trace. The spans of a flow are a root, one for each stage and one
for each order; a replay's root links to the flow's.

A stage's span lasts from when a worker took the packet until it was finished; how long of that it
queued is an attribute. An order's lasts from its announcement to its last event.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from pipeline.packets.vocabulary import OutcomeKind

__all__ = [
    "FILLS",
    "Attributes",
    "SpanDraft",
    "Times",
    "order_span",
    "root_span",
    "stage_span",
    "trace_id_of",
]

FILLS: Final = "cascade.fills"
"""Topic of the orders' events."""

Attributes = Mapping[str, str | int | float]

_FAILED = frozenset({OutcomeKind.DEAD_LETTERED, OutcomeKind.EXPIRED})
_ROOT = "flow"


class Times(Protocol):
    """A stage's part of a flow, as its trace in the envelope has it; microseconds, UTC."""

    @property
    def stage(self) -> str:
        """The stage."""
        ...

    @property
    def received(self) -> int:
        """When its worker took the packet from Kafka."""
        ...

    @property
    def started(self) -> int:
        """When it began to decide."""
        ...

    @property
    def finished(self) -> int:
        """When it had decided."""
        ...


class SpanDraft(Struct, frozen=True, kw_only=True):
    """A span before any library has seen it.

    Attributes:
        name: Its name.
        trace_id: 32 hexadecimal digits.
        span_id: 16.
        parent_id: 16, or empty for the root.
        start_us: Begin, microseconds since the Unix epoch, UTC.
        end_us: End.
        attributes: By OpenTelemetry's names where it has one.
        links: Spans of other traces, as (trace_id, span_id).
        failed: Whether the packet ended here, expired or dead-lettered.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    start_us: int
    end_us: int
    attributes: dict[str, str | int | float]
    links: tuple[tuple[str, str], ...] = ()
    failed: bool = False


def root_span(
    flow_id: str,
    accepted_at: int,
    spans: Sequence[SpanDraft],
    attributes: Attributes,
    *,
    outcome: OutcomeKind | None,
    replay_id: str = "",
) -> SpanDraft:
    """Return the root of a flow's trace, or of its replay's.

    Args:
        flow_id: The flow.
        accepted_at: When it was accepted, microseconds since the Unix epoch, UTC.
        spans: The other spans of the trace; it lasts until the last of them has ended.
        attributes: What else is known of the flow.
        outcome: How it ended; None while it has not.
        replay_id: The replay; empty for the flow itself.
    """
    trace_id, span_id = _ids(flow_id, replay_id)
    found = {"cascade.flow_id": flow_id, **attributes}
    if outcome is not None:
        found["cascade.outcome"] = str(outcome)
    if replay_id:
        found["cascade.replay.id"] = replay_id
    return SpanDraft(
        name="replay" if replay_id else _ROOT,
        trace_id=trace_id,
        span_id=span_id,
        start_us=accepted_at,
        end_us=max([accepted_at, *(each.end_us for each in spans)]),
        attributes=found,
        links=(_ids(flow_id, ""),) if replay_id else (),
        failed=outcome in _FAILED,
    )


def stage_span(
    flow_id: str,
    times: Times,
    attributes: Attributes,
    *,
    ended_here: OutcomeKind | None,
    replay_id: str = "",
) -> SpanDraft:
    """Return the span of a stage.

    Args:
        flow_id: The flow.
        times: The stage's part of it.
        attributes: What else is known of it.
        ended_here: The flow's outcome where this stage sealed it, None where another did.
        replay_id: The replay; empty for the flow itself.
    """
    trace_id, parent_id = _ids(flow_id, replay_id)
    return SpanDraft(
        name=f"process {times.stage}",
        trace_id=trace_id,
        span_id=_hash("span", flow_id, replay_id, times.stage, digits=16),
        parent_id=parent_id,
        start_us=times.received,
        end_us=max(times.received, times.finished),
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.consumer.group.name": f"cascade.{times.stage}",
            "cascade.queued_us": max(0, times.started - times.received),
            **attributes,
        },
        failed=ended_here in _FAILED,
    )


def order_span(
    flow_id: str, client_order_id: str, at_us: Sequence[int], last_kind: str
) -> SpanDraft:
    """Return the span of an order.

    Args:
        flow_id: Its flow.
        client_order_id: The order.
        at_us: When the broker appended its events, microseconds since the Unix epoch, UTC.
        last_kind: What happened last.
    """
    trace_id, parent_id = _ids(flow_id, "")
    return SpanDraft(
        name="order",
        trace_id=trace_id,
        span_id=_hash("span", flow_id, "", client_order_id, digits=16),
        parent_id=parent_id,
        start_us=min(at_us),
        end_us=max(at_us),
        attributes={
            "messaging.system": "kafka",
            "messaging.destination.name": FILLS,
            "cascade.client_order_id": client_order_id,
            "cascade.order.kind": last_kind,
        },
    )


def trace_id_of(flow_id: str) -> str:
    """Return the id of a flow's trace, 32 hexadecimal digits."""
    return _ids(flow_id, "")[0]


def _ids(flow_id: str, replay_id: str) -> tuple[str, str]:
    """Return (trace id, span id of the root)."""
    return (
        _hash("trace", flow_id, replay_id, digits=32),
        _hash("span", flow_id, replay_id, _ROOT, digits=16),
    )


def _hash(*parts: str, digits: int) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:digits]
