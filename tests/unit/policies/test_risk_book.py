"""Accounts: positions, cash, reservations, throttle."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policies.risk.book import QUANTUM, Account, Reservation, Trade, money


def reservation(direction: int = 1, quantity: float = 100.0, price: float = 50.0) -> Reservation:
    """Return a reservation for symbol A."""
    return Reservation("A", direction, quantity, price, money(quantity * price, up=True), 0)


def trade(account: Account, direction: int, units: float, price: float) -> float:
    """Fill symbol A and return the profit realised."""
    made = Trade("none", "A", direction, units, price, 0.0, final=False)
    fill = account.fill(made)
    account.settle(made, fill, price)
    return fill.realised


def reload(account: Account) -> Account:
    """Return the account after a trip through bytes."""
    return Account.load(msgspec.msgpack.decode(msgspec.msgpack.encode(account.dump())))


def test_average_cost_by_hand() -> None:
    """Buying, adding, selling part, reversing: worked out on paper."""
    account = Account(10_000.0)
    assert trade(account, 1, 10.0, 100.0) == 0.0
    assert trade(account, 1, 10.0, 110.0) == 0.0
    assert account.holdings["A"].average_price == 105.0
    assert trade(account, -1, 5.0, 115.0) == 50.0
    assert account.holdings["A"].average_price == 105.0
    assert trade(account, -1, 25.0, 95.0) == -150.0
    assert (account.quantity("A"), account.holdings["A"].average_price) == (-10.0, 95.0)
    assert trade(account, 1, 10.0, 90.0) == 50.0
    assert (account.holdings, account.value) == ({}, 0.0)
    assert account.equity == account.cash == 10_000.0 + 50.0 - 150.0 + 50.0


def test_positions_and_cash_equal_the_reference_on_random_trades() -> None:
    """Equity is first cash plus realised plus unrealised profit, over 1,000 random trades."""
    rng = random.Random(4)
    account = Account(1e6)
    open_lots: list[tuple[int, float]] = []  # one entry a unit, averaged below
    realised = 0.0
    for _ in range(1000):
        direction, units, price = rng.choice([1, -1]), rng.randint(1, 9), rng.uniform(90.0, 110.0)
        got = trade(account, direction, float(units), price)
        expected = 0.0
        for _ in range(units):
            if open_lots and open_lots[0][0] == -direction:
                average = sum(cost for _, cost in open_lots) / len(open_lots)
                expected += direction * (average - price)
                open_lots = [(side, average) for side, _ in open_lots[1:]]
            else:
                open_lots.append((direction, price))
        realised += expected
        assert got == pytest.approx(expected, abs=1e-6)
        assert account.quantity("A") == sum(side for side, _ in open_lots)
        unrealised = sum(side * (price - cost) for side, cost in open_lots)
        assert account.equity == pytest.approx(1e6 + realised + unrealised, abs=1e-5)


def test_a_reservation_counts_until_it_is_filled() -> None:
    """What is reserved counts in the exposure, what is filled counts once."""
    account = Account(1e6)
    account.reserve("f", reservation())
    assert account.exposure("A", 1, 50.0).toward == 5000.0
    half = Trade("f", "A", 1, 50.0, 50.0, 0.0, final=False)
    account.settle(half, account.fill(half), 50.0)
    assert account.exposure("A", 1, 50.0).toward == 5000.0
    assert account.reservations["f"].open == 2500.0
    rest = Trade("f", "A", 0, 0.0, 0.0, 0.0, final=True)
    account.settle(rest, account.fill(rest), 50.0)
    assert (account.exposure("A", 1, 50.0).toward, account.reservations) == (2500.0, {})


def test_opposite_flows_do_not_hide_each_other() -> None:
    """A buy and a sale in flight count as the larger of what either alone leads to."""
    account = Account(1e6)
    account.reserve("b", reservation(1))
    account.reserve("s", reservation(-1, quantity=40.0))
    found = account.exposure("B", 1, 10.0)
    assert found.others == 5000.0
    assert account.holdings["A"].closable(-1) == 0.0


def test_only_what_is_held_and_not_yet_being_sold_can_be_closed() -> None:
    """A second sale cannot close what the first one closes."""
    account = Account(1e6)
    trade(account, 1, 100.0, 50.0)
    assert account.exposure("A", -1, 50.0).closable == 100.0
    account.reserve("s", reservation(-1, quantity=70.0))
    assert account.exposure("A", -1, 50.0).closable == 30.0


def test_drawdown_is_measured_from_the_highest_equity() -> None:
    """The peak is kept, through bytes too."""
    account = Account(1000.0)
    trade(account, 1, 10.0, 50.0)
    account.move("A", 100.0)
    account.move("A", 70.0)
    copy = reload(account)
    assert (copy.peak, copy.equity) == (1500.0, 1200.0)
    assert copy.exposure("A", 1, 70.0).drawdown == pytest.approx(0.2)


def test_the_throttle_counts_one_direction_within_its_window() -> None:
    """An approval of the other side starts the count anew; old ones drop out."""
    account = Account(1.0)
    for number in range(5):
        account.remember_approval("A", 1, f"f{number}", number * 10, window_us=25)
    throttle = account.throttle("A")
    assert (throttle.count(1, 15), throttle.count(-1, 15), throttle.last_flow) == (3, 0, "f4")
    account.remember_approval("A", -1, "g", 45, window_us=25)
    assert (account.throttle("A").count(-1, 0), account.throttle("A").count(1, 0)) == (1, 0)


@pytest.mark.parametrize(("filled", "expected"), [(0.0, 0), (1.0, 1)])
def test_a_flow_that_filled_nothing_was_no_repeat(filled: float, expected: int) -> None:
    """An approval stops counting when its flow ends without a fill."""
    account = Account(1e6)
    account.reserve("f", reservation())
    account.remember_approval("A", 1, "f", 0, window_us=10)
    end = Trade("f", "A", 1, filled, 50.0, 0.0, final=True)
    account.settle(end, account.fill(end), 50.0)
    assert account.throttle("A").count(1, 0) == expected


AMOUNTS = st.floats(min_value=0.001, max_value=1e9)


@given(AMOUNTS)
def test_money_is_rounded_to_what_adds_up(amount: float) -> None:
    """Rounded up is never less, down never more, and both are multiples of the quantum."""
    up, down = money(amount, up=True), money(amount, up=False)
    assert down <= amount <= up <= down + QUANTUM
    assert (up / QUANTUM).is_integer()
    assert (down / QUANTUM).is_integer()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "fill", "end", "twice"]),
            st.integers(0, 7),
            st.floats(min_value=0.01, max_value=500.0),
            st.sampled_from([1, -1]),
        ),
        max_size=60,
    )
)
def test_reserved_is_open_plus_released_after_any_order_of_events(
    events: list[tuple[str, int, float, int]],
) -> None:
    """To the last bit, per flow and in total, whatever comes in whatever order."""
    account = Account(1e6)
    reserved = released = 0.0
    for what, number, amount, direction in events:
        flow = f"f{number}"
        if what == "reserve" and flow not in account.reservations:
            made = reservation(direction, quantity=amount, price=33.33)
            account.reserve(flow, made)
            reserved += made.reserved
        elif what != "reserve":
            done = Trade(flow, "A", direction, amount, 33.0, 0.01, final=what != "fill")
            for _ in range(2 if what == "twice" else 1):
                fill = account.fill(done)
                account.settle(done, fill, 33.0)
                released += fill.released
        open_notional = sum(item.open for item in account.reservations.values())
        assert reserved == open_notional + released
        assert all(item.open >= 0.0 for item in account.reservations.values())
        holding = account.holdings.get("A")
        assert (sum(holding.notional) if holding else 0.0) == open_notional
    assert reload(account).dump() == account.dump()
