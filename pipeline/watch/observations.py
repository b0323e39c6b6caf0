"""What is kept of each record that somebody watches: small, for there are many."""

from typing import NamedTuple

from msgspec import structs

from pipeline.gateway.orders import needs_record
from pipeline.packets.models import ChildOrder, ExecutionPlan, OrderEvent
from pipeline.packets.runs import unrolled
from pipeline.packets.vocabulary import FlowState, OrderEventKind, OutcomeKind

__all__ = ["FillSeen", "FlowEnd", "Hop"]


class Hop(NamedTuple):
    """One stage's part of a flow's trace.

    Attributes:
        stage: The stage.
        received: When its worker took the record from Kafka, microseconds since the Unix epoch.
        started: When it began to decide.
        finished: When it had decided.
    """

    stage: str
    received: int
    started: int
    finished: int


class FlowEnd(NamedTuple):
    """The end of a flow, from the execution log.

    Attributes:
        flow_id: The flow.
        symbol: Instrument.
        sequence: Of the bar within its symbol.
        kind: Outcome.
        stage: Stage that sealed it.
        reasons: Why.
        orders: Orders of its plan.
        trace: The stages' parts, in order.
        accepted_at: Acceptance, microseconds since the Unix epoch, UTC.
        appended_ms: When the broker appended the record, milliseconds since the Unix epoch.
        price: Close of its bar; None where it has none.
        equity: Of the account as risk saw it; None where risk did not decide.
        reserved: What risk reserved for it.
        to_gateway: Whether it must end in the fills log too.
        retries: Retries of all stages.
    """

    flow_id: str
    symbol: str
    sequence: int
    kind: OutcomeKind
    stage: str
    reasons: tuple[str, ...]
    orders: tuple[ChildOrder, ...]
    trace: tuple[Hop, ...]
    accepted_at: int
    appended_ms: int
    price: float | None
    equity: float | None
    reserved: float
    to_gateway: bool
    retries: int = 0

    @property
    def finished(self) -> int:
        """When execution had decided, microseconds since the Unix epoch; 0 without a trace."""
        return self.trace[-1].finished if self.trace else 0

    @classmethod
    def all_of(cls, plan: ExecutionPlan, appended_ms: int) -> list["FlowEnd"]:
        """Return what to keep of a record of the execution log, for each flow that it ends."""
        return [cls.of(each, appended_ms) for each in unrolled(plan)]

    @classmethod
    def of(cls, plan: ExecutionPlan, appended_ms: int) -> "FlowEnd":
        """Return what to keep of a record of the execution log that ends one flow."""
        envelope, risk = plan.envelope, plan.risk
        outcome = envelope.outcome
        return cls(
            envelope.flow_id,
            envelope.symbol,
            envelope.sequence,
            outcome.kind if outcome else OutcomeKind.DEAD_LETTERED,
            outcome.stage if outcome else "",
            outcome.reasons if outcome else ("NO_OUTCOME",),
            plan.execution.orders if plan.execution else (),
            tuple(Hop(*structs.astuple(each)) for each in envelope.trace),
            envelope.accepted_at,
            appended_ms,
            plan.bar.close if plan.bar else None,
            risk.equity if risk and risk.equity else None,
            risk.reserved if risk else 0.0,
            needs_record(plan),
            envelope.retry_count,
        )


class FillSeen(NamedTuple):
    """A record of the fills log.

    Attributes:
        flow_id: The flow.
        client_order_id: The order; empty where it is about the flow as a whole.
        symbol: Instrument.
        kind: What happened.
        final: Whether the flow has ended with it.
        side: BUY, SELL or NONE.
        quantity: Units ordered.
        filled: Units filled.
        price: Average price.
        appended_ms: When the broker appended the record, milliseconds since the Unix epoch.
    """

    flow_id: str
    client_order_id: str
    symbol: str
    kind: OrderEventKind
    final: bool
    side: str
    quantity: float
    filled: float
    price: float
    appended_ms: int

    @classmethod
    def of(cls, event: OrderEvent, appended_ms: int) -> "FillSeen":
        """Return what to keep of a record of the fills log."""
        return cls(
            event.flow_id,
            event.client_order_id,
            event.symbol,
            event.kind,
            event.flow_state is not FlowState.OPEN,
            event.side.value,
            event.quantity,
            event.filled,
            event.price,
            appended_ms,
        )
