"""Competing gateways over one fills log and one venue, advanced one atomic action at a time.

An owner can be crashed, or left to lie and advanced much later as a zombie, before any of: reading
the log, writing a record, making a call to the venue. `World.violations` is the oracle.
"""

import math
from collections import Counter
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.gateway.dealing import Dealing, SubmitCall, call, reconcile, submit
from pipeline.gateway.fills import PaperBehaviour
from pipeline.gateway.order_events import result_event, submitting_event
from pipeline.gateway.orders import (
    Conditions,
    Finish,
    FlowProgress,
    Reconcile,
    Result,
    Submit,
    Submitting,
    barrier,
    next_steps,
    venue_order,
)
from pipeline.gateway.paper import PaperVenue
from pipeline.packets.models import ChildOrder, ExecutionPlan, OrderEvent
from pipeline.transport.log import LogReader
from tests.unit.gateway.factories import Clock, journal

Life = Generator[None, None, None]


class FillsLog:
    """A log partition: markers (None) and records, by offset."""

    def __init__(self) -> None:
        self.entries: list[OrderEvent | None] = []

    def mark(self) -> int:
        """Append a marker; return the epoch it opens."""
        self.entries.append(None)
        return len(self.entries) - 1

    def write(self, event: OrderEvent) -> None:
        """Append a record."""
        self.entries.append(event)

    def read(self, end: int | None = None) -> tuple[LogReader, list[OrderEvent]]:
        """Return the records before `end` that count by the reading rule, and the rule's state."""
        reader, events = LogReader(), []
        for offset, event in enumerate(self.entries[:end]):
            if event is None:
                reader.marker(offset)
            elif reader.accepts(offset, event.journal.epoch, event.journal.log_sequence):
                events.append(event)
        return reader, events


class World:
    """Plans to work off, the log, the venue, a clock and a halt switch, and the owners.

    Args:
        path: File of the paper broker.
        plans: The order plans in execution's log.
        behaviour: How the venue behaves.
        venue: The class of the venue, for planting faults.
    """

    def __init__(
        self,
        path: Path,
        plans: Sequence[ExecutionPlan],
        behaviour: PaperBehaviour,
        venue: type[PaperVenue] = PaperVenue,
    ) -> None:
        self.clock = Clock()
        self.plans = plans
        self.log = FillsLog()
        self.trading = True
        # A slow order outlives its submit here: time passes only by the scheduler's will.
        self.venue = venue(path, behaviour, now_us=self.clock, sleep=lambda _: None)
        self.owners: list[Life] = []
        self.on_brink = False

    def start(self) -> None:
        """Let one more process take the log over, whatever the others do."""
        self.owners.append(self._own())

    def advance(self, index: int, actions: int = 1) -> None:
        """Let an owner take some atomic actions; one that is done or fenced leaves."""
        if not self.owners:
            return
        owner = self.owners[index % len(self.owners)]
        for _ in range(actions):
            if next(owner, "done") == "done":
                self.owners.remove(owner)
                return

    def advance_to_submit(self, index: int) -> None:
        """Let an owner go on until it is about to send an order, all its checks behind it."""
        self.on_brink = False
        for _ in range(20):
            if self.on_brink or not self.owners:
                return
            self.advance(index)

    def crash(self, index: int) -> None:
        """Kill an owner where it stands."""
        if self.owners:
            self.owners.pop(index % len(self.owners)).close()

    def settle(self) -> None:
        """Let a fresh owner work everything off, then every zombie wake up, then one more owner.

        Trading stays as it is: where it is halted, what no zombie sent yet ends by a cancel.
        """
        for _ in range(2):
            self.owners.insert(0, self._own())
            while self.owners:
                self.clock.now += 1000
                for _ in range(1000):
                    if next(self.owners[0], "done") == "done":
                        break
                else:
                    raise AssertionError("no end in sight")
                self.owners.pop(0)

    def violations(self) -> list[str]:
        """Return what is wrong with log and venue, once settled."""
        _, events = self.log.read()
        accepted = Counter(
            each.client_order_id
            for each in self.venue.submissions()
            if each.outcome in {"accepted", "rejected"}
        )
        found = [f"{name} accepted {times}x" for name, times in accepted.items() if times > 1]
        planned = {order.client_order_id for plan in self.plans for order in _orders(plan)}
        found += [f"{name} was never planned" for name in accepted if name not in planned]
        for plan in self.plans:
            flow = [event for event in events if event.flow_id == plan.envelope.flow_id]
            finals = [event for event in flow if event.flow_state != "OPEN"]
            if len(finals) != 1 or finals[0] is not flow[-1]:
                found.append(f"{plan.envelope.flow_id} ended {len(finals)}x")
        booked: dict[str, float] = {}
        for event in events:
            name = event.client_order_id
            booked[name] = booked.get(name, 0.0) + event.filled
        for each in self.venue.orders():
            name, filled = each.report.client_order_id, each.report.filled
            if not math.isclose(filled, booked.get(name, -1.0)):
                found.append(f"{name} filled {filled} at the venue, {booked.get(name)} in the log")
        traded = math.fsum(each.report.filled for each in self.venue.orders())
        if not math.isclose(traded, math.fsum(booked.values())):
            found.append(f"{traded} filled at the venue, {booked} in the log")
        return found

    def _own(self) -> Life:
        """Live as an owner; every yield is an instant at which it may crash or be overtaken."""
        yield
        epoch = self.log.mark()
        yield
        reader, _ = self.log.read(epoch + 1)
        sequence = reader.sequence
        attempted: set[str] = set()
        for plan in self.plans:
            while True:
                reader, events = self.log.read()
                if reader.epoch != epoch:
                    return  # fenced
                flow = [event for event in events if event.flow_id == plan.envelope.flow_id]
                progress = FlowProgress.fold(flow)
                record = yield from self._next_record(plan, progress, epoch, attempted)
                if progress.ended:
                    break
                if record is not None:
                    yield
                    sequence += 1
                    self.log.write(OrderEvent(journal=journal(epoch, sequence), **record))
                yield

    def _next_record(
        self,
        plan: ExecutionPlan,
        progress: FlowProgress,
        epoch: int,
        attempted: set[str],
    ) -> Generator[None, None, dict[str, Any] | None]:
        steps = next_steps(plan, progress, self._conditions(), epoch=epoch, attempted=attempted)
        for step in steps:
            match step:
                case Submitting(order):
                    return submitting_event(plan, order)
                case Finish(order, result):
                    return result_event(plan, progress, order, result)
                case Submit(order):
                    attempted.add(order.client_order_id)
                    dealing = submit(venue_order(plan, order), partial(self._barrier, plan, order))
                case Reconcile(order):
                    stop = partial(self._barrier, plan, order)
                    dealing = reconcile(venue_order(plan, order), stop)
                case _:
                    continue
            if end := (yield from self._deal(dealing)):
                return result_event(plan, progress, step.order, end)
        self.clock.now += 1000  # nothing to do but wait
        return None

    def _deal(self, dealing: Dealing) -> Generator[None, None, Result | None]:
        """Make the calls of a dealing, each an atomic action of its own."""
        try:
            request = next(dealing)
            while True:
                self.on_brink = isinstance(request, SubmitCall)
                yield
                answer = call(self.venue, request)
                yield
                request = dealing.send(answer)
        except StopIteration as end:
            result: Result | None = end.value
            return result

    def _conditions(self) -> Conditions:
        return Conditions(self.clock.now, self.trading)

    def _barrier(self, plan: ExecutionPlan, order: ChildOrder) -> Result | None:
        return barrier(plan, order, self._conditions())


def _orders(plan: ExecutionPlan) -> tuple[ChildOrder, ...]:
    return plan.execution.orders if plan.execution else ()
