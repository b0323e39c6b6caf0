"""Is every record accounted for, and no order sent twice? Pure, over what was seen from outside."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.demo.ledger import SentFlow
from pipeline.market import ItemKind
from pipeline.packets.vocabulary import OrderEventKind, OutcomeKind
from pipeline.watch.observations import FillSeen, FlowEnd

__all__ = ["Accounts", "account", "decisions_sha256", "reservation_faults"]

_MONEY_TOLERANCE = 1e-6
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Accounts:
    """What became of all that was sent.

    Attributes:
        packets_in: Records sent and counted.
        outcomes: Flows by outcome; every outcome is named.
        missing: Flows with fewer records in the execution log than were sent.
        surplus: Flows with more, among them such as nobody sent.
        unfinished: Flows that owe an end in the fills log and have none.
        duplicate_orders: Orders that the venue took twice, or ended twice, or that belong to a
            second plan of their flow.
        foreign_orders: Orders at the venue that no plan asked for.
        undead: Records sent broken on purpose that were not dead-lettered.
        order_plans: Flows that ended with orders.
        plans_filled: Those of them with at least one unit filled.
        fills: Orders filled in whole or in part.
    """

    packets_in: int
    outcomes: dict[str, int]
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    duplicate_orders: list[str] = field(default_factory=list)
    foreign_orders: list[str] = field(default_factory=list)
    undead: list[str] = field(default_factory=list)
    order_plans: int = 0
    plans_filled: int = 0
    fills: int = 0

    @property
    def unaccounted(self) -> int:
        """Records without exactly one end: too few, too many, or none in the fills log."""
        return len(self.missing) + len(self.surplus) + len(self.unfinished)

    def faults(self) -> list[str]:
        """Return in words what must not be, the first few of each."""
        texts = {
            "without a record in the execution log": self.missing,
            "with more records in the execution log than were sent": self.surplus,
            "without their end in the fills log": self.unfinished,
            "sent twice": self.duplicate_orders,
            "at the venue that no plan asked for": self.foreign_orders,
            "broken on purpose, not dead-lettered": self.undead,
        }
        return [
            f"{len(names)} {text}: {', '.join(names[:_LISTED])}"
            for text, names in texts.items()
            if names
        ]


def account(
    sent: Sequence[SentFlow],
    warm_up: Collection[str],
    ends: Iterable[FlowEnd],
    fills: Sequence[FillSeen],
    accepted: Iterable[str],
) -> Accounts:
    """Return what became of what was sent.

    A record sent twice under one flow id (a duplicate) has two ends; so multisets are compared.

    Args:
        sent: Records that count.
        warm_up: Flows that do not count.
        ends: Records of the execution log.
        fills: Records of the fills log.
        accepted: Client order ids in the order in which the venue took them, repeats included.
    """
    skipped = frozenset(warm_up)
    counted = [end for end in ends if end.flow_id not in skipped]
    wanted = Counter(each.flow_id for each in sent)
    found = Counter(end.flow_id for end in counted)
    plans = [end for end in counted if end.orders]
    filled = {each.flow_id for each in fills if each.filled > 0.0}
    finals = {each.flow_id for each in fills if each.final}
    kinds = Counter(end.kind for end in counted)
    ours = [each for each in fills if each.flow_id not in skipped]
    return Accounts(
        packets_in=len(sent),
        outcomes={kind.value: kinds[kind] for kind in OutcomeKind},
        missing=sorted((wanted - found).elements()),
        surplus=sorted((found - wanted).elements()),
        unfinished=sorted(
            {end.flow_id for end in counted if end.to_gateway and end.flow_id not in finals}
        ),
        duplicate_orders=_duplicates(plans, ours, list(accepted)),
        foreign_orders=_foreign(plans, skipped, accepted),
        undead=_undead(sent, counted),
        order_plans=len(plans),
        plans_filled=sum(1 for end in plans if end.flow_id in filled),
        fills=sum(1 for each in ours if each.filled > 0.0),
    )


def _duplicates(
    plans: Sequence[FlowEnd], fills: Iterable[FillSeen], accepted: Sequence[str]
) -> list[str]:
    planned = Counter(order.client_order_id for end in plans for order in end.orders)
    ended = Counter(
        each.client_order_id or each.flow_id
        for each in fills
        if each.kind is not OrderEventKind.SUBMITTING
    )
    second = Counter(end.flow_id for end in plans)
    counters = (planned, ended, second, Counter(accepted))
    return sorted({name for counter in counters for name, count in counter.items() if count > 1})


def _foreign(
    plans: Iterable[FlowEnd], skipped: Collection[str], accepted: Iterable[str]
) -> list[str]:
    planned = {order.client_order_id for end in plans for order in end.orders}
    # An order's id opens with its flow's.
    return sorted(
        name
        for name in set(accepted)
        if name not in planned and name.rpartition("-")[0] not in skipped
    )


def _undead(sent: Iterable[SentFlow], ends: Iterable[FlowEnd]) -> list[str]:
    broken = {each.flow_id for each in sent if each.kind in (ItemKind.POISON, ItemKind.NAN)}
    dead = {end.flow_id for end in ends if end.kind is OutcomeKind.DEAD_LETTERED}
    return sorted(broken - dead)


def reservation_faults(
    ends: Iterable[FlowEnd], fills: Iterable[FillSeen], released: Mapping[str, float]
) -> list[str]:
    """Return flows whose reservation is not what is still open plus what was released.

    A flow that ended holds nothing any more, so all that was reserved for it was released; one that
    is open released no more than that.

    Args:
        ends: Records of the execution log; each tells what risk reserved.
        fills: Records of the fills log; they tell which flows ended.
        released: Currency that risk released for each flow, from its own log.
    """
    finals = {each.flow_id for each in fills if each.final}
    reserved: dict[str, float] = {}
    for end in ends:
        reserved[end.flow_id] = reserved.get(end.flow_id, 0.0) + end.reserved
    faults = []
    for flow_id in reserved.keys() | released.keys():
        open_units = reserved.get(flow_id, 0.0) - released.get(flow_id, 0.0)
        tolerance = _MONEY_TOLERANCE * max(1.0, reserved.get(flow_id, 0.0))
        if open_units < -tolerance or (flow_id in finals and open_units > tolerance):
            faults.append(f"{flow_id} {open_units:+.6f}")
    return sorted(faults)


def decisions_sha256(ends: Iterable[FlowEnd]) -> str:
    """Return the hash of all decisions, without their times.

    Hashed are of each flow, in order of symbol and sequence: id, outcome, reasons, and the orders'
    ids, sides, quantities and limit prices.
    """
    digest = hashlib.sha256()
    ordered = sorted(ends, key=lambda end: (end.symbol, end.sequence, end.flow_id, end.kind.value))
    for end in ordered:
        orders = [
            (order.client_order_id, order.side.value, order.quantity, order.limit_price)
            for order in end.orders
        ]
        line = json.dumps([end.flow_id, end.kind.value, end.reasons, orders])
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
