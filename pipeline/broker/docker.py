"""A broker as a container of a Docker engine."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from pipeline.broker.machine import Completed, Machine
from pipeline.broker.model import Broker, Notice, WayAbsent
from pipeline.broker.probe import Cluster
from pipeline.errors import BrokerUnavailable

__all__ = ["DockerBroker", "container_environment"]

_CLIENT_PORT = 9092
_ENGINE_TIMEOUT_S = 10.0
_COMMAND_TIMEOUT_S = 60.0
_PULL_TIMEOUT_S = 600.0
_START_TIMEOUT_S = 150.0  # 4 s on an idle machine, 40 s were seen on a busy one
_STOP_TIMEOUT_S = 20
_POLL_S = 0.2
_LABEL = "marl-cascade.port"


def container_environment(advertised: str) -> dict[str, str]:
    """Return the environment of an `apache/kafka` container that clients outside can use.

    Two listeners: the outside address cannot be reached from inside the container, and with that
    alone the transaction coordinator never finishes loading.

    Args:
        advertised: `host:port` under which clients outside reach the container's port 9092.
    """
    settings = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": "OUTSIDE://:9092,INSIDE://:29092,CONTROLLER://:29093",
        "advertised.listeners": f"OUTSIDE://{advertised},INSIDE://localhost:29092",
        "inter.broker.listener.name": "INSIDE",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": "1@localhost:29093",
        "listener.security.protocol.map": (
            "OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "log.dirs": "/var/lib/kafka/data",
    }
    variables = {
        f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()
    }
    # One compiler less: the second takes a core for 10 to 20 s at start.
    return {**variables, "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m -XX:TieredStopAtLevel=1"}


class DockerBroker:
    """The broker container that belongs to one folder of local state.

    Args:
        folder: The folder; the container and its volume are named after it.
        version: Kafka's version, the tag of the image.
        machine: The machine.
        probe: Asks an address whether a broker answers there.
        notice: Told what takes long or is out of the ordinary.
    """

    def __init__(
        self,
        folder: Path,
        version: str,
        *,
        machine: Machine,
        probe: Callable[..., Cluster],
        notice: Notice,
    ) -> None:
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
        self._name = f"marl-cascade-{digest}"
        self._version = version
        self._image = f"apache/kafka:{version}"
        self._machine = machine
        self._probe = probe
        self._notice = notice

    def find(self, *, timeout_s: float) -> Broker | None:
        """Return the running broker, None where none runs.

        Raises:
            BrokerUnavailable: It runs and does not answer.
        """
        if self._machine.which("docker") is None:
            return None
        query = f'{{{{.State.Running}}}} {{{{index .Config.Labels "{_LABEL}"}}}}'
        said = self._docker("inspect", "--format", query, self._name, timeout_s=_ENGINE_TIMEOUT_S)
        running, _, port = said.output.partition(" ")
        if said.code != 0 or running != "true" or not port.isdigit():
            return None
        return self._wait_until_it_answers(int(port), timeout_s)

    def start(self) -> Broker:
        """Start the broker; there must be none running.

        Raises:
            WayAbsent: No engine answers, or it has no image and can pull none.
            BrokerUnavailable: The container ended or did not answer in time.
        """
        self._require_engine()
        self._require_image()
        last = self._label()
        self._docker("rm", "--force", self._name)
        # That of a container that was killed, so that clients find it again.
        port = self._machine.free_port(last or _CLIENT_PORT)
        environment = container_environment(f"127.0.0.1:{port}")
        variables = [part for item in environment.items() for part in ("-e", "=".join(item))]
        done = self._docker(
            *("run", "--detach", "--name", self._name, "--label", f"{_LABEL}={port}"),
            *("--publish", f"127.0.0.1:{port}:9092"),
            *("--volume", f"{self._name}:/var/lib/kafka/data"),
            *variables,
            self._image,
        )
        if done.code != 0:
            self._docker("rm", "--force", self._name)
            raise BrokerUnavailable(f"Expected {self._image} to start, was refused: {done.output}")
        return self._wait_until_it_answers(port, _START_TIMEOUT_S)

    def _label(self) -> int | None:
        """Return the port of the container that is there, running or not."""
        query = f'{{{{index .Config.Labels "{_LABEL}"}}}}'
        said = self._docker("inspect", "--format", query, self._name, timeout_s=_ENGINE_TIMEOUT_S)
        port = said.output.strip()
        return int(port) if said.code == 0 and port.isdigit() else None

    def stop(self) -> bool:
        """Stop and remove the container; its volume, and so its data, stays.

        Returns:
            Whether there was one.
        """
        if self._machine.which("docker") is None:
            return False
        stopped = self._docker("stop", "--time", str(_STOP_TIMEOUT_S), self._name)
        removed = self._docker("rm", "--force", "--volumes=false", self._name)
        return stopped.code == 0 and removed.code == 0

    def _require_engine(self) -> None:
        if self._machine.which("docker") is None:
            raise WayAbsent("there is no docker on PATH: install Docker")
        said = self._docker(
            "version", "--format", "{{.Server.Version}}", timeout_s=_ENGINE_TIMEOUT_S
        )
        if said.code != 0:
            raise WayAbsent(f"no Docker engine answers ({_last_line(said)}): start one")

    def _require_image(self) -> None:
        if self._docker("image", "inspect", self._image).code == 0:
            return
        self._notice(f"Pulling the image {self._image}, once ...")
        pulled = self._docker("pull", "--quiet", self._image, timeout_s=_PULL_TIMEOUT_S)
        if pulled.code != 0:
            raise WayAbsent(
                f"the Docker engine has no image {self._image} and cannot pull it"
                f" ({_last_line(pulled)}): load the image"
            )

    def _wait_until_it_answers(self, port: int, timeout_s: float) -> Broker:
        bootstrap = f"127.0.0.1:{port}"
        deadline_s = self._machine.now_s() + timeout_s
        while True:
            try:
                cluster = self._probe(bootstrap, timeout_s=2.0)
            except BrokerUnavailable as error:
                running = self._docker("inspect", "--format", "{{.State.Running}}", self._name)
                if running.output != "true" or self._machine.now_s() >= deadline_s:
                    logs = self._docker("logs", "--tail", "8", self._name).output
                    raise BrokerUnavailable(
                        f"Expected Kafka in container {self._name} to answer at {bootstrap} within"
                        f" {timeout_s:g} s, was silent. `cascade broker down` removes it. Its last"
                        f" lines:\n{logs}"
                    ) from error
                self._machine.sleep(_POLL_S)
                continue
            return Broker(
                bootstrap,
                "docker",
                kafka_version=self._version,
                cluster_id=cluster.cluster_id,
                container=self._name,
            )

    def _docker(self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S) -> Completed:
        return self._machine.run(["docker", *arguments], timeout_s=timeout_s)


def _last_line(said: Completed) -> str:
    return (said.output.splitlines() or ["no output"])[-1].strip()[:300]
