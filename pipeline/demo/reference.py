"""The same decisions without Kafka: bars folded through stages and gateway in one loop.

What the workers do, less all that makes them workers: no broker, no rounds as they happen to come,
no take-over. Every stage's `decide` and `apply`, the engine's record writer, the gateway's steps
and the paper broker are the ones that the workers use. So if a worker decides anything else than
this on the same bars, then timing, batching or transport had a say in it, which they must not.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct

from pipeline.control.state import ControlView, TradingState
from pipeline.errors import PipelineError
from pipeline.gateway import dealing, order_events, orders
from pipeline.gateway.orders import Conditions, FlowProgress, Result
from pipeline.gateway.venue import Venue
from pipeline.market import ItemKind, MarketBar
from pipeline.market.faults import SendItem
from pipeline.market.ingest import RecordMaker
from pipeline.packets.codec import decode
from pipeline.packets.models import ChildOrder, ExecutionPlan, Journal, OrderEvent
from pipeline.settings import Settings
from pipeline.stages.contract import Context, Draft, Input, Note, StageLogic
from pipeline.stages.execution_logic import ExecutionLogic
from pipeline.stages.records import RecordWriter
from pipeline.stages.risk_logic import RiskLogic
from pipeline.stages.routes import ROUTES, Route
from pipeline.stages.strategic_logic import StrategicLogic
from pipeline.stages.tactical_logic import TacticalLogic
from pipeline.transport.log import Position
from pipeline.watch.observations import FlowEnd

__all__ = ["Reference"]

_ACTIVE = ControlView(TradingState.ACTIVE, 0, current=True)
_NOWHERE = (-1, -1)
_RESUME = Position(0, -1, -1)


class Reference:
    """Works bars off in process, one round of the first two stages at a time.

    Args:
        settings: Settings with the event clock: now is the time of the bar.
        venue: Where orders go.

    Raises:
        PipelineError: If the clock is another one; then the results would depend on when it runs.
    """

    def __init__(self, settings: Settings, venue: Venue) -> None:
        if settings.clock != "event":
            raise PipelineError(f"Expected the event clock, was the {settings.clock} clock")
        self._maker = RecordMaker(settings)
        self._gateway = _Gateway(venue)
        self._strategic = _Stage(ROUTES["strategic"], StrategicLogic(), settings)
        self._tactical = _Stage(ROUTES["tactical"], TacticalLogic(), settings)
        self._risk = _Stage(ROUTES["risk"], RiskLogic.of(settings), settings)
        self._execution = _Stage(ROUTES["execution"], ExecutionLogic(), settings)
        self._sequences: dict[str, int] = {}

    def run(self, bars: Sequence[MarketBar], round_cut: int) -> list[FlowEnd]:
        """Return the end of each bar's flow.

        Strategic and tactical decide on `round_cut` bars at once; risk and what follows take each
        bar to its end before the next, as it goes when bars are sent one at a time.

        Args:
            bars: The bars, in order.
            round_cut: Bars per round.
        """
        left = iter(bars)
        ends: list[FlowEnd] = []
        while cut := list(islice(left, round_cut)):
            market = [decode(self._maker.make(self._item(bar), bar.time_us).value) for bar in cut]
            for signal in self._tactical.work_off(self._strategic.work_off(market)):
                ends.extend(self._to_the_end(signal))
        return ends

    def _item(self, bar: MarketBar) -> SendItem:
        sequence = self._sequences.get(bar.symbol, -1) + 1
        self._sequences[bar.symbol] = sequence
        return SendItem(ItemKind.BAR, bar, sequence)

    def _to_the_end(self, signal: Struct) -> Iterator[FlowEnd]:
        for record in self._execution.work_off(self._risk.work_off([signal])):
            if isinstance(record, ExecutionPlan):
                yield FlowEnd.of(record, 0)
                updates = self._risk.work_off(self._gateway.carry_out(record))
                self._execution.work_off(updates)


class _Stage:
    """One stage: its state, and the records that it would write."""

    def __init__(self, route: Route, logic: StageLogic[Any], settings: Settings) -> None:
        self._route = route
        self._logic = logic
        self._state = logic.initial()
        self._writer = RecordWriter(route, "reference", "reference", settings.account)
        self._sequence = -1
        self._offset = 0

    def work_off(self, packets: Sequence[Struct]) -> list[Struct]:
        """Return the records of a round, folded into the state one by one."""
        inputs = [self._input(packet) for packet in packets]
        context = Context(_ACTIVE, self._sequence)
        records = []
        for each, item in zip(
            inputs, self._logic.decide(self._state, inputs, context), strict=True
        ):
            if item is not None:
                record = self._record(each, item)
                self._logic.apply(self._state, record)
                self._sequence += 1
                records.append(record)
        return records

    def _input(self, packet: Any) -> Input:
        envelope = getattr(packet, "envelope", None)
        journal = getattr(packet, "journal", None)
        now = envelope.accepted_at if envelope is not None else getattr(packet, "accepted_at", 0)
        epoch = -1 if journal is None else journal.epoch
        sequence = -1 if journal is None else journal.log_sequence
        self._offset += 1
        fate = envelope.outcome if envelope is not None else None
        return Input(
            self._route.spec.subscribed, 0, self._offset, epoch, sequence, _NOWHERE, 0, now, now,
            None, None, packet, None, fate,
        )  # fmt: skip

    def _record(self, each: Input, item: Draft | Note) -> Struct:
        journal = self._writer.journal(each, self._sequence + 1, 0, _RESUME, _ACTIVE)
        if isinstance(item, Note):
            return item.model(journal=journal, **item.fields)
        return self._writer.record(each, item, journal, 0, each.now, each.now)


class _Gateway:
    """The gateway, one flow at a time; every delay is over at once, as under the event clock."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._sequence = -1

    def carry_out(self, plan: ExecutionPlan) -> list[OrderEvent]:
        """Return the records of a flow, in the order of the fills log."""
        children = plan.execution.orders if plan.execution else ()
        delay_us = max((child.delay_ms for child in children), default=0) * 1000
        conditions = Conditions(plan.journal.now + delay_us, trading=True)
        progress, attempted = FlowProgress(), set[str]()
        events: list[OrderEvent] = []

        def write(fields: dict[str, Any]) -> None:
            nonlocal progress
            event = OrderEvent(journal=self._journal(plan), **fields)
            progress = progress.after(event)
            events.append(event)

        while steps := orders.next_steps(plan, progress, conditions, epoch=0, attempted=attempted):
            for step in steps:
                if isinstance(step, orders.Submitting):
                    write(order_events.submitting_event(plan, step.order))
            for step in steps:
                match step:
                    case orders.Submit(order):
                        attempted.add(order.client_order_id)
                        result = self._submit(plan, order, conditions)
                        write(order_events.result_event(plan, progress, order, result))
                    case orders.Finish(order, result):
                        write(order_events.result_event(plan, progress, order, result))
        return events

    def _submit(self, plan: ExecutionPlan, order: ChildOrder, conditions: Conditions) -> Result:
        def barrier() -> Result | None:
            return orders.barrier(plan, order, conditions)

        conversation = dealing.submit(orders.venue_order(plan, order), barrier)
        result = dealing.deal(self._venue, conversation)
        if result is None:
            raise PipelineError(
                "Expected a venue that answers, was one that leaves orders in flight. Run this with"
                " a paper broker without faults."
            )
        return result

    def _journal(self, plan: ExecutionPlan) -> Journal:
        self._sequence += 1
        return Journal(
            self._sequence, 0, "cascade.execution", 0, 0, 0, plan.journal.log_sequence,
            0, -1, -1, plan.journal.now, _ACTIVE.epoch, "reference", "reference",
        )  # fmt: skip
