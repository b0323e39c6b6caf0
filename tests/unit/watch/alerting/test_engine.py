"""The life of an alert: raised, worse, acknowledged, escalated, explained by others, over."""

import pytest

from pipeline.errors import UsageError
from pipeline.packets.events import AlertCommandKind, PerformanceAlert
from pipeline.settings import AlertRule
from pipeline.watch.alerting.engine import AlertEngine
from pipeline.watch.alerting.entry import Entry, Told
from pipeline.watch.alerting.silences import Orders
from tests.unit.watch.alerting.factories import (
    LATENCY,
    NOW_US,
    SECOND_US,
    command,
    engine_of,
    series,
)

_RULES = {"latency": LATENCY}


def _tell(engine: AlertEngine, entry: Entry, now_us: int) -> None:
    engine.told(entry, "ops", Told(entry.level, entry.ended, now_us))


def test_an_alert_is_raised_and_resolved_under_one_id() -> None:
    """One for each system; others are left alone; the record says what happened."""
    engine = engine_of(_RULES)
    (raised,) = engine.judge(series(risk=0.15, tactical=0.05), NOW_US)
    assert ("latency/risk", "raised", PerformanceAlert.WARNING) == (
        raised.state.subject,
        raised.state.state,
        raised.level,
    )
    assert [] == engine.judge(series(risk=0.16, tactical=0.05), NOW_US + SECOND_US)
    (over,) = engine.judge(series(risk=0.01, tactical=0.05), NOW_US + 2 * SECOND_US)
    assert (raised.id, "resolved", PerformanceAlert.INFO) == (over.id, over.state.state, over.level)
    assert (PerformanceAlert.WARNING, 2.0) == (over.state.peak, over.lasted_s(0))
    assert () == engine.active


def test_getting_worse_takes_an_acknowledgement_back() -> None:
    """Whoever took a WARNING on has not taken a CRITICAL on; getting better takes nothing back."""
    engine = engine_of(_RULES)
    (raised,) = engine.judge(series(risk=0.15), NOW_US)
    (noted,) = engine.obey(command(AlertCommandKind.ACKNOWLEDGE, raised.id), NOW_US)
    assert (True, "mary") == (noted.alert.acknowledged, noted.state.acknowledged_by)
    (worse,) = engine.judge(series(risk=0.25), NOW_US + SECOND_US)
    assert (False, PerformanceAlert.CRITICAL) == (worse.alert.acknowledged, worse.level)
    engine.obey(command(AlertCommandKind.ACKNOWLEDGE, raised.id), NOW_US)
    (better,) = engine.judge(series(risk=0.15), NOW_US + 2 * SECOND_US)
    assert (True, PerformanceAlert.WARNING) == (better.alert.acknowledged, better.level)


def test_an_unknown_alert_cannot_be_acknowledged() -> None:
    """The error says which id it was."""
    with pytest.raises(UsageError, match="'nope'"):
        engine_of(_RULES).obey(command(AlertCommandKind.ACKNOWLEDGE, "nope"), NOW_US)


def test_what_nobody_acknowledges_counts_one_level_higher() -> None:
    """And again after as long, up to EMERGENCY; an acknowledgement ends it."""
    engine = engine_of(_RULES, escalate_after_s=10.0)
    (raised,) = engine.judge(series(risk=0.15), NOW_US)
    _tell(engine, raised, NOW_US)
    assert [] == engine.judge(series(risk=0.15), NOW_US + 9 * SECOND_US)
    (lifted,) = engine.judge(series(risk=0.15), NOW_US + 10 * SECOND_US)
    assert ("escalated", PerformanceAlert.CRITICAL) == (lifted.state.state, lifted.level)
    assert PerformanceAlert.WARNING is lifted.state.measured
    (again,) = engine.judge(series(risk=0.15), NOW_US + 20 * SECOND_US)
    assert PerformanceAlert.EMERGENCY is again.level
    assert [] == engine.judge(series(risk=0.15), NOW_US + 99 * SECOND_US)


def test_an_acknowledged_or_silenced_alert_is_not_escalated() -> None:
    """Somebody takes care, or wants no noise."""
    for kind in (AlertCommandKind.ACKNOWLEDGE, AlertCommandKind.SILENCE):
        engine = engine_of(_RULES, escalate_after_s=10.0)
        (raised,) = engine.judge(series(risk=0.15), NOW_US)
        _tell(engine, raised, NOW_US)
        if kind is AlertCommandKind.ACKNOWLEDGE:
            engine.obey(command(kind, raised.id), NOW_US)
        else:
            until_us = NOW_US + 60 * SECOND_US
            engine.orders.take(command(kind, "latency/*", expires_at=until_us))
        assert [] == engine.judge(series(risk=0.15), NOW_US + 30 * SECOND_US)


def test_an_alert_that_another_explains_says_so() -> None:
    """While the cause is raised; afterwards it stands by itself."""
    rules = {
        "silent": AlertRule(metric="silence", critical=5),
        "latency": LATENCY.model_copy(update={"inhibited_by": ("silent",)}),
    }
    engine = engine_of(rules)
    engine.judge({**series(risk=0.15), "silence": 6.0}, NOW_US)
    found = {each.state.rule: each.state.inhibited_by for each in engine.active}
    assert {"silent": "", "latency": "silent/cascade"} == found
    engine.judge({**series(risk=0.15), "silence": 0.0}, NOW_US + SECOND_US)
    assert {"latency": ""} == {each.state.rule: each.state.inhibited_by for each in engine.active}


def test_rules_change_at_run_time() -> None:
    """A higher limit ends the alert, a disabled rule too, UNSET brings the old limit back."""
    engine = engine_of(_RULES)
    (raised,) = engine.judge(series(risk=0.15), NOW_US)
    engine.orders.take(command(AlertCommandKind.SET, "latency", document='{"warning": 0.19}'))
    (over,) = engine.judge(series(risk=0.15), NOW_US)
    assert (raised.id, True) == (over.id, over.ended)
    engine.orders.take(command(AlertCommandKind.UNSET, "latency"))
    (again,) = engine.judge(series(risk=0.15), NOW_US)
    engine.orders.take(command(AlertCommandKind.SET, "latency", document='{"state": "disabled"}'))
    (gone,) = engine.judge(series(risk=0.15), NOW_US)
    assert (again.id, True) == (gone.id, gone.ended)


@pytest.mark.parametrize("document", ['{"warning": 0.5}', '{"limit": 1}', "[]"])
def test_what_is_no_rule_changes_nothing(document: str) -> None:
    """Limits in the wrong order, unknown keys, no object."""
    orders = Orders(_RULES)
    with pytest.raises(UsageError):
        orders.take(command(AlertCommandKind.SET, "latency", document=document))
    assert _RULES == orders.rules()


def test_who_takes_over_goes_on_with_the_same_alerts() -> None:
    """From the records alone: same id, no second raising, and it still ends."""
    first = engine_of(_RULES)
    (raised,) = first.judge(series(risk=0.15), NOW_US)
    second = AlertEngine(Orders(_RULES), 300.0, [Entry.read(raised.alert)])
    assert [] == second.judge(series(risk=0.15), NOW_US + SECOND_US)
    (over,) = second.judge(series(risk=0.0), NOW_US + 2 * SECOND_US)
    assert (raised.id, True) == (over.id, over.ended)


def test_no_data_ends_no_alert() -> None:
    """Not being measured is no pass."""
    engine = engine_of(_RULES)
    engine.judge(series(risk=0.15), NOW_US)
    assert [] == engine.judge({}, NOW_US + SECOND_US)
    assert 1 == len(engine.active)


def test_a_test_alert_ends_by_itself() -> None:
    """After a minute, and is not escalated meanwhile."""
    engine = engine_of({}, escalate_after_s=1.0)
    (raised,) = engine.obey(command(AlertCommandKind.TEST, "WARNING"), NOW_US)
    _tell(engine, raised, NOW_US)
    assert [] == engine.judge({}, NOW_US + 59 * SECOND_US)
    (over,) = engine.judge({}, NOW_US + 60 * SECOND_US)
    assert (raised.id, True) == (over.id, over.ended)


def test_telling_an_alert_that_has_ended_meanwhile_does_not_raise_it_again() -> None:
    """The note goes to the ended alert."""
    engine = engine_of(_RULES)
    (raised,) = engine.judge(series(risk=0.15), NOW_US)
    engine.judge(series(risk=0.0), NOW_US + SECOND_US)
    noted = engine.told(raised, "ops", Told(raised.level, False, NOW_US + 2 * SECOND_US))
    assert noted.ended
    assert () == engine.active
