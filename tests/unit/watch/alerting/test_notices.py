"""Whom to tell of what: levels, groups, silences, and what was told before."""

from pipeline.packets.events import AlertCommandKind
from pipeline.settings import AlertChannel, AlertRule
from pipeline.watch.alerting.engine import AlertEngine
from pipeline.watch.alerting.notices import Notice, due
from tests.unit.watch.alerting.factories import (
    LATENCY,
    NOW_US,
    SECOND_US,
    command,
    engine_of,
    series,
)

_OPS = AlertChannel(name="ops", contact="x")
_PAGER = AlertChannel(name="pager", contact="x", least_level="CRITICAL")
_WAIT_S = 0.5
_RULES = {"latency": LATENCY}


def _due(engine: AlertEngine, now_us: int, channel: AlertChannel = _OPS) -> list[Notice]:
    return due(channel, engine.lately, engine.orders, _WAIT_S, now_us)


def _tell(engine: AlertEngine, now_us: int, channel: AlertChannel = _OPS) -> list[str]:
    """Tell what is due; return the subjects."""
    notices = _due(engine, now_us, channel)
    for notice in notices:
        for entry in notice.entries:
            engine.told(entry, channel.name, notice.told(entry, now_us))
    return [entry.state.subject for notice in notices for entry in notice.entries]


def test_alerts_of_a_group_are_told_together() -> None:
    """After the group has been waited for, the most urgent first, and once."""
    engine = engine_of(_RULES)
    engine.judge(series(risk=0.15, tactical=0.3), NOW_US)
    assert [] == _due(engine, NOW_US)
    assert ["latency/tactical", "latency/risk"] == _tell(engine, NOW_US + SECOND_US)
    assert [] == _due(engine, NOW_US + 99 * SECOND_US)


def test_a_channel_hears_nothing_below_its_level() -> None:
    """Nor of the end of what it was not told."""
    engine = engine_of(_RULES)
    engine.judge(series(risk=0.15), NOW_US)
    assert [] == _due(engine, NOW_US + SECOND_US, _PAGER)
    engine.judge(series(risk=0.0), NOW_US + SECOND_US)
    assert [] == _due(engine, NOW_US + 2 * SECOND_US, _PAGER)


def test_worse_is_told_again_and_better_is_not() -> None:
    """The end is, once."""
    engine = engine_of(_RULES)
    engine.judge(series(risk=0.15), NOW_US)
    assert ["latency/risk"] == _tell(engine, NOW_US + SECOND_US)
    engine.judge(series(risk=0.3), NOW_US + 2 * SECOND_US)
    assert ["latency/risk"] == _tell(engine, NOW_US + 3 * SECOND_US)
    engine.judge(series(risk=0.15), NOW_US + 4 * SECOND_US)
    assert [] == _tell(engine, NOW_US + 5 * SECOND_US)
    engine.judge(series(risk=0.0), NOW_US + 6 * SECOND_US)
    assert ["latency/risk"] == _tell(engine, NOW_US + 7 * SECOND_US)
    assert [] == _due(engine, NOW_US + 8 * SECOND_US)


def test_a_channel_that_was_away_hears_how_things_stand() -> None:
    """One message on what is raised, and that what it missed is over."""
    engine = engine_of(_RULES)
    engine.judge(series(risk=0.15, tactical=0.3), NOW_US)
    engine.judge(series(risk=0.0, tactical=0.3), NOW_US + 60 * SECOND_US)
    (notice,) = _due(engine, NOW_US + 120 * SECOND_US)
    assert [("latency/tactical", False), ("latency/risk", True)] == [
        (each.state.subject, each.ended) for each in notice.entries
    ]
    message = notice.message("trading")
    assert "[CRITICAL] trading: latency/tactical and 1 more" == message.title
    assert message.document is not None
    assert ["CRITICAL", "INFO"] == [each["level"] for each in message.document["alerts"]]


def test_a_silenced_alert_is_told_when_the_silence_ends() -> None:
    """If it is still raised then; UNSILENCE ends it before."""
    engine = engine_of(_RULES)
    until_us = NOW_US + 60 * SECOND_US
    engine.orders.take(command(AlertCommandKind.SILENCE, "latency/r*", expires_at=until_us))
    engine.judge(series(risk=0.15, tactical=0.15), NOW_US)
    assert ["latency/tactical"] == _tell(engine, NOW_US + SECOND_US)
    assert ["latency/risk"] == [
        each.state.subject for notice in _due(engine, until_us) for each in notice.entries
    ]
    engine.orders.take(command(AlertCommandKind.UNSILENCE, "c1"))
    assert ["latency/risk"] == _tell(engine, NOW_US + 2 * SECOND_US)


def test_what_ended_in_silence_is_never_told() -> None:
    """Nobody wanted to know."""
    engine = engine_of(_RULES)
    until_us = NOW_US + 60 * SECOND_US
    engine.orders.take(command(AlertCommandKind.SILENCE, "*", expires_at=until_us))
    engine.judge(series(risk=0.15), NOW_US)
    engine.judge(series(risk=0.0), NOW_US + SECOND_US)
    assert [] == _due(engine, until_us + SECOND_US)


def test_what_another_alert_explains_is_not_told() -> None:
    """Only its cause is."""
    rules = {
        "silent": AlertRule(metric="silence", critical=5),
        "latency": LATENCY.model_copy(update={"inhibited_by": ("silent",)}),
    }
    engine = engine_of(rules)
    engine.judge({**series(risk=0.15), "silence": 6.0}, NOW_US)
    assert ["silent/cascade"] == _tell(engine, NOW_US + SECOND_US)


def test_a_test_reaches_every_channel() -> None:
    """Whatever levels it takes."""
    engine = engine_of({})
    engine.obey(command(AlertCommandKind.TEST, "INFO"), NOW_US)
    assert ["test/c1"] == _tell(engine, NOW_US + SECOND_US, _PAGER)
