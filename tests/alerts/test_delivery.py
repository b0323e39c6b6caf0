"""A stage is killed with kill -9: the alert is delivered, and resolves after the restart."""

from collections.abc import Iterator

import msgspec
import pytest

from tests.alerts.rig import STAGE, AlertRig, alert_rig
from tests.alerts.verdict import DeliveryReport

pytestmark = pytest.mark.timeout(300)

_ROUNDS = 3
_SECOND_US = 1_000_000
_NOT_REACHED = "channel_not_reached name=nobody"


@pytest.fixture(scope="module")
def rig(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertRig]:
    """A monitor worker that acts, and a stage that lives."""
    with alert_rig(kafka, tmp_path_factory.mktemp("home")) as rig:
        rig.start_monitor().wait_for("acts_on_alerts")
        yield rig


@pytest.mark.parametrize("number", range(1, _ROUNDS + 1))
def test_kill(rig: AlertRig, number: int, request: pytest.FixtureRequest) -> None:
    """Told within 5 s of the threshold, and of the end within 5 s of the first sign of life."""
    stage = rig.start_stage()
    monitor = rig.workers[0]
    stage.kill()
    last_us = rig.heartbeats()[-1]
    threshold_s = rig.settings.alerts.rules["system_silent"].critical or 0.0
    threshold_us = last_us + int(threshold_s * _SECOND_US)
    raised = rig.told(ended=False, since_us=last_us)
    again = rig.start_stage()
    first_us = next(each for each in rig.heartbeats() if each > last_us)
    over = rig.told(ended=True, since_us=first_us)
    report = DeliveryReport(
        f"{STAGE} {number}",
        threshold_s,
        round((raised.at_us - threshold_us) / 1e6, 2),
        round((over.at_us - first_us) / 1e6, 2),
        raised.level,
        monitor.log.count(_NOT_REACHED),
    )
    again.stop()
    request.node.user_properties.append(("delivery", report))
    assert report.passed, msgspec.json.format(msgspec.json.encode(report)).decode()
    assert ("CRITICAL", raised.alert["id"]) == (raised.level, over.alert["id"])
