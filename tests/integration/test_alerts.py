"""Alerts on a real Kafka: commands reach the monitor worker, and another one goes on with them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.control.security_log import TOPIC as SECURITY
from pipeline.packets.codec import decode
from pipeline.packets.events import SecurityEvent
from tests.alerts.rig import STAGE, SUBJECT, AlertRig, alert_rig
from tests.cluster import variables
from tests.kafka_workers import as_bytes, read_topic, wait_until

pytestmark = pytest.mark.timeout(300)

_ACTS = "acts_on_alerts"


@pytest.fixture(scope="module")
def rig(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertRig]:
    """A monitor worker that acts."""
    with alert_rig(kafka, tmp_path_factory.mktemp("home")) as rig:
        rig.start_monitor().wait_for(_ACTS)
        yield rig


def _alerts(rig: AlertRig, *arguments: str, code: int = 0) -> Any:
    """Return what `cascade alerts ... --json` prints."""
    result = CliRunner().invoke(main, ["alerts", *arguments, "--json"], env=variables(rig.settings))
    assert code == result.exit_code, result.output
    return json.loads(result.stdout)


def _raised(rig: AlertRig) -> set[str]:
    """Return what alerts are raised about."""
    return {each["subject"] for each in _alerts(rig, "list")["alerts"]}


def test_an_alert_survives_the_monitor_that_raised_it(rig: AlertRig) -> None:
    """Acknowledged under one monitor, told once, resolved under the next, with one id."""
    rig.start_stage().kill()
    last_us = rig.heartbeats()[-1]
    raised = rig.told(ended=False, since_us=last_us)
    alert_id = raised.alert["id"]
    listed = {each["subject"]: each for each in _alerts(rig, "list")["alerts"]}
    assert (alert_id, "CRITICAL") == (listed[SUBJECT]["id"], listed[SUBJECT]["level"])
    taken = _alerts(rig, "acknowledge", alert_id[:12], "--author", "mary", "--wait", "60")
    assert "mary" == taken["acknowledged_by"]

    standby = rig.start_monitor()
    rig.workers[0].kill()
    standby.wait_for(_ACTS)
    rig.start_stage()
    over = rig.told(ended=True, since_us=raised.at_us)
    assert alert_id == over.alert["id"]
    assert 1 == sum(not each.ended and each.subject == SUBJECT for each in rig.receiver.told)
    wait_until(lambda: SUBJECT not in _raised(rig), "the alert to be over")
    course = _alerts(rig, "show", alert_id)
    assert "mary" == course["state"]["acknowledged_by"]
    assert "ops" in course["told"]


def test_a_rule_that_is_set_takes_effect_and_is_taken_back(rig: AlertRig) -> None:
    """A limit of 0 s makes every heartbeat late; without it the alert is over."""
    rig.start_stage()
    since_us = rig.heartbeats()[-1]
    name = f"any/{STAGE}"
    _alerts(rig, "set", "any", "metric=cascade_heartbeat_silence_seconds", "warning=0")
    raised = rig.told(ended=False, since_us=since_us, subject=name)
    assert "WARNING" == raised.level
    listed = _alerts(rig, "set", "any", "--reset")["rules"]["any"]
    assert not listed["in_force"]
    rig.told(ended=True, since_us=raised.at_us, subject=name)
    written = [
        decode(as_bytes(each.value()) or b"") for each in read_topic(rig.settings, SECURITY)[0]
    ]
    assert [("operator", "alerts/any")] * 2 == [
        (each.author, each.subject) for each in written if isinstance(each, SecurityEvent)
    ]


def test_a_test_is_told_and_names_who_was_not_reached(rig: AlertRig) -> None:
    """The webhook and the log are told although a third channel is out of reach."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in variables(rig.settings).items():
            patch.setenv(name, text)
        found = _alerts(rig, "test", "--reason", "are you there", "--wait", "20", code=1)
    assert ["nobody"] == found["not_told"]
    assert {"ops", "log"} == found["told_after_s"].keys()
    (told,) = [
        each for each in rig.receiver.told if each.alert["rule"] == "test" and not each.ended
    ]
    assert "are you there" == told.alert["message"]


def test_a_silence_holds_until_it_is_ended(rig: AlertRig) -> None:
    """The alert is raised and listed, and told once the silence has ended."""
    (quiet,) = _alerts(rig, "silence", "any/*", "--minutes", "30")["silences"]
    _alerts(rig, "set", "any", "metric=cascade_heartbeat_silence_seconds", "warning=0")
    name = f"any/{STAGE}"
    wait_until(lambda: name in _raised(rig), "an alert")
    before = len(rig.receiver.told)
    _alerts(rig, "silence", "--end", quiet["id"])
    rig.told(ended=False, since_us=rig.receiver.told[before - 1].at_us + 1, subject=name)
    _alerts(rig, "set", "any", "--reset")


def test_what_is_no_rule_is_refused(rig: AlertRig) -> None:
    """With what was expected; nothing is published."""
    result = CliRunner().invoke(
        main, ["alerts", "set", "latency", "warning=-1"], env=variables(rig.settings)
    )
    assert 0 != result.exit_code
    assert "Expected a rule 'latency'" in result.stderr


def test_workers_are_recommended_for_each_stage_that_has_some(rig: AlertRig) -> None:
    """Idle ones need no more; a stage without workers gets no recommendation."""
    rig.start_stage()

    def advice() -> Any:
        result = CliRunner().invoke(main, ["scaling", "--json"], env=variables(rig.settings))
        return json.loads(result.stdout)["stages"] if result.exit_code == 0 else {}

    def known() -> bool:
        found = advice().get(STAGE, {})
        return bool(found.get("workers")) and found["recommended"] is not None

    wait_until(known, "a recommendation")
    found = advice()
    assert 1 <= found[STAGE]["recommended"] <= found[STAGE]["workers"]
    assert found["risk"]["recommended"] is None
