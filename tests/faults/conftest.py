"""Fixtures of the fault tests: a broker to stop, a pipeline behind proxies, verdicts."""

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from pipeline import broker
from pipeline.settings import Settings, load_settings
from tests.faults.proxy import FaultProxy
from tests.faults.rig import Rig
from tests.faults.verdict import Verdict
from tests.kafka_workers import run_settings, start_worker

__all__ = ["run_settings", "start_worker"]

_FAILED = pytest.StashKey[bool]()


class BrokerUnderTest:
    """A broker of this test session's own, behind a proxy whose address stays the same.

    Args:
        home: Where its data lies.
    """

    def __init__(self, home: Path) -> None:
        self._settings = load_settings(broker=None, home=home)
        self.own = broker.up(self._settings, notice=print)
        self.front = FaultProxy(self.own.bootstrap)

    @property
    def detail(self) -> str:
        """What it is, in a sentence."""
        return broker.status(self._settings).detail

    def stop(self) -> None:
        """Stop it; its data stays."""
        broker.down(self._settings)

    def kill(self) -> None:
        """Kill it where it stands."""
        if self.own.pid is not None:
            os.kill(self.own.pid, signal.SIGKILL)
        elif self.own.container is not None:
            command = ["docker", "kill", self.own.container]
            subprocess.run(command, check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        """Start it again."""
        self.own = broker.up(self._settings, notice=print)
        self.front.upstream = self.own.bootstrap

    def close(self) -> None:
        """Stop it for good."""
        self.front.close()
        broker.down(self._settings)


@pytest.fixture(scope="session")
def broker_under_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerUnderTest]:
    """The broker of all fault tests."""
    found = BrokerUnderTest(tmp_path_factory.mktemp("kafka"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def kafka(broker_under_test: BrokerUnderTest) -> str:
    """Address of the broker that stays the same when it is started anew."""
    return broker_under_test.front.address


class RigPool:
    """Lends one pipeline to test after test; a test that fails costs a new one."""

    def __init__(self, make: Callable[[], Rig]) -> None:
        self._make = make
        self._rig: Rig | None = None

    def lend(self) -> Rig:
        """Return a pipeline without faults in it."""
        if self._rig is None:
            self._rig = self._make()
            self._rig.start()
        return self._rig

    def discard(self) -> None:
        """End the pipeline."""
        rig, self._rig = self._rig, None
        if rig is not None:
            rig.close()


@pytest.fixture(scope="session")
def rig_pool(
    kafka: str, broker_under_test: BrokerUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RigPool]:
    """Pipelines of this session."""

    def make() -> Rig:
        settings: Settings = load_settings(
            broker=kafka,
            namespace=f"faults-{uuid.uuid4().hex[:10]}",
            home=tmp_path_factory.mktemp("rig"),
        )
        return Rig(settings, broker_under_test.own.bootstrap)

    pool = RigPool(make)
    yield pool
    pool.discard()


@pytest.fixture
def rig(rig_pool: RigPool, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A pipeline at rest, with one worker of each stage."""
    lent = rig_pool.lend()
    yield lent
    if request.node.stash.get(_FAILED, True):
        rig_pool.discard()
    else:
        lent.calm()


@pytest.fixture
def verdict(request: pytest.FixtureRequest, rig: Rig) -> Verdict:
    """Judges the fault of this test; its name is the test's parameter."""
    return Verdict(request.node.callspec.id, rig, request.node.user_properties)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a test's own part failed."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report
