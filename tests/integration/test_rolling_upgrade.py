"""Workers replaced under load by the next version; `scripts/test upgrade` does it with all."""

from pathlib import Path

import pytest

from pipeline.bench.output import checks_text
from pipeline.settings import Settings
from tests.upgrade.report import checks, upgraded

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

_RATE = 40.0


def test_workers_of_the_next_version_take_over_without_loss(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """One by a standby, one under its old name; plans have a field more afterwards."""
    broker = kafka_settings.broker or ""
    found = upgraded(tmp_path, broker, _RATE, count=2)

    # How many a second a busy machine takes is for the whole form to judge.
    judged = [each for each in checks(found) if "a second" not in each.name]
    assert all(each.passed for each in judged), f"{checks_text(judged)}\n{found['violations']}"
    ways = [(each["stage"], each["way"]) for each in found["replaced"]]
    assert [("gateway", "standby"), ("execution", "static")] == ways
