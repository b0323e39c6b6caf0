import pytest

from pipeline.demo.accounting import Accounts, account, decisions_sha256, reservation_faults
from pipeline.market import ItemKind
from pipeline.packets.vocabulary import OrderEventKind, OutcomeKind
from pipeline.watch.observations import FillSeen, FlowEnd
from tests.unit.demo.factories import end, executed, fill, flow, order, sent


def accounts_of(
    ends: list[FlowEnd],
    *,
    count: int | None = None,
    fills: list[FillSeen] | None = None,
    accepted: list[str] | None = None,
    warm_up: frozenset[str] = frozenset(),
) -> Accounts:
    """Return the accounts of a run that sent the first `count` flows."""
    records = [sent(number) for number in range(len(ends) if count is None else count)]
    return account(records, warm_up, ends, fills or [], accepted or [])


def test_a_run_without_fault_is_accounted_for() -> None:
    """Every record has its one end, each order its one fill: nothing is reported."""
    ends = [end(0), executed(1, 2), end(2, OutcomeKind.REJECTED, stage="risk")]
    fills = [fill(1, 0, final=False), fill(1, 1)]
    accepted = [order(1, 0).client_order_id, order(1, 1).client_order_id]

    accounts = accounts_of(ends, fills=fills, accepted=accepted)

    assert (3, 0, []) == (accounts.packets_in, accounts.unaccounted, accounts.faults())
    assert (1, 1, 2) == (accounts.order_plans, accounts.plans_filled, accounts.fills)
    assert {
        "executed": 1, "held": 1, "rejected": 1, "expired": 0, "shed": 0, "dead_lettered": 0
    } == accounts.outcomes  # fmt: skip


def test_a_lost_flow_is_found() -> None:
    """A record without an end is unaccounted, though the number of ends were right."""
    accounts = accounts_of([end(0), end(0)], count=2)
    assert [flow(1)] == accounts.missing
    assert [flow(0)] == accounts.surplus
    assert 2 == accounts.unaccounted


def test_a_flow_that_nobody_sent_is_found() -> None:
    """An end without a record is unaccounted."""
    assert [flow(1)] == accounts_of([end(0), end(1)], count=1).surplus


def test_a_duplicate_has_two_ends() -> None:
    """A record sent twice under one flow id must end twice, not once and not three times."""
    twice = [sent(0), sent(0, ItemKind.DUPLICATE)]
    ends = [end(0), end(0, OutcomeKind.DEAD_LETTERED, stage="strategic")]
    assert 0 == account(twice, (), ends, [], []).unaccounted
    assert [flow(0)] == account(twice, (), ends[:1], [], []).missing
    assert [flow(0)] == account(twice, (), [*ends, end(0)], [], []).surplus


def test_the_warm_up_does_not_count() -> None:
    """Flows of the warm-up are neither counted nor missed, their orders not taken for foreign."""
    warm = frozenset({flow(7)})
    accounts = accounts_of(
        [end(0), executed(7)],
        count=1,
        warm_up=warm,
        fills=[fill(7)],
        accepted=[order(7).client_order_id],
    )
    assert (0, 0, 0, []) == (
        accounts.unaccounted, accounts.order_plans, accounts.fills, accounts.faults()
    )  # fmt: skip


def test_a_flow_without_its_end_at_the_gateway_is_found() -> None:
    """A plan that the fills log does not end is unaccounted."""
    started = fill(0, kind=OrderEventKind.SUBMITTING, final=False)
    accounts = accounts_of([executed(0)], fills=[started])
    assert ([flow(0)], 1) == (accounts.unfinished, accounts.unaccounted)


def test_an_order_that_the_venue_took_twice_is_found() -> None:
    """The venue's own account tells of an order accepted twice."""
    name = order(0).client_order_id
    accounts = accounts_of([executed(0)], fills=[fill(0)], accepted=[name, name])
    assert [name] == accounts.duplicate_orders


def test_an_order_that_ended_twice_is_found() -> None:
    """Two results for one order in the fills log are a duplicate."""
    accounts = accounts_of([executed(0)], fills=[fill(0), fill(0)])
    assert [order(0).client_order_id] == accounts.duplicate_orders


def test_a_second_plan_of_a_flow_is_found() -> None:
    """A flow that execution planned twice may have traded twice."""
    accounts = accounts_of([executed(0), executed(0)], count=2, fills=[fill(0)])
    assert flow(0) in accounts.duplicate_orders


def test_an_order_that_nobody_planned_is_found() -> None:
    """An order at the venue that is in no plan is reported."""
    accounts = accounts_of([end(0)], accepted=[order(0).client_order_id])
    assert [order(0).client_order_id] == accounts.foreign_orders
    assert 1 == len(accounts.faults())


def test_poison_that_was_let_through_is_found() -> None:
    """A record broken on purpose must be dead-lettered, not held."""
    records = [sent(0, ItemKind.POISON), sent(1, ItemKind.NAN)]
    dead = end(0, OutcomeKind.DEAD_LETTERED, stage="strategic")
    assert [flow(1)] == account(records, (), [dead, end(1)], [], []).undead


@pytest.mark.parametrize(
    ("released", "faults"),
    [
        ({flow(0): 1000.0}, 0),
        ({flow(0): 999.0}, 1),
        ({flow(0): 1001.0}, 1),
        ({}, 1),
        ({flow(0): 1000.0, flow(5): 1.0}, 1),
    ],
)
def test_a_reservation_is_what_is_open_plus_what_was_released(
    released: dict[str, float], faults: int
) -> None:
    """A flow that ended has its whole reservation back, no more and no less."""
    assert faults == len(reservation_faults([executed(0), end(1)], [fill(0)], released))


def test_an_open_flow_may_hold_its_reservation() -> None:
    """What is not yet ended at the gateway need not be released, in part or at all."""
    assert [] == reservation_faults([executed(0)], [], {})
    assert [] == reservation_faults([executed(0)], [], {flow(0): 400.0})


def test_decisions_have_one_hash_whatever_their_order() -> None:
    """The hash is of decisions by symbol and sequence; times and order of arrival are no part."""
    first, second = executed(1), end(2, shares_us=(1, 2, 3, 4))
    assert decisions_sha256([first, second]) == decisions_sha256([second, first])
    late = second._replace(trace=(), accepted_at=0, appended_ms=0)
    assert decisions_sha256([first, second]) == decisions_sha256([first, late])


@pytest.mark.parametrize(
    "other",
    [
        executed(1)._replace(kind=OutcomeKind.HELD),
        executed(1)._replace(reasons=("SPREAD",)),
        executed(1)._replace(orders=(order(1, quantity=11.0),)),
        executed(1)._replace(orders=()),
        executed(1)._replace(flow_id=flow(9)),
    ],
)
def test_any_other_decision_has_another_hash(other: FlowEnd) -> None:
    """Outcome, reasons, orders and flow each change the hash."""
    assert decisions_sha256([executed(1)]) != decisions_sha256([other])
