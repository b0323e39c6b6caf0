"""The broker in Docker: engine, image, container and its two listeners."""

from pathlib import Path

import pytest

from pipeline.broker import Cluster, Completed
from pipeline.broker.docker import DockerBroker, container_environment
from pipeline.errors import BrokerUnavailable, ConfigurationError
from tests.unit.broker.fakes import FakeMachine


class Engine:
    """A Docker engine with one container at most."""

    def __init__(self, *, image: bool = True, pull: bool = False, dies: bool = False) -> None:
        self.image = image
        self.pull = pull
        self.dies = dies
        self.running: list[str] | None = None

    def __call__(self, command: list[str]) -> Completed:
        """Answer as the `docker` program."""
        return getattr(self, f"_{command[1]}")(command)  # type: ignore[no-any-return]  # by name

    def answers(self, bootstrap: str, *, timeout_s: float) -> Cluster:
        """Answer for the container's port."""
        del timeout_s
        if self.running is None or f"{bootstrap}:9092" not in self.running:
            raise BrokerUnavailable(f"nothing at {bootstrap}")
        return Cluster("docker-cluster", 1)

    def _version(self, _: list[str]) -> Completed:
        return Completed(0, "28.0")

    def _image(self, _: list[str]) -> Completed:
        return Completed(0 if self.image else 1, "")

    def _pull(self, _: list[str]) -> Completed:
        return Completed(0 if self.pull else 1, "denied")

    def _run(self, command: list[str]) -> Completed:
        self.running = None if self.dies else command
        return Completed(0, "id")

    def _rm(self, _: list[str]) -> Completed:
        self.running = None
        return Completed(0, "")

    def _stop(self, _: list[str]) -> Completed:
        return Completed(0 if self.running else 1, "")

    def _logs(self, _: list[str]) -> Completed:
        return Completed(0, "exec format error")

    def _inspect(self, _: list[str]) -> Completed:
        if self.running is None:
            return Completed(1, "No such object")
        label = self.running[self.running.index("--label") + 1]
        return Completed(0, f"true {label.partition('=')[2]}")


def make(engine: Engine, folder: Path) -> DockerBroker:
    """Return a broker in Docker on the pretended engine."""
    machine = FakeMachine(docker=engine)
    machine.taken_ports = {9092}
    return DockerBroker(
        folder, "4.3.0", machine=machine, probe=engine.answers, notice=lambda _: None
    )


def test_started_container_is_found_and_stopped(tmp_path: Path) -> None:
    """A container is started on a free port, found by its label, and removed."""
    docker = make(Engine(), tmp_path)
    assert docker.find(timeout_s=1) is None

    started = docker.start()

    assert ("docker", "127.0.0.1:40001", "4.3.0") == (
        started.kind,
        started.bootstrap,
        started.kafka_version,
    )
    assert started == docker.find(timeout_s=1)
    assert [True, False] == [docker.stop(), docker.stop()]
    assert docker.find(timeout_s=1) is None


def test_folders_have_containers_of_their_own(tmp_path: Path) -> None:
    """Two folders never share a container."""
    first = make(Engine(), tmp_path / "a").start()
    second = make(Engine(), tmp_path / "b").start()

    assert first.container != second.container


@pytest.mark.parametrize(
    ("image", "pull", "starts"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_image_is_local_or_pulled(tmp_path: Path, image: bool, pull: bool, starts: bool) -> None:
    """An engine without the image pulls it; one that cannot is absent."""
    docker = make(Engine(image=image, pull=pull), tmp_path)

    if starts:
        assert "docker" == docker.start().kind
    else:
        with pytest.raises(ConfigurationError, match="cannot pull it"):
            docker.start()


def test_container_that_dies_shows_its_log(tmp_path: Path) -> None:
    """A container that ends at start is an error that quotes its log."""
    docker = make(Engine(dies=True), tmp_path)

    with pytest.raises(BrokerUnavailable, match="exec format error"):
        docker.start()


def test_container_has_a_listener_for_itself() -> None:
    """Inside and outside have a listener each, else transactions never load inside."""
    environment = container_environment("127.0.0.1:40001")

    assert (
        "OUTSIDE://127.0.0.1:40001,INSIDE://localhost:29092"
        == (environment["KAFKA_ADVERTISED_LISTENERS"])
    )
    assert "INSIDE" == environment["KAFKA_INTER_BROKER_LISTENER_NAME"]
