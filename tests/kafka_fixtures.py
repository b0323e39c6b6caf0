"""A real Kafka for the tests that need one, and settings that keep tests out of each other's way.

The broker is, in this order: the one of `TEST_BROKER=host:port`; a container, where a Docker engine
answers and has the image; a local process. Which one it was stands in pytest's summary.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
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
_USED = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Bootstrap servers of a real Kafka that lives as long as the test session."""
    given = os.environ.get("TEST_BROKER")
    image = f"apache/kafka:{kafka_version(resource('docker/kafka/pom.xml'))}"
    if given:
        broker.probe(given, timeout_s=10.0)
        _say(request, f"broker of TEST_BROKER at {given}")
        yield given
    elif _docker_has(image):
        yield from _container(request, image)
    else:
        yield from _process(request, tmp_path_factory.mktemp("kafka"))


@pytest.fixture
def namespace() -> str:
    """Namespace of its own for each test."""
    return f"test-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def kafka_settings(kafka: str, namespace: str, tmp_path: Path) -> Settings:
    """Settings with the session's broker, a namespace of the test's own and a temporary home."""
    return load_settings(broker=kafka, namespace=namespace, home=tmp_path / "home")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which broker the tests ran against."""
    if used := config.stash.get(_USED, ""):
        terminalreporter.write_line(f"Kafka of these tests: {used}")


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


def _container(request: pytest.FixtureRequest, image: str) -> Iterator[str]:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # Ryuk is one more image to pull; the fixture itself removes the container.
    testcontainers_config.ryuk_disabled = True
    port = broker.ThisMachine().free_port(0)
    bootstrap = f"127.0.0.1:{port}"
    container = DockerContainer(image)
    ports: dict[str, Any] = container.ports  # with_bind_ports would open it to the network
    ports["9092"] = ("127.0.0.1", port)
    for name, value in container_environment(bootstrap).items():
        container = container.with_env(name, value)
    with container:
        try:
            _await(bootstrap)
        except Exception:
            print(*(stream.decode(errors="replace") for stream in container.get_logs()))  # noqa: T201
            raise
        _say(request, f"container of {image} at {bootstrap}, by testcontainers")
        yield bootstrap


def _process(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    settings = load_settings(broker=None, home=home)
    found = broker.up(settings, notice=print)
    try:
        _say(request, broker.status(settings).detail)
        yield found.bootstrap
    finally:
        broker.down(settings)


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


def _say(request: pytest.FixtureRequest, used: str) -> None:
    request.config.stash[_USED] = used
