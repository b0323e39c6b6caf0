"""How long records wait for more."""

import pytest

from pipeline.transport.pacing import Pacing

WORK_S = 0.001
RUSH, LEISURE = 1000, 100
"""Records a second that rounds of one would keep busy all the time, and a tenth of it."""


def _busy(limit_s: float, rate: int = RUSH) -> Pacing:
    """Return the pacing after ten seconds of a rate, the last of them handed over at 5.0 s."""
    pacing = Pacing(limit_s)
    for number in range(-10 * rate, 1):
        pacing.handed_over(5.0 + number / rate, 1)
    return pacing


def test_an_idle_worker_waits_not_at_all() -> None:
    """The first record ever, and the first after a quiet time, become a round at once."""
    assert 0.0 == Pacing(limit_s=0.02).wait_s(5.0, work_s=1.0)
    assert 0.0 == _busy(limit_s=0.02).wait_s(5.02, WORK_S)
    assert 0.0 == _busy(limit_s=2.0).wait_s(6.0, WORK_S)


def test_who_could_work_off_each_record_by_itself_waits_not_at_all() -> None:
    """Whatever the distance to the round before; but not once rounds take longer."""
    pacing = _busy(0.02, LEISURE)
    assert 0.0 == pacing.wait_s(5.001, WORK_S)
    assert 0.019 == pytest.approx(pacing.wait_s(5.001, 4 * WORK_S))


def test_rounds_are_kept_apart_by_their_work() -> None:
    """The longer rounds take, the longer the next one gathers."""
    pacing = _busy(limit_s=0.02)
    assert 0.008 == pytest.approx(pacing.wait_s(5.001, work_s=0.001))
    assert 0.017 == pytest.approx(pacing.wait_s(5.001, work_s=0.002))


def test_no_round_gathers_longer_than_the_limit() -> None:
    """However slow rounds are, the packets' budget bounds the wait."""
    assert 0.02 == pytest.approx(_busy(0.02).wait_s(5.0, work_s=10.0))
    assert 0.0 == _busy(0.0).wait_s(5.0, work_s=10.0)


@pytest.mark.parametrize("rate", [LEISURE, RUSH])
def test_the_rate_is_that_of_the_last_moments(rate: int) -> None:
    """Also where records come many at a time."""
    assert rate == pytest.approx(_busy(0.02, rate).rate(5.0), rel=0.05)
    burst = Pacing(0.02)
    for number in range(100):
        burst.handed_over(number / 10, rate // 10)
    assert rate == pytest.approx(burst.rate(9.95), rel=0.25)
