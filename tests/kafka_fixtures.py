"""A real Kafka for the tests that need one, and settings that keep tests out of each other's way.

The broker is, in this order: the one of `TEST_BROKER=host:port`; a container, where a Docker engine
answers and has the image; a local process. Which one it was stands in pytest's summary.

The first test that asks for it starts it. Workers of pytest-xdist share one, and the process that
started them stops it, so that it does not matter which of them ends first.
"""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import broker
from pipeline.broker.artifacts import kafka_version
from pipeline.broker.docker import container_environment
from pipeline.errors import BrokerUnavailable
from pipeline.resources import resource
from pipeline.settings import Settings, load_settings

_START_TIMEOUT_S = 150.0
_STOP_TIMEOUT_S = 60.0
_FOLDER = pytest.StashKey[Path]()
_USED = pytest.StashKey[str]()
_INPUT = "kafka_folder"


@dataclass(frozen=True, slots=True)
class _Shared:
    """The broker of a test session.

    Attributes:
        bootstrap: Its bootstrap servers.
        used: What it is, for people.
        container: Id of its container; empty where it is none.
    """

    bootstrap: str
    used: str
    container: str = ""


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> str:
    """Bootstrap servers of a real Kafka that lives as long as the test session."""
    folder = pytestconfig.stash[_FOLDER]
    with _locked(folder):
        found = _known(folder) or _start(folder)
        (folder / "shared.json").write_text(json.dumps(asdict(found)))
    return found.bootstrap


@pytest.fixture
def namespace() -> str:
    """Namespace of its own for each test."""
    return f"test-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def kafka_settings(kafka: str, namespace: str, tmp_path: Path) -> Settings:
    """Settings with the session's broker, a namespace of the test's own and a temporary home."""
    return load_settings(broker=kafka, namespace=namespace, home=tmp_path / "home")


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder by which the processes of a test session share their broker."""
    given = getattr(config, "workerinput", {}).get(_INPUT)
    config.stash[_FOLDER] = Path(given or tempfile.mkdtemp(prefix="kafka-of-tests-"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where that folder is."""
    node.workerinput[_INPUT] = str(node.config.stash[_FOLDER])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the broker, once all workers have ended."""
    if hasattr(session.config, "workerinput"):
        return
    folder = session.config.stash[_FOLDER]
    found = _known(folder)
    if found is not None:
        session.config.stash[_USED] = found.used
        _stop(found, folder)
    shutil.rmtree(folder)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which broker the tests ran against."""
    if used := config.stash.get(_USED, ""):
        terminalreporter.write_line(f"Kafka of these tests: {used}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _known(folder: Path) -> _Shared | None:
    file = folder / "shared.json"
    return _Shared(**json.loads(file.read_text())) if file.exists() else None


def _start(folder: Path) -> _Shared:
    given = os.environ.get("TEST_BROKER")
    image = f"apache/kafka:{kafka_version(resource('docker/kafka/pom.xml'))}"
    if given:
        broker.probe(given, timeout_s=10.0)
        return _Shared(given, f"broker of TEST_BROKER at {given}")
    if _docker_has(image):
        return _container(image)
    settings = _local(folder)
    found = broker.up(settings, notice=print)
    return _Shared(found.bootstrap, broker.status(settings).detail)


def _stop(found: _Shared, folder: Path) -> None:
    if found.container:
        command = ["docker", "rm", "--force", "--volumes", found.container]
        subprocess.run(command, check=True, capture_output=True, timeout=_STOP_TIMEOUT_S)
    elif (settings := _local(folder)).home.exists():
        broker.down(settings)


def _local(folder: Path) -> Settings:
    """Return the settings of a broker that is a local process."""
    return load_settings(broker=None, home=folder / "home")


def _docker_has(image: str) -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        inspected = subprocess.run(
            [docker, "image", "inspect", image], capture_output=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return inspected.returncode == 0


def _container(image: str) -> _Shared:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # Ryuk is one more image to pull; the session's end removes the container.
    testcontainers_config.ryuk_disabled = True
    port = broker.ThisMachine().free_port(0)
    bootstrap = f"127.0.0.1:{port}"
    container = DockerContainer(image)
    ports: dict[str, Any] = container.ports  # with_bind_ports would open it to the network
    ports["9092"] = ("127.0.0.1", port)
    for name, value in container_environment(bootstrap).items():
        container = container.with_env(name, value)
    container.start()
    try:
        _await(bootstrap)
    except Exception:
        print(*(stream.decode(errors="replace") for stream in container.get_logs()))  # noqa: T201
        container.stop()
        raise
    used = f"container of {image} at {bootstrap}, by testcontainers"
    return _Shared(bootstrap, used, str(container.get_wrapped_container().id))


def _await(bootstrap: str) -> None:
    machine = broker.ThisMachine()
    deadline_s = machine.now_s() + _START_TIMEOUT_S
    while True:
        try:
            broker.probe(bootstrap, timeout_s=2.0)
        except BrokerUnavailable:
            if machine.now_s() >= deadline_s:
                raise
            machine.sleep(0.2)
        else:
            return
