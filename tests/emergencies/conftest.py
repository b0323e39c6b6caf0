"""Fixtures of the emergency suite: one cascade for all of its tests, and verdicts."""

import uuid
from collections.abc import Iterator

import pytest

from pipeline.settings import load_settings
from tests.emergencies.rig import EmergencyRig, suite_settings
from tests.emergencies.verdict import Verdict


@pytest.fixture(scope="session")
def cascade(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmergencyRig]:
    """The cascade of all tests."""
    settings = load_settings(
        broker=kafka,
        namespace=f"emergencies-{uuid.uuid4().hex[:10]}",
        home=tmp_path_factory.mktemp("home"),
    )
    rig = EmergencyRig(suite_settings(settings), kafka)
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture
def rig(cascade: EmergencyRig) -> Iterator[EmergencyRig]:
    """The cascade, with nothing wrong in it."""
    cascade.calm()
    yield cascade
    cascade.calm()


@pytest.fixture
def verdict(request: pytest.FixtureRequest, rig: EmergencyRig) -> Verdict:
    """Judges the emergency of this test."""
    return Verdict(rig, request.node.user_properties)
