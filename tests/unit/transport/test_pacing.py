"""How long records wait for more."""

import pytest

from pipeline.transport.pacing import Pacing


def test_an_idle_worker_waits_not_at_all() -> None:
    """The first record ever, and the first after a quiet time, become a round at once."""
    pacing = Pacing(limit_s=0.02)
    assert 0.0 == pacing.wait_s(5.0, work_s=1.0)
    pacing.last_s = 5.0
    assert 0.0 == pacing.wait_s(5.02, work_s=1.0)


def test_rounds_are_kept_apart_by_their_work() -> None:
    """The longer rounds take, the longer the next one gathers."""
    pacing = Pacing(limit_s=0.02, last_s=5.0)
    assert 0.008 == pytest.approx(pacing.wait_s(5.001, work_s=0.001))
    assert 0.017 == pytest.approx(pacing.wait_s(5.001, work_s=0.002))


def test_no_round_gathers_longer_than_the_limit() -> None:
    """However slow rounds are, the packets' budget bounds the wait."""
    assert 0.02 == pytest.approx(Pacing(0.02, 5.0).wait_s(5.0, work_s=10.0))
    assert 0.0 == Pacing(0.0, 5.0).wait_s(5.0, work_s=10.0)
