"""Alerts before the breach: confirmed, one level lower, over when it has come or will not."""

import numpy as np
from numpy.typing import NDArray

from pipeline.packets.events import PerformanceAlert
from pipeline.settings import AlertRule
from pipeline.watch.alerting.entry import FORECAST
from pipeline.watch.alerting.forewarning import Foreseen, Forewarner
from tests.unit.watch.alerting.factories import NOW_US, SECOND_US, engine_of

_RULE = AlertRule(metric="lag", warning=50, critical=500, foresee=60)
_SERIES = 'lag{stage="risk"}'
_SUBJECT = "forecast/lag/risk"


class _History:
    """A series that rises by `slope` a second."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def points(self, series: str, since_us: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        assert _SERIES == series
        seconds = np.arange(60)
        noise = np.random.default_rng(3).normal(0.0, 0.5, 60)
        return NOW_US + (seconds - 59) * SECOND_US, 30.0 + self.slope * (seconds - 59) + noise


def _look(forewarner: Forewarner, *raised: str, rule: AlertRule = _RULE) -> list[Foreseen]:
    return forewarner.look({"lag": rule}, [_SERIES, "other"], raised, NOW_US)


def test_a_breach_is_told_of_once_two_looks_foresee_it() -> None:
    """One level below that of the limit, with when and how sure."""
    forewarner = Forewarner(_History(0.5).points)
    assert [] == _look(forewarner)
    (seen,) = _look(forewarner)
    assert seen.state is not None
    assert (_SUBJECT, PerformanceAlert.INFO, 50.0) == (
        seen.subject,
        seen.state.measured,
        seen.state.limit,
    )
    assert 30 < seen.state.details["breach_s"] < 50
    assert "will pass 50" in seen.message
    assert [] == _look(forewarner, _SUBJECT)


def test_the_worst_limit_that_will_be_passed_counts() -> None:
    """So its level does."""
    forewarner = Forewarner(_History(12.0).points)
    _look(forewarner)
    (seen,) = _look(forewarner)
    assert seen.state is not None
    assert (PerformanceAlert.WARNING, 500.0) == (seen.state.measured, seen.state.limit)


def test_it_is_over_once_two_looks_do_not_foresee_it() -> None:
    """Or when the rule itself has raised its alert."""
    for raised in ((), ("lag/risk",)):
        history = _History(0.5)
        forewarner = Forewarner(history.points)
        _look(forewarner)
        assert 1 == len(_look(forewarner))
        if not raised:
            history.slope = 0.0
        assert [] == _look(forewarner, _SUBJECT, *raised)
        (over,) = _look(forewarner, _SUBJECT, *raised)
        assert (_SUBJECT, None) == (over.subject, over.state)


def test_a_rule_that_looks_not_ahead_foresees_nothing() -> None:
    """That is what `foresee: 0` means; what it had told is over."""
    forewarner = Forewarner(_History(0.5).points)
    blind = _RULE.model_copy(update={"foresee": 0.0})
    assert [] == _look(forewarner, rule=blind) + _look(forewarner, rule=blind)


def test_the_engine_raises_and_ends_what_is_foreseen() -> None:
    """Under one id; rules that are held against limits leave it alone."""
    engine, forewarner = engine_of({"lag": _RULE}), Forewarner(_History(0.5).points)
    _look(forewarner)
    (seen,) = _look(forewarner)
    (raised,) = engine.foresee(seen.subject, seen.state, seen.message, NOW_US)
    assert (FORECAST, PerformanceAlert.INFO) == (raised.state.rule, raised.level)
    assert [] == engine.judge({_SERIES: 30.0}, NOW_US)
    (over,) = engine.foresee(seen.subject, None, "no more", NOW_US + SECOND_US)
    assert (raised.id, True) == (over.id, over.ended)
