import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError
from pipeline.gateway.fills import PaperBehaviour, chance, fill
from pipeline.gateway.venue import VenueState
from pipeline.packets.vocabulary import OrderType, Side
from tests.unit.gateway.factories import venue_order

PLAIN = PaperBehaviour()


def test_an_order_is_filled_in_full_near_the_reference_price() -> None:
    """A marketable order ends filled, at a price by the square-root law, with commission."""
    order = venue_order(order_type=OrderType.MARKET)
    report = fill(order, PLAIN)
    noise = 0.5 + chance("slippage", order.client_order_id)
    slippage = 0.0001 + 1.0 * 0.015 * math.sqrt(10.0 / 5_000_000.0) * noise
    assert pytest.approx(100.0 * (1.0 + slippage)) == report.price
    expected = (VenueState.FILLED, 10.0, 0.05, "")
    assert expected == (report.state, report.filled, report.fee, report.reason)


def test_a_sale_slips_downwards() -> None:
    """A seller gets less than the reference price."""
    price = fill(venue_order(side=Side.SELL, limit_price=90.0), PLAIN).price
    assert 99.0 < price < 100.0


def test_more_units_slip_further() -> None:
    """Four times the units double the part of the slippage beyond half the spread."""
    free = PaperBehaviour(half_spread=0.0)
    one, four = (
        fill(venue_order(order_type=OrderType.MARKET, quantity=quantity), free).price - 100.0
        for quantity in (100.0, 400.0)
    )
    assert pytest.approx(2.0 * one) == four


@pytest.mark.parametrize(("side", "limit"), [(Side.BUY, 100.0), (Side.SELL, 100.0)])
def test_a_limit_caps_the_price(side: Side, limit: float) -> None:
    """A limit at the reference price is marketable and is what is paid."""
    assert limit == fill(venue_order(side=side, limit_price=limit), PLAIN).price


@pytest.mark.parametrize(("side", "limit"), [(Side.BUY, 99.99), (Side.SELL, 100.01)])
def test_a_passive_limit_is_cancelled(side: Side, limit: float) -> None:
    """A limit on the passive side of the reference price is cancelled whole."""
    report = fill(venue_order(side=side, limit_price=limit), PLAIN)
    expected = (VenueState.CANCELLED, 0.0, "NOT_MARKETABLE")
    assert expected == (report.state, report.filled, report.reason)


@given(
    quantity=st.floats(1e-6, 1e9),
    reference=st.floats(1e-3, 1e6),
    edge=st.floats(0.0, 0.5),
    side=st.sampled_from([Side.BUY, Side.SELL]),
    partial=st.sampled_from([0.0, 0.5, 1.0]),
    name=st.text(min_size=1, max_size=8),
)
def test_fills_stay_within_order_and_limit(
    *, quantity: float, reference: float, edge: float, side: Side, partial: float, name: str
) -> None:
    """No fill exceeds the quantity, or is worse than the limit or better than the reference."""
    limit = reference * (1.0 + edge if side is Side.BUY else 1.0 - edge)
    order = venue_order(
        name, side=side, quantity=quantity, limit_price=limit, reference_price=reference
    )
    report = fill(order, PaperBehaviour(partial=partial))
    low, high = sorted((reference, limit))
    assert 0.0 < report.filled <= quantity
    assert low <= report.price <= high
    assert (report.state is VenueState.FILLED) == (report.filled == quantity)
    assert report == fill(order, PaperBehaviour(partial=partial))


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": math.nan},
        {"quantity": 0.0},
        {"quantity": -1.0},
        {"limit_price": math.inf},
        {"reference_price": 0.0},
        {"side": Side.NONE},
    ],
)
def test_nonsense_is_rejected(changes: dict[str, Any]) -> None:
    """An order without a side, or with a number that is none, is refused."""
    assert VenueState.REJECTED is fill(venue_order(**changes), PLAIN).state


def test_shares_are_kept_and_independent() -> None:
    """Of many orders about the requested shares are cut, refused, and either regardless of both."""
    behaviour = PaperBehaviour(partial=0.3, reject=0.2)
    reports = [fill(venue_order(f"order-{number}"), behaviour) for number in range(4000)]
    rejected = sum(report.state is VenueState.REJECTED for report in reports) / 4000
    cut = sum(report.state is VenueState.CANCELLED for report in reports) / 4000
    assert pytest.approx(0.2, abs=0.03) == rejected
    assert pytest.approx(0.8 * 0.3, abs=0.03) == cut


def test_whole_quantities_are_cut_in_whole_units() -> None:
    """A part of a whole quantity is whole and at least one; a single unit is never cut."""
    behaviour = PaperBehaviour(partial=1.0)
    parts = [fill(venue_order(f"order-{number}"), behaviour).filled for number in range(100)]
    single = fill(venue_order(quantity=1.0), behaviour)
    assert {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0} == set(parts)
    assert (VenueState.FILLED, 1.0) == (single.state, single.filled)


def test_chance_is_even_and_below_one() -> None:
    """The numbers lie in [0, 1) and average to a half."""
    numbers = [chance("test", str(number)) for number in range(4000)]
    assert pytest.approx(0.5, abs=0.02) == sum(numbers) / 4000
    assert 0.0 <= min(numbers) <= max(numbers) < 1.0


def test_a_setting_is_parsed() -> None:
    """The setting names attributes, with blanks and in any order; empty means the defaults."""
    expected = PaperBehaviour(partial=0.1, reject=0.05, slow_ms=200, unknown=0.01)
    assert expected == PaperBehaviour.parse("reject=0.05, partial = 0.1,slow_ms=200,unknown=.01")
    assert PaperBehaviour() == PaperBehaviour.parse(" ")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("partly=0.1", "partly=0.1"),
        ("partial", "'partial'"),
        ("partial=x", "'x'"),
        ("slow_ms=1.5", "'1.5'"),
        ("partial=1.1", "1.1"),
        ("reject=-0.1", "-0.1"),
        ("unknown=nan", "nan"),
        ("daily_volume=0", "daily_volume"),
        ("partial=0.1,partial=0.2", "partial=0.2"),
    ],
)
def test_a_bad_setting_is_refused_by_name(text: str, named: str) -> None:
    """The message holds what was wrong."""
    with pytest.raises(ConfigurationError, match=named):
        PaperBehaviour.parse(text)
