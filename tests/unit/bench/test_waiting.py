"""Waiting within a bench."""

import pytest

from pipeline.bench.waiting import wait_until
from pipeline.errors import BrokerUnavailable


def test_it_returns_as_soon_as_the_condition_holds() -> None:
    """However often it must be asked."""
    answers = iter([False, False, True])
    wait_until(lambda: next(answers), "an answer", 60.0, every_s=0.0)
    assert list(answers) == []


def test_what_does_not_come_is_named() -> None:
    """With how far it came."""
    with pytest.raises(BrokerUnavailable, match="Expected 3 replies within 0 s, was 2"):
        wait_until(lambda: False, "3 replies", 0.0, every_s=0.0, was=lambda: "2")
