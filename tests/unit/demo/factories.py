"""Flows, fills and runs for the tests of the demo."""

from collections.abc import Sequence

from pipeline.demo.ledger import SentFlow
from pipeline.market import ItemKind
from pipeline.packets.identity import client_order_id, flow_id
from pipeline.packets.models import ChildOrder
from pipeline.packets.vocabulary import OrderEventKind, OrderType, OutcomeKind, Side
from pipeline.watch.observations import FillSeen, FlowEnd, Hop

__all__ = ["START_US", "end", "executed", "fill", "flow", "order", "sent", "trace"]

START_US = 1_700_000_000_000_000
_STAGES = ("strategic", "tactical", "risk", "execution")


def flow(number: int) -> str:
    """Return the id of flow `number`."""
    return flow_id("market", "AAPL", number)


def sent(number: int, kind: ItemKind = ItemKind.BAR, every_us: int = 5000) -> SentFlow:
    """Return record `number` of a publisher that sends one each 5 ms."""
    return SentFlow(flow(number), START_US + number * every_us, kind)


def trace(due_us: int, *shares_us: int) -> tuple[Hop, ...]:
    """Return a trace whose stages decide one after the other, so many microseconds later."""
    hops, at = [], due_us
    for stage, share_us in zip(_STAGES, shares_us, strict=True):
        at += share_us
        hops.append(Hop(stage, at - share_us // 2, at - share_us // 4, at))
    return tuple(hops)


def order(number: int, index: int = 0, quantity: float = 10.0) -> ChildOrder:
    """Return child order `index` of flow `number`."""
    name = client_order_id(flow(number), index)
    return ChildOrder(name, Side.BUY, quantity, OrderType.LIMIT, 101.0, 0)


def end(
    number: int,
    kind: OutcomeKind = OutcomeKind.HELD,
    *,
    stage: str = "execution",
    reasons: tuple[str, ...] = (),
    orders: Sequence[ChildOrder] = (),
    shares_us: tuple[int, int, int, int] = (1000, 1000, 1000, 1000),
    reserved: float = 0.0,
    to_gateway: bool = False,
) -> FlowEnd:
    """Return the end of flow `number`, due when `sent(number)` says."""
    due_us = sent(number).intended_us
    return FlowEnd(
        flow(number), "AAPL", number, kind, stage, reasons, tuple(orders),
        trace(due_us, *shares_us), due_us, due_us // 1000 + 5, 100.0 + number, 1e6 + number,
        reserved, to_gateway,
    )  # fmt: skip


def executed(number: int, count: int = 1, reserved: float = 1000.0) -> FlowEnd:
    """Return the end of flow `number` with `count` orders."""
    orders = [order(number, index) for index in range(count)]
    return end(number, OutcomeKind.EXECUTED, orders=orders, reserved=reserved, to_gateway=True)


def fill(
    number: int,
    index: int = 0,
    *,
    kind: OrderEventKind = OrderEventKind.FILLED,
    final: bool = True,
) -> FillSeen:
    """Return the gateway's record of child order `index` of flow `number`."""
    filled = 10.0 if kind is OrderEventKind.FILLED else 0.0
    appended_ms = sent(number).intended_us // 1000 + 20
    name = client_order_id(flow(number), index)
    return FillSeen(
        flow(number), name, "AAPL", kind, final, "BUY", 10.0, filled, 100.5, appended_ms
    )
