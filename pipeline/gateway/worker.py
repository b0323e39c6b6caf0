"""The gateway: committed order plans to the venue, and what became of them to the fills log.

One task per flow that needs a record; flows of one symbol go one after the other. A child order is
announced (SUBMITTING), the announcement read back from the log without a foreign marker, and only
then sent. Every doubt is settled by asking the venue under the same client order id. Log and venue
are compared before the first order of an ownership, and every second afterwards.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from pipeline.control.reader import ControlReader
from pipeline.control.state import ControlView, TradingState
from pipeline.control.tripwire import Tripped
from pipeline.errors import OwnershipLost
from pipeline.gateway import dealing, order_events, orders
from pipeline.gateway.cursor import PlanCursor
from pipeline.gateway.orders import Conditions, FlowProgress, Result
from pipeline.gateway.plan_check import PlanCheck
from pipeline.gateway.reasons import GatewayReason
from pipeline.gateway.reconciliation import Reconciliation
from pipeline.gateway.state import ends_flow
from pipeline.gateway.venue import Venue, VenueUnknown
from pipeline.packets.codec import decode, encode, is_marker, is_sandbox, journal_head
from pipeline.packets.models import ChildOrder, ExecutionPlan, Journal, OrderEvent
from pipeline.settings import Settings
from pipeline.stages.fencing import fence_around
from pipeline.transport.host import LogHost
from pipeline.transport.journal import LogSpec, Ownership
from pipeline.transport.log import Position
from pipeline.transport.rounds import Round, TopicAndPartition

__all__ = ["GATEWAY_LOG", "Gateway"]

_logger = logging.getLogger(__name__)
_VENUE_CALLS = 16
_RECONCILE_S = 0.2
_COMPARE_S = 1.0
_LOOK_S = 0.05
_PLANS = "cascade.execution"

GATEWAY_LOG = LogSpec(
    "gateway", "cascade.fills", _PLANS, logs=frozenset({_PLANS}), finishes=ends_flow
)


@dataclass(slots=True)
class _Flow:
    """One flow while it is worked on."""

    ownership: Ownership
    plan: ExecutionPlan
    where: TopicAndPartition
    offset: int
    progress: FlowProgress
    attempted: set[str] = field(default_factory=set)
    unsigned: bool = False


class Gateway:
    """Works off rounds of order plans.

    Args:
        host: Owner of the fills log.
        control: Says whether trading is on; asked before each order.
        venue: Where orders go.
        settings: Settings.
        check: Checks the signature of each plan with orders; None where nothing need be signed.

    Attributes:
        written: How many records it wrote of each kind.
    """

    def __init__(
        self,
        host: LogHost,
        control: ControlReader,
        venue: Venue,
        settings: Settings,
        check: PlanCheck | None = None,
    ) -> None:
        self._host = host
        self._control = control
        self._venue = venue
        self._settings = settings
        self._check = check
        self._calls = ThreadPoolExecutor(_VENUE_CALLS, thread_name_prefix="venue")
        self._generation = -1
        self._cursors: dict[TopicAndPartition, PlanCursor] = {}
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._reconciliation = Reconciliation(settings.account)
        self._compared = asyncio.Event()
        self._compared_generation = -1
        self._comparing: asyncio.Task[None] | None = None
        self.written: Counter[str] = Counter()

    @property
    def flows(self) -> int:
        """How many flows are being worked on."""
        return len(self._tasks)

    async def work_off(self, taken: Round) -> None:
        """Start the flows of a round; they end by themselves."""
        if taken.generation != self._host.generation:
            return
        if taken.generation != self._generation:
            await self.abandon()
            self._generation = taken.generation
            if self._compared_generation != taken.generation:
                self._compared.clear()
            self.start_comparing()
        for ownership in list(self._host.owned.values()):
            for where, position in list(ownership.positions.items()):
                real = (self._settings.topic(where[0]), where[1])
                if messages := taken.records.get(real):
                    cursor = self._cursors.setdefault(where, PlanCursor(position.position))
                    for message in messages:
                        self._take(ownership, where, cursor, message)
                    position.move(cursor.resume)

    async def abandon(self) -> None:
        """Drop all flows: they belonged to an ownership that ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._cursors.clear()
        self._turns.clear()

    def _take(
        self, ownership: Ownership, where: TopicAndPartition, cursor: PlanCursor, message: Message
    ) -> None:
        offset, value = int(message.offset() or 0), message.value()
        known, reader = ownership.positions[where], ownership.readers[where]
        if offset < known.position.offset:
            return
        if is_marker(value):
            reader.marker(offset)
            cursor.skip(Position(offset + 1, reader.epoch, reader.sequence))
            return
        if is_sandbox(value):
            # Its type decides, and nothing here or in the settings can make a plan of it.
            _logger.error("sandbox_refused at=%s[%d]@%d", *where, offset)
            cursor.skip(Position(offset + 1, reader.epoch, reader.sequence))
            return
        head = journal_head(value)
        prior = (reader.epoch, reader.sequence)
        if head is None or not reader.accepts(offset, head.epoch, head.sequence):
            cursor.skip(Position(offset + 1, reader.epoch, reader.sequence))
            return
        cursor.add(offset, prior, (reader.epoch, reader.sequence))
        plan = decode(value)
        if (
            offset in known.done
            or not isinstance(plan, ExecutionPlan)
            or not orders.needs_record(plan)
        ):
            cursor.finish(offset)
            return
        progress = ownership.state.progress(plan.envelope.flow_id)
        unsigned = self._check is not None and not self._check.passes(message, plan)
        if unsigned and (progress.ended or plan.envelope.flow_id in self._tasks.values()):
            cursor.finish(offset)  # a forgery must not end a flow that is under way
            return
        flow = _Flow(ownership, plan, where, offset, progress, unsigned=unsigned)
        task = asyncio.create_task(self._run(flow))
        self._tasks[task] = plan.envelope.flow_id
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    # -- agreement with the venue --------------------------------------------------------------

    def broken(self) -> Iterator[Tripped]:
        """Yield what log and venue disagree on, and nobody has reset since."""
        return self._reconciliation.broken(self._control.view().trips)

    def start_comparing(self) -> None:
        """Compare log and venue from now on, whenever the log is owned; once is enough."""
        if self._comparing is None:
            self._comparing = asyncio.create_task(self._compare())

    async def _compare(self) -> None:
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            new_owner = self._compared_generation != self._host.generation
            if self._host.owned and (new_owner or loop.time() >= next_s):
                next_s = loop.time() + _COMPARE_S
                try:
                    await self._compare_once()
                except VenueUnknown as error:
                    _logger.warning("the venue does not name its open orders: %s", error)
                except Exception as error:
                    _logger.exception("log and venue cannot be compared")
                    self._host.lose(f"log and venue cannot be compared: {error!r}")
            await asyncio.sleep(_LOOK_S)

    async def _compare_once(self) -> None:
        generation = self._host.generation
        loop = asyncio.get_running_loop()
        reports = await loop.run_in_executor(self._calls, self._venue.open_orders)
        epoch = self._control.view().epoch
        agreed = self._reconciliation.compare(reports, self._in_flight(), epoch)
        known = agreed or any(self.broken())
        if known and generation == self._host.generation:
            self._compared_generation = generation
            self._compared.set()

    def _in_flight(self) -> set[str]:
        return {
            name
            for ownership in self._host.owned.values()
            for flow_id in ownership.state.flows
            for name in ownership.state.progress(flow_id).in_flight
        }

    # -- one flow ------------------------------------------------------------------------------

    async def _run(self, flow: _Flow) -> None:
        turn = self._turns.setdefault(flow.plan.envelope.symbol, asyncio.Lock())
        try:
            await self._compared.wait()
            async with turn:
                await self._to_the_end(flow)
        except OwnershipLost:
            return
        except Exception as error:
            # What is in doubt is settled by the next take-over, from log and venue.
            _logger.exception("flow_failed flow_id=%s", flow.plan.envelope.flow_id)
            self._host.lose(f"a flow failed: {error!r}")

    async def _to_the_end(self, flow: _Flow) -> None:
        while True:
            steps = orders.next_steps(
                flow.plan, flow.progress, self._conditions(flow),
                epoch=flow.ownership.epoch, attempted=flow.attempted,
            )  # fmt: skip
            if not steps:
                return
            await self._announce(flow, [s.order for s in steps if isinstance(s, orders.Submitting)])
            waits = [step.until for step in steps if isinstance(step, orders.Wait)]
            if len(waits) == len(steps):
                now = self._conditions(flow).now
                await asyncio.sleep(max(0.0, (min(waits) - now) / 1e6))
            for step in steps:
                match step:
                    case orders.Submit(order):
                        flow.attempted.add(order.client_order_id)
                        await self._deal(flow, order, dealing.submit)
                    case orders.Reconcile(order):
                        await self._deal(flow, order, dealing.reconcile)
                    case orders.Finish(order, result):
                        self._record(flow, order, result)

    def _conditions(self, flow: _Flow) -> Conditions:
        view: ControlView = self._control.view()
        trading = view.trading_state is not TradingState.HALTED and not self._host.clock.skewed
        barred = _barred(view, flow.plan)
        if any(self._reconciliation.broken(view.trips)):
            barred = GatewayReason.RECONCILIATION_BREAK
        if self._settings.clock == "event":
            # Under the event clock a plan's delays are over at once.
            children = flow.plan.execution.orders if flow.plan.execution else ()
            delay_us = max((child.delay_ms for child in children), default=0) * 1000
            now = flow.plan.journal.now + delay_us
        else:
            now = self._host.clock.now_us()
        return Conditions(now, trading, barred=barred, unsigned=flow.unsigned)

    async def _announce(self, flow: _Flow, children: list[ChildOrder]) -> None:
        """Write SUBMITTING for each child order, and wait until all are read back."""
        if not children:
            return
        written = [
            self._append(flow, order_events.submitting_event(flow.plan, child))
            for child in children
        ]
        await self._host.read_back(flow.ownership, written[-1].journal.log_sequence)
        for event in written:
            flow.progress = flow.progress.after(event)

    async def _deal(
        self, flow: _Flow, order: ChildOrder, how: Callable[..., dealing.Dealing]
    ) -> None:
        def barrier() -> Result | None:
            return orders.barrier(flow.plan, order, self._conditions(flow))

        conversation = how(orders.venue_order(flow.plan, order), barrier)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._calls, dealing.deal, self._venue, conversation)
        if result is None:  # in flight: the venue is asked again
            await asyncio.sleep(_RECONCILE_S)
            return
        epoch = self._control.view().epoch
        self._reconciliation.check(flow.plan.envelope.account, order, result, epoch)
        self._record(flow, order, result)

    def _record(self, flow: _Flow, order: ChildOrder | None, result: Result) -> None:
        fields = order_events.result_event(flow.plan, flow.progress, order, result)
        flow.progress = flow.progress.after(self._append(flow, fields))

    def _append(self, flow: _Flow, fields: dict[str, Any]) -> OrderEvent:
        """Write one record of the flow to the log, and fold it."""
        ownership, host = flow.ownership, self._host
        if host.owned.get(ownership.partition) is not ownership:
            raise OwnershipLost(f"Expected to own {GATEWAY_LOG.log}, was lost")
        cursor = self._cursors[flow.where]
        event = OrderEvent(journal=self._journal(flow, cursor.resume), **fields)
        if ends_flow(event):
            cursor.finish(flow.offset)
            event = OrderEvent(journal=self._journal(flow, cursor.resume), **fields)
        value = encode(event)
        ownership.advance(host.fold, event)
        host.write(ownership, [(event.account.encode(), value)])
        self.written[event.kind] += 1
        self._moved(flow, cursor.resume, ended=ends_flow(event))
        return event

    @staticmethod
    def _moved(flow: _Flow, resume: Position, *, ended: bool) -> None:
        known = flow.ownership.positions[flow.where]
        known.fold(flow.offset, resume, finished=ended)

    def _journal(self, flow: _Flow, resume: Position) -> Journal:
        source = flow.plan.journal
        host, ownership, view = self._host, flow.ownership, self._control.view()
        return Journal(
            ownership.sequence + 1, ownership.epoch, *flow.where, flow.offset,
            source.epoch, source.log_sequence, resume.offset, resume.epoch, resume.sequence,
            self._conditions(flow).now, view.epoch, host.owner, host.build,
            view.trading_state is TradingState.HALTED,
        )  # fmt: skip


def _barred(view: ControlView, plan: ExecutionPlan) -> GatewayReason | None:
    """Return why the orders of a plan may not be sent while others may; None where they may."""
    fences = view.fences
    if GATEWAY_LOG.stage in fences.stages or fence_around(plan.envelope, fences):
        return GatewayReason.ISOLATED
    reduces = plan.risk is not None and plan.risk.reducing
    return None if view.allows(reducing=reduces) else GatewayReason.TRADING_REDUCING
