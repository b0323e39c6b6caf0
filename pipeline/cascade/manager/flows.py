"""Flows in flight: which there are, how each ended, who waits for it. No Kafka."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from pipeline.errors import FlowLimitReached, OutcomePending, UsageError
from pipeline.packets.models import ChildOrder, ExecutionPlan
from pipeline.packets.vocabulary import OutcomeKind

__all__ = ["FlowBook", "FlowOutcome", "OnLimit", "OnOutcome", "outcome_of"]

_logger = logging.getLogger(__name__)

OnLimit = Literal["block", "refuse"]
_KEPT = 10_000


class FlowOutcome(Struct, frozen=True):
    """How a flow ended, as execution's log says.

    Attributes:
        flow_id: The flow.
        packet_id: The packet that was injected.
        kind: executed, held, rejected, expired, shed or dead_lettered.
        stage: Which stage sealed it.
        reasons: Why, from a closed list.
        detail: Why, for people.
        orders: Orders of the plan; none unless it was executed.
        latency_ms: From acceptance to the end of execution's work, milliseconds.
        plan: The whole record.
    """

    flow_id: str
    packet_id: str
    kind: OutcomeKind
    stage: str
    reasons: tuple[str, ...]
    detail: str
    orders: tuple[ChildOrder, ...]
    latency_ms: float
    plan: ExecutionPlan

    @property
    def executed(self) -> bool:
        """Whether it ended in an order plan."""
        return self.kind is OutcomeKind.EXECUTED


OnOutcome = Callable[[FlowOutcome], None]
"""Told how a flow ended, once, on the thread that reads execution's log."""


@dataclass(slots=True)
class _Open:
    packet_id: str
    since_s: float
    on_outcome: OnOutcome | None


class FlowBook:
    """Knows the flows that were injected here, and lets in only so many at once; thread-safe.

    Outcomes of the last ten thousand flows that ended are kept.

    Args:
        limit: Most flows in flight.
        monotonic: Seconds that only run forward.
    """

    def __init__(self, limit: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._open: dict[str, _Open] = {}
        self._flows: dict[str, str] = {}
        self._ended: OrderedDict[str, FlowOutcome] = OrderedDict()
        self._admitted = 0
        self._closed = False

    @property
    def in_flight(self) -> int:
        """How many flows have not ended."""
        return len(self._open)

    @property
    def limit(self) -> int:
        """How many may be in flight."""
        return self._limit

    def oldest_s(self) -> float:
        """Return the age of the oldest flow in flight, seconds; 0 where there is none."""
        with self._changed:
            began = min((each.since_s for each in self._open.values()), default=None)
        return 0.0 if began is None else self._monotonic() - began

    def unfinished(self) -> tuple[str, ...]:
        """Return the packet ids of the flows in flight, oldest first."""
        with self._changed:
            return tuple(each.packet_id for each in self._open.values())

    def admit(self, *, on_limit: OnLimit, timeout_s: float) -> None:
        """Let one flow in; `enter` or `turn_away` must follow.

        Args:
            on_limit: What to do when the limit is reached: wait, or refuse at once.
            timeout_s: How long to wait, seconds.

        Raises:
            FlowLimitReached: If there was no room, or none in time.
            UsageError: If it is closed.
        """
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._closed or len(self._open) + self._admitted < self._limit,
                timeout_s if on_limit == "block" else 0.0,
            )
            if self._closed:
                raise UsageError("Expected a manager that takes flows, was shut down")
            if not free:
                waited = f" for {timeout_s:g} s" if on_limit == "block" else ""
                raise FlowLimitReached(
                    f"Expected fewer than {self._limit} flows in flight, was {self._limit}{waited}."
                    " Raise max_concurrent_flows, or look at get_cascade_status() for what keeps"
                    " them."
                )
            self._admitted += 1

    def turn_away(self) -> None:
        """Give the room back of a flow that was admitted and does not enter."""
        with self._changed:
            self._admitted -= 1
            self._changed.notify_all()

    def enter(self, flow_id: str, packet_id: str, on_outcome: OnOutcome | None = None) -> None:
        """Note a flow that was admitted, before its packet is published.

        Raises:
            UsageError: If the flow is in flight already; it is still admitted then.
        """
        with self._changed:
            if flow_id in self._open:
                raise UsageError(
                    f"Expected a flow that is not in flight, was {flow_id}: give another sequence"
                )
            self._admitted -= 1
            self._open[flow_id] = _Open(packet_id, self._monotonic(), on_outcome)
            self._flows[packet_id] = flow_id
            self._ended.pop(flow_id, None)

    def withdraw(self, flow_id: str) -> None:
        """Forget a flow whose packet was not published after all."""
        with self._changed:
            found = self._open.pop(flow_id, None)
            if found is not None:
                del self._flows[found.packet_id]
            self._changed.notify_all()

    def ended(self, flow_id: str, plan: ExecutionPlan) -> FlowOutcome | None:
        """Note the end of a flow; return its outcome, None where it was not injected here."""
        with self._changed:
            found = self._open.pop(flow_id, None)
            if found is None:
                return None
            outcome = outcome_of(plan, found.packet_id)
            self._ended[flow_id] = outcome
            while len(self._ended) > _KEPT:
                _, old = self._ended.popitem(last=False)
                self._flows.pop(old.packet_id, None)
            self._changed.notify_all()
        if found.on_outcome is not None:
            try:
                found.on_outcome(outcome)
            except Exception:
                _logger.exception("flow callback failed flow=%s", flow_id)
        return outcome

    def wait_for(self, packet_id: str, timeout_s: float) -> FlowOutcome:
        """Wait for the outcome of a flow.

        Raises:
            OutcomePending: If it has not ended in time.
            UsageError: If it was not injected here, or so long ago that it is forgotten.
        """
        with self._changed:
            flow_id = self._flows.get(packet_id)
            if flow_id is None:
                raise UsageError(f"Expected a packet injected here, was {packet_id}")
            if not self._changed.wait_for(lambda: flow_id in self._ended, timeout_s):
                raise OutcomePending(
                    f"Expected an outcome of {packet_id} within {timeout_s:g} s, was none yet",
                    packet_id=packet_id,
                )
            return self._ended[flow_id]

    def drain(self, timeout_s: float) -> tuple[str, ...]:
        """Take no more flows, wait for those in flight, and return what has not ended in time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._open, timeout_s)
        return self.unfinished()


def outcome_of(plan: ExecutionPlan, packet_id: str) -> FlowOutcome:
    """Return how a flow ended; a record without an outcome counts as executed by its orders."""
    envelope = plan.envelope
    sealed = envelope.outcome
    finished = max((each.finished for each in envelope.trace), default=envelope.accepted_at)
    orders = plan.execution.orders if plan.execution is not None else ()
    return FlowOutcome(
        flow_id=envelope.flow_id,
        packet_id=packet_id,
        kind=OutcomeKind.EXECUTED if sealed is None else sealed.kind,
        stage="execution" if sealed is None else sealed.stage,
        reasons=() if sealed is None else sealed.reasons,
        detail="" if sealed is None else sealed.detail,
        orders=orders,
        latency_ms=(finished - envelope.accepted_at) / 1000,
        plan=plan,
    )
