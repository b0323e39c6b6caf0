import itertools

import pytest

from pipeline.pages.series import fill_marks, histogram, latency_over_time, per_second, prices
from tests.unit.demo.factories import START_US, end, executed, fill, flow


def test_latencies_are_grouped_by_when_records_were_due() -> None:
    """Percentiles of a stretch are those of the records due in it."""
    pairs = [(START_US + n * 10_000, 1000 * (n + 1)) for n in range(200)]
    found = latency_over_time(pairs, START_US, 1.0)
    assert [0.5, 1.5] == [each.at_s for each in found]
    assert found[0].p50 == pytest.approx(50.5)
    assert found[1].p99 == pytest.approx(199.01)


def test_a_stretch_without_events_has_a_rate_of_zero() -> None:
    """An outage is a line along the bottom, not a gap that the eye skips."""
    moments = [START_US, START_US + 100_000, START_US + 2_500_000]
    assert [(0.5, 2.0), (1.5, 0.0), (2.5, 1.0)] == per_second(moments, START_US, 1.0)
    assert [] == per_second([], START_US, 1.0)


def test_the_histogram_counts_every_latency_once() -> None:
    """Columns do not overlap and add up, zero included."""
    columns = histogram([0, 1, 999, 1000, 1001, 50_000, 3_600_000_000])
    assert 7 == sum(count for _, _, count in columns)
    assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(columns))


def test_orders_stand_at_their_bar_and_price() -> None:
    """A filled order is marked at the moment of its bar and at the price it got."""
    ends = [executed(4), end(2)]
    accepted = {each.flow_id: each.accepted_at for each in ends}
    marks = fill_marks([fill(4), fill(9)], accepted, START_US)
    assert [(0.02, 100.5)] == [mark.point for mark in marks["AAPL"]]
    assert {"AAPL": [(0.01, 102.0), (0.02, 104.0)]} == dict(prices(ends, START_US))
    assert flow(4) in accepted
