"""Several brokers as processes of this machine, one cluster: for tests of what one cannot show."""

from collections.abc import Callable
from pathlib import Path

from pipeline.broker.artifacts import default_cache, java, kafka_jars, kafka_version
from pipeline.broker.local import LocalBroker
from pipeline.broker.machine import Machine
from pipeline.broker.model import Broker, Notice, refused
from pipeline.broker.probe import Cluster
from pipeline.broker.storage import Member, Ports, new_cluster_id
from pipeline.errors import BrokerUnavailable

__all__ = ["LocalCluster"]

_START_TIMEOUT_S = 240.0
_POLL_S = 0.2
_PORT_TRIES = 50


class LocalCluster:
    """KRaft nodes, each broker and controller, each in a folder of its own below one.

    Args:
        folder: Where all of it lies.
        pom: The `pom.xml` that names the jars.
        machine: The machine.
        probe: Asks an address whether a broker answers there.
        notice: Told what takes long or is out of the ordinary.
        cache: Where the jars lie, or will.
        count: How many nodes; None: as many as there are in the folder.
    """

    def __init__(
        self,
        folder: Path,
        pom: Path,
        *,
        machine: Machine,
        probe: Callable[..., Cluster],
        notice: Notice,
        cache: Path | None = None,
        count: int | None = None,
    ) -> None:
        self._folder = folder
        self._pom = pom
        self._machine = machine
        self._probe = probe
        self._notice = notice
        self._cache = cache or default_cache()
        self.nodes = [
            LocalBroker(
                folder / f"node-{number}", pom, machine=machine, probe=probe, notice=notice,
                cache=cache,
            )
            for number in range(1, (count or len(list(folder.glob("node-*")))) + 1)
        ]  # fmt: skip

    def pids(self) -> list[int]:
        """Return the processes that run, by node."""
        return [pid for each in self.nodes if (pid := each.pid()) is not None]

    def find(self, *, timeout_s: float) -> Broker | None:
        """Return the cluster while a node of it runs, None where none does.

        Raises:
            BrokerUnavailable: Nodes run and do not answer.
        """
        if not self.pids():
            return None
        self._probe(self._bootstrap(), timeout_s=timeout_s)
        return self._broker()

    def start(self) -> Broker:
        """Start the nodes that do not run, and wait until all answer.

        1. Choose ports for all, since each is told all controllers.
        2. Write properties and format data, all of one cluster.
        3. Start the processes.

        Raises:
            WayAbsent: Java or Maven are missing, or Maven cannot fetch the jars.
            ConfigurationError: A folder cannot be written, or data cannot be formatted.
            BrokerUnavailable: A process ended, or they did not answer in time.
        """
        program = java(self._machine)
        jars = kafka_jars(self._machine, self._pom, self._cache, self._notice)
        try:
            if not self.pids():
                self._prepare(program, jars, self._ports())  # Steps 1 and 2
            for each in self.nodes:  # Step 3
                if each.pid() is None:
                    each.spawn(program, jars)
        except OSError as error:
            raise refused(self._folder, error) from error
        return self._wait()

    def stop(self) -> bool:
        """Stop all nodes; return whether one ran."""
        stopped = [each.stop() for each in self.nodes]
        return any(stopped)

    def _ports(self) -> list[Ports]:
        taken: set[int] = set()
        chosen = []
        for node in self.nodes:
            found = node.choose_ports()
            for _ in range(_PORT_TRIES):
                if not {found.client, found.controller} & taken:
                    break
                found = Ports(self._machine.free_port(0), self._machine.free_port(0))
            taken |= {found.client, found.controller}
            chosen.append(found)
        return chosen

    def _prepare(self, program: str, jars: Path, ports: list[Ports]) -> None:
        controllers = tuple(each.controller for each in ports)
        cluster_id = self.nodes[0].cluster_id or new_cluster_id()
        for number, (node, each) in enumerate(zip(self.nodes, ports, strict=True), 1):
            node.prepare(program, jars, each, Member(number, controllers), cluster_id)

    def _bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{each.client_port}" for each in self.nodes)

    def _broker(self) -> Broker:
        return Broker(
            self._bootstrap(), "local", kafka_version=kafka_version(self._pom),
            cluster_id=self.nodes[0].cluster_id, pid=self.nodes[0].pid(), data_dir=self._folder,
        )  # fmt: skip

    def _wait(self) -> Broker:
        deadline_s = self._machine.now_s() + _START_TIMEOUT_S
        for node in self.nodes:
            while True:
                try:
                    self._probe(f"127.0.0.1:{node.client_port}", timeout_s=2.0)
                    break
                except BrokerUnavailable as error:
                    if node.pid() is None or self._machine.now_s() >= deadline_s:
                        raise BrokerUnavailable(
                            f"Expected all {len(self.nodes)} nodes to answer within"
                            f" {_START_TIMEOUT_S:g} s, was one that did not:"
                            f" {node.last_words()}"
                        ) from error
                    self._machine.sleep(_POLL_S)
        return self._broker()
