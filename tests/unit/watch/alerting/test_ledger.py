"""The alerts as the topic tells them: ours, and those of other programs."""

import pytest

from pipeline.errors import UsageError
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.watch.alerting.engine import AlertEngine
from pipeline.watch.alerting.entry import Told
from pipeline.watch.alerting.ledger import AlertLedger
from tests.unit.watch.alerting.factories import LATENCY, NOW_US, SECOND_US, engine_of, series


def _foreign(state: str, level: PerformanceAlert, time_us: int = NOW_US) -> Alert:
    context = f'{{"subject": "audit", "state": "{state}"}}'
    return Alert("f1", level, "said the auditor", context, time_us, False)


def test_the_last_record_of_an_alert_counts_and_its_end_is_for_good() -> None:
    """A late record of before changes nothing."""
    engine, ledger = engine_of({"latency": LATENCY}), AlertLedger()
    (raised,) = engine.judge(series(risk=0.15), NOW_US)
    (over,) = engine.judge(series(risk=0.0), NOW_US + SECOND_US)
    for each in (raised, over, raised):
        ledger.take(each.alert)
    assert () == ledger.active
    assert ledger.find(raised.id[:8]).ended
    assert 3 == len(ledger.history(raised.id))


def test_an_id_must_name_one_alert() -> None:
    """Not none, and not several."""
    with pytest.raises(UsageError, match="of 0"):
        AlertLedger().find("abc")


def test_an_alert_of_another_program_is_taken_up_told_and_ended() -> None:
    """Its producer knows nothing of what was told, and its next record loses nothing of that."""
    ledger, engine = AlertLedger(), engine_of({})
    engine.adopt(ledger.take(_foreign("raised", PerformanceAlert.CRITICAL)))
    (entry,) = engine.active
    assert ("external/audit", "external") == (entry.state.subject, entry.state.group)
    noted = engine.told(entry, "ops", Told(entry.level, False, NOW_US))
    ledger.take(noted.alert)
    engine.adopt(ledger.take(_foreign("changed", PerformanceAlert.WARNING, NOW_US + SECOND_US)))
    (changed,) = engine.active
    assert (PerformanceAlert.WARNING, {"ops"}) == (changed.level, set(changed.state.told))
    engine.adopt(ledger.take(_foreign("resolved", PerformanceAlert.INFO, NOW_US + 2 * SECOND_US)))
    assert () == engine.active
    (over,) = engine.lately
    assert (True, PerformanceAlert.CRITICAL, {"ops"}) == (
        over.ended,
        over.state.peak,
        set(over.state.told),
    )


def test_what_another_program_raised_outlives_the_engine() -> None:
    """Its rule is none of ours, and no reason to end it."""
    ledger = AlertLedger()
    ledger.take(_foreign("raised", PerformanceAlert.CRITICAL))
    engine = AlertEngine(engine_of({}).orders, 300.0, ledger.all)
    assert [] == engine.judge({}, NOW_US)
    assert 1 == len(engine.active)
