"""A broker as a process of this machine: Java and Apache Kafka from its Maven artifacts."""

from collections.abc import Callable
from pathlib import Path

from pipeline.broker.artifacts import default_cache, java, kafka_jars, kafka_version
from pipeline.broker.machine import Machine
from pipeline.broker.model import Broker, Notice, refused
from pipeline.broker.probe import Cluster
from pipeline.broker.storage import ALONE, Member, Ports, Storage, new_cluster_id
from pipeline.errors import BrokerUnavailable, ConfigurationError

__all__ = ["LocalBroker"]

_CLIENT_PORT, _CONTROLLER_PORT = 9092, 9093
_START_TIMEOUT_S = 150.0  # 4 s on an idle machine, 40 s were seen on a busy one
_FORMAT_TIMEOUT_S = 60.0
_TERM_TIMEOUT_S = 20.0
_KILL_TIMEOUT_S = 5.0
_POLL_S = 0.1
_PORT_ATTEMPTS = 3


class LocalBroker:
    """The broker whose files lie in one folder.

    No record of a running process is kept that could go stale: the process is recognised by its
    command line, which ends with the path of its properties.

    Args:
        folder: Where its properties, logs and data lie.
        pom: The `pom.xml` that names the jars.
        machine: The machine.
        probe: Asks an address whether a broker answers there.
        notice: Told what takes long or is out of the ordinary.
        cache: Where the jars lie, or will.
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
    ) -> None:
        self._storage = Storage(folder)
        self._pom = pom
        self._machine = machine
        self._probe = probe
        self._notice = notice
        self._cache = cache or default_cache()
        self._arguments = ["kafka.Kafka", str(self._storage.properties)]

    def pid(self) -> int | None:
        """Return the pid of the running broker, None where none runs."""
        return self._machine.find(self._arguments)

    def find(self, *, timeout_s: float) -> Broker | None:
        """Return the running broker, None where none runs.

        Raises:
            BrokerUnavailable: It runs and does not answer.
        """
        pid = self.pid()
        ports = self._storage.read_ports()
        if pid is None or ports is None:
            return None
        return self._wait_until_it_answers(pid, ports, timeout_s)

    def start(self) -> Broker:
        """Start the broker; there must be none running.

        Steps:
            1. Find Java, fetch the jars where they are missing.
            2. Choose ports, write the properties.
            3. Format the data, unless it is there and fits.
            4. Start the process, wait until it answers.

        Raises:
            WayAbsent: Java or Maven are missing, or Maven cannot fetch the jars.
            ConfigurationError: A folder cannot be written, or the data cannot be formatted.
            BrokerUnavailable: The process ended or did not answer in time.
        """
        # Step 1
        program = java(self._machine)
        jars = kafka_jars(self._machine, self._pom, self._cache, self._notice)
        for _ in range(_PORT_ATTEMPTS):
            try:
                # Step 2
                ports = self.choose_ports()
                # Step 3
                self.prepare(program, jars, ports)
                # Step 4
                pid = self.spawn(program, jars)
            except OSError as error:
                raise refused(self._storage.folder, error) from error
            broker = self._wait_until_it_answers(pid, ports, _START_TIMEOUT_S)
            if broker is not None:
                return broker
            if not self._storage.complained_of("Address already in use"):
                break  # else somebody took the port after it was chosen: choose again
        raise BrokerUnavailable(
            f"Expected Kafka to start, was a process that ended. Its last lines, from"
            f" {self._storage.log}:\n{self._storage.last_words()}\n{self._advice()}"
        )

    def stop(self) -> bool:
        """Stop the broker: SIGTERM, and SIGKILL if that takes too long.

        Returns:
            Whether there was one.
        """
        pid = self.pid()
        if pid is None:
            return False
        for force, timeout_s in ((False, _TERM_TIMEOUT_S), (True, _KILL_TIMEOUT_S)):
            self._machine.end(pid, force=force)
            deadline_s = self._machine.now_s() + timeout_s
            while self._machine.now_s() < deadline_s:
                if self.pid() != pid:
                    return True
                self._machine.sleep(_POLL_S)
        raise BrokerUnavailable(f"Expected process {pid} to end, was still there after SIGKILL.")

    def prepare(
        self, program: str, jars: Path, ports: Ports, member: Member = ALONE, cluster_id: str = ""
    ) -> None:
        """Write the properties, and format the data unless it is there and fits.

        Args:
            program: Java.
            jars: Folder of Kafka's jars.
            ports: Where it listens.
            member: Its place in its cluster.
            cluster_id: Of data that is new; a random one where empty.

        Raises:
            ConfigurationError: Formatting was refused.
            OSError: A folder cannot be written.
        """
        self._storage.folder.mkdir(parents=True, exist_ok=True)
        self._storage.write_configuration(ports, member)
        self._format(program, jars, cluster_id)

    def choose_ports(self) -> Ports:
        """Return free ports: those of the last start, so that clients find a broker again."""
        last = self._storage.read_ports() or Ports(_CLIENT_PORT, _CONTROLLER_PORT)
        client = self._machine.free_port(last.client)
        controller = self._machine.free_port(last.controller)
        while controller == client:
            controller = self._machine.free_port(0)
        return Ports(client, controller)

    def _format(self, program: str, jars: Path, wanted_id: str) -> None:
        version = kafka_version(self._pom)
        cluster_id = self._storage.usable_cluster(version, self._notice)
        if cluster_id is None:
            cluster_id = wanted_id or new_cluster_id()
            tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c"]
            command = [*self._java(program, jars), *tool, str(self._storage.properties)]
            done = self._machine.run(command, timeout_s=_FORMAT_TIMEOUT_S)
            if done.code != 0:
                said = "\n".join(done.output.splitlines()[-5:])
                raise ConfigurationError(
                    f"Expected Kafka to format {self._storage.data}, was refused:\n{said}\n"
                    "Remove that folder, or set CASCADE_HOME to another."
                )
        self._storage.write_format(cluster_id, version)

    @property
    def cluster_id(self) -> str | None:
        """Cluster of its data; None where there is none yet."""
        return self._storage.read_format()[0]

    @property
    def client_port(self) -> int | None:
        """Where it listened last; None where it never did."""
        ports = self._storage.read_ports()
        return None if ports is None else ports.client

    def last_words(self) -> str:
        """Return the last lines that say why it ended."""
        return self._storage.last_words()

    def spawn(self, program: str, jars: Path) -> int:
        """Start the process; return its pid."""
        heap = ["-Xms384m", "-Xmx512m", "-Xmn128m", "-XX:+UseSerialGC"]
        command = [*self._java(program, jars, *heap), *self._arguments]
        return self._machine.spawn(command, self._storage.output)

    def _java(self, program: str, jars: Path, *options: str) -> list[str]:
        return [
            program,
            # The second compiler takes a core for 10 to 20 s at start and triples latencies.
            "-XX:TieredStopAtLevel=1",
            *options,
            f"-Dkafka.log={self._storage.log}",
            f"-Dlog4j2.configurationFile={self._storage.log4j}",
            *("-cp", f"{jars}/*"),
        ]

    def _wait_until_it_answers(self, pid: int, ports: Ports, timeout_s: float) -> Broker | None:
        """Return the broker once it answers, None once its process is gone."""
        bootstrap = f"127.0.0.1:{ports.client}"
        cluster_id, version = self._storage.read_format()
        deadline_s = self._machine.now_s() + timeout_s
        while True:
            late = self._machine.now_s() >= deadline_s
            try:
                cluster = self._probe(bootstrap, timeout_s=2.0)
            except BrokerUnavailable as error:
                if self.pid() != pid:
                    return None
                if late:
                    raise BrokerUnavailable(
                        f"Expected Kafka (process {pid}) to answer at {bootstrap} within"
                        f" {timeout_s:g} s, was silent. Stop it with `cascade broker down`; its"
                        f" log is {self._storage.log}."
                    ) from error
                self._machine.sleep(_POLL_S)
                continue
            if cluster.cluster_id != cluster_id:
                # Somebody took the port after it was chosen: ours is about to find out, and end.
                if self.pid() != pid:
                    return None
                if late:
                    raise BrokerUnavailable(
                        f"Expected cluster {cluster_id} at {bootstrap}, was {cluster.cluster_id}:"
                        " another Kafka. Stop one of them; `cascade broker down` stops ours."
                    )
                self._machine.sleep(_POLL_S)
                continue
            return Broker(
                bootstrap,
                "local",
                kafka_version=version,
                cluster_id=cluster_id,
                pid=pid,
                data_dir=self._storage.data,
            )

    def _advice(self) -> str:
        if self._storage.complained_of("Failed to acquire lock"):
            return f"Another Kafka uses {self._storage.data}: stop it, or set CASCADE_HOME."
        return "Mend what they name, or set CASCADE_HOME to another folder to start afresh."
