"""Packets, inputs and a small engine for the tests of risk and execution."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from pipeline.control.state import ControlView, TradingState
from pipeline.packets.identity import flow_id, packet_id
from pipeline.packets.models import (
    Bar,
    Envelope,
    ExecutionPlan,
    Journal,
    OrderEvent,
    Outcome,
    Risk,
    RiskAssessment,
    RiskEnvelope,
    Strategic,
    Tactical,
    TacticalSignal,
)
from pipeline.packets.vocabulary import (
    Action,
    FlowState,
    OrderEventKind,
    Regime,
    Side,
    SuperpositionType,
    Verdict,
)
from pipeline.stages.contract import Context, Draft, Input, Note, StageLogic

START_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000
ACTIVE = ControlView(TradingState.ACTIVE, 3, current=True)
HALTED = ControlView(TradingState.HALTED, 4, current=True)

JOURNAL = Journal(0, 0, "t", 0, 0, 0, 0, 0, 0, 0, 0, 0, "owner", "build")


def envelope(symbol: str, sequence: int, time_us: int, **changes: Any) -> Envelope:
    """Return the envelope of a packet accepted when its bar closed."""
    flow = flow_id("market", symbol, sequence)
    made = Envelope(
        flow_id=flow,
        packet_id=packet_id(flow, "tactical"),
        parent_id=packet_id(flow, "strategic"),
        packet_type=SuperpositionType.TACTICAL_SIGNAL,
        source_system="tactical",
        target_system="risk",
        symbol=symbol,
        account="main",
        sequence=sequence,
        priority=1,
        event_time=time_us,
        accepted_at=time_us,
        deadline=time_us + 100_000,
        retry_count=0,
        max_retries=2,
        trace=(),
    )
    return structs.replace(made, **changes)


def bar(close: float, *, volume: float = 1e6, spread: float = 0.001) -> Bar:
    """Return a bar around its close."""
    half = close * spread / 2
    return Bar(close, close + half, close - half, close, volume, 60)


def strategic(volatility: float = 0.001, regime: Regime = Regime.RANGE) -> Strategic:
    """Return a strategic decision."""
    return Strategic(0.5, 0.6, 0.3, Action.BUY, {"BUY": 0.6, "HOLD": 0.4}, regime, volatility)


def tactical(
    action: Action = Action.BUY,
    *,
    entry: float = 100.0,
    atr: float = 0.2,
    probability: float = 0.6,
) -> Tactical:
    """Return a tactical decision."""
    return Tactical(action, probability, probability, 0.3, {action: 1.0}, entry, 0.0, 1.0, atr, ())


def signal(
    symbol: str = "AAPL",
    sequence: int = 0,
    *,
    close: float = 100.0,
    action: Action = Action.BUY,
    time_us: int | None = None,
    **changes: Any,
) -> TacticalSignal:
    """Return a tactical signal; `changes` are fields of it."""
    at = START_US + sequence * MINUTE_US if time_us is None else time_us
    made = TacticalSignal(
        journal=JOURNAL,
        envelope=envelope(symbol, sequence, at),
        bar=bar(close),
        strategic=strategic(),
        tactical=tactical(action, entry=close, atr=0.002 * close),
    )
    return structs.replace(made, **changes)


def held(packet: TacticalSignal, outcome: Outcome) -> TacticalSignal:
    """Return the packet as of a flow that ended before risk."""
    return structs.replace(packet, envelope=structs.replace(packet.envelope, outcome=outcome))


def event(assessment: RiskAssessment, **changes: Any) -> OrderEvent:
    """Return an event of the flow, filled whole at its reference price unless changed."""
    assert assessment.risk is not None
    bounds, head = assessment.risk.envelope, assessment.envelope
    made = OrderEvent(
        journal=JOURNAL,
        flow_id=head.flow_id,
        plan_id=packet_id(head.flow_id, "execution"),
        account=head.account,
        symbol=head.symbol,
        client_order_id=f"{head.flow_id}-000",
        kind=OrderEventKind.FILLED,
        flow_state=FlowState.FILLED,
        side=bounds.side,
        quantity=bounds.max_quantity,
        filled=bounds.max_quantity,
        price=bounds.reference_price,
        fee=0.0,
        venue_order_id="v",
        event_time=head.event_time,
        accepted_at=head.accepted_at,
        deadline=head.deadline,
        reasons=(),
    )
    return structs.replace(made, **changes)


def assessed(
    symbol: str = "AAPL", sequence: int = 0, *, quantity: float = 100.0, **changes: Any
) -> RiskAssessment:
    """Return an approved assessment to buy at 100; `changes` are fields of it."""
    above = signal(symbol, sequence)
    bounds = RiskEnvelope(Side.BUY, quantity, 100.0, 99.0, 102.0)
    risk = Risk(Verdict.APPROVE, 0.1, (), bounds, (), 1e6, 0.0, 0.0, 0.0, quantity * 100.0)
    made = RiskAssessment(JOURNAL, above.envelope, above.bar, above.strategic, above.tactical, risk)
    return structs.replace(made, **changes)


def given(packet: Struct, *, now: int | None = None, offset: int = 0) -> Input:
    """Return a packet as an input, taken when it was accepted, with the fate that it carries."""
    head: Envelope | None = getattr(packet, "envelope", None)
    accepted_at = int(getattr(head or packet, "accepted_at", 0))
    at = accepted_at if now is None else now
    fate = head.outcome if head is not None else None
    return Input("t", 0, offset, 0, offset, (0, offset), 0, at, at, None, None, packet, None, fate)


class SmallEngine:
    """Does with a stage what the engine does, without Kafka.

    Args:
        logic: The stage.
        model: Its record for a packet.
        part: Field that the stage adds.
        control: What is in force.
    """

    def __init__(
        self,
        logic: StageLogic[Any],
        model: type[RiskAssessment] | type[ExecutionPlan],
        control: ControlView = ACTIVE,
    ) -> None:
        self.logic = logic
        self.state = logic.initial()
        self.control = control
        self.records: list[Any] = []
        self._model = model

    def work(self, inputs: Iterable[Input]) -> list[Any]:
        """Work one round off; return its items' records, None where there is none."""
        taken = list(inputs)
        context = Context(self.control, len(self.records))
        items = self.logic.decide(self.state, taken, context)
        return [self._add(each, item) for each, item in zip(taken, items, strict=True)]

    def one(self, packet: Struct, *, now: int | None = None) -> Any:
        """Work off a round of one packet; return its record."""
        return self.work([given(packet, now=now)])[0]

    def _add(self, each: Input, item: Draft | Note | None) -> Any:
        if item is None:
            return None
        record = self._record(each, item)
        self.logic.apply(self.state, record)
        self.records.append(record)
        return record

    def _record(self, each: Input, item: Draft | Note) -> Struct:
        journal = structs.replace(
            JOURNAL, log_sequence=len(self.records) + 1, control_epoch=self.control.epoch
        )
        if isinstance(item, Note):
            return item.model(journal=journal, **item.fields)
        packet = each.packet
        head = structs.replace(packet.envelope, outcome=item.outcome, policy=item.policy)
        carried: dict[str, Any] = {
            name: getattr(packet, name)
            for name in ("bar", "strategic", "tactical", "risk")
            if name in self._model.__struct_fields__ and hasattr(packet, name)
        }
        fields: dict[str, Any] = {**carried, **item.parts}
        return self._model(journal=journal, envelope=head, **fields)


def cut(items: Sequence[Any], sizes: Iterator[int]) -> Iterator[Sequence[Any]]:
    """Cut a sequence into pieces of the sizes given."""
    start = 0
    while start < len(items):
        size = next(sizes)
        yield items[start : start + size]
        start += size


def raw(records: Iterable[Struct]) -> bytes:
    """Return records as bytes, equal only for records that are equal to the last bit."""
    return b"\n".join(msgspec.json.encode(record) for record in records)
