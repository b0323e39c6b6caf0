"""Fixtures of the dashboard's suite: one cascade for all tests, a browser for each."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pipeline.settings import load_settings
from tests.cluster import PATIENT_MS
from tests.dashboard.chromium import Page, browser, find_chromium
from tests.dashboard.rig import Rig, rig


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser; without one these tests are skipped."""
    found = find_chromium()
    if found is None:
        pytest.skip("no chromium on this machine; .ci/run installs it: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def cascade(chromium: str, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The cascade and dashboard of all tests."""
    settings = load_settings(
        broker=kafka,
        namespace=f"dashboard-{uuid.uuid4().hex[:8]}",
        home=tmp_path_factory.mktemp("home"),
        cascade_timeout_ms=PATIENT_MS,
        control_echo_timeout_s=30.0,  # a starved reader is no broker out of reach
    )
    with rig(settings) as found:
        yield found


@pytest.fixture
async def page(chromium: str, tmp_path: Path) -> AsyncIterator[Page]:
    """A page of a browser of its own; at its end it has complained of nothing."""
    async with browser(chromium, tmp_path / "browser") as found:
        await found.size(1320, 900)
        await found.scheme("light")
        yield found
        assert [] == found.faults
