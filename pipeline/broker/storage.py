"""The files of the local broker: its properties, and data that the Kafka at hand can open."""

import json
import os
import re
import shutil
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from pipeline.broker.model import Notice

__all__ = ["ALONE", "Member", "Ports", "Storage", "new_cluster_id"]

_LOG4J = """\
<Configuration>
  <Appenders>
    <RollingFile name="F" fileName="${sys:kafka.log}" filePattern="${sys:kafka.log}.%i">
      <PatternLayout pattern="[%d] %p %m (%c)%n"/>
      <Policies><SizeBasedTriggeringPolicy size="10 MB"/></Policies>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
    <Console name="C"><PatternLayout pattern="%p %m (%c)%n%throwable{1}"/></Console>
  </Appenders>
  <Loggers>
    <Root level="info"><AppenderRef ref="F"/><AppenderRef ref="C" level="error"/></Root>
  </Loggers>
</Configuration>
"""


def new_cluster_id() -> str:
    """Return a random cluster id of the form that Kafka takes."""
    while True:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):  # its tools would take that for an option
            return cluster_id


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the broker listens on 127.0.0.1, for clients and for itself."""

    client: int
    controller: int


@dataclass(frozen=True, slots=True)
class Member:
    """A node's place among the nodes of its cluster.

    Attributes:
        node: Its id, from 1.
        controllers: Ports of all controllers, by node, from 1; empty for the only one.
    """

    node: int = 1
    controllers: tuple[int, ...] = ()

    @property
    def replicas(self) -> int:
        """Copies of the broker's own topics."""
        return max(1, len(self.controllers))

    @property
    def in_sync(self) -> int:
        """Copies of them that must be in sync: one may be away."""
        return max(1, self.replicas - 1)


ALONE = Member()


class Storage:
    """The folder of the local broker.

    Args:
        folder: Where everything lies; made by `prepare`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()  # one name, whichever link led here
        self.properties = self.folder / "server.properties"
        self.log4j = self.folder / "log4j2.xml"
        self.output = self.folder / "kafka.out"
        self.log = self.folder / "kafka.log"
        self.data = self.folder / "data"
        self._format = self.folder / "format.json"

    def write_configuration(self, ports: Ports, member: Member = ALONE) -> None:
        """Write the properties of a node, on this machine only."""
        voters = enumerate(member.controllers or (ports.controller,), 1)
        client, controller = f"127.0.0.1:{ports.client}", f"127.0.0.1:{ports.controller}"
        properties = {
            "node.id": member.node,
            "process.roles": "broker,controller",
            "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{client}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": ",".join(f"{i}@127.0.0.1:{port}" for i, port in voters),
            "log.dirs": self.data,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            # One node cannot hold the three replicas that these expect.
            "offsets.topic.replication.factor": member.replicas,
            "transaction.state.log.replication.factor": member.replicas,
            "transaction.state.log.min.isr": member.in_sync,
            "share.coordinator.state.topic.replication.factor": member.replicas,
            "share.coordinator.state.topic.min.isr": member.in_sync,
            # 50 partitions each cost a second at the first use, and buy nothing on one node.
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.num.partitions": 4,
            # Handing requests round among more threads than cores costs more than it buys.
            "num.network.threads": 2,
            "num.io.threads": 2,
        }
        lines = "".join(f"{name}={value}\n" for name, value in properties.items())
        self.properties.write_text(lines)
        self.log4j.write_text(_LOG4J)

    def read_ports(self) -> Ports | None:
        """Return the ports of the last start, None where there was none."""
        try:
            text = self.properties.read_text()
        except OSError:
            return None
        found = re.findall(r"^listeners=.*?:(\d+),CONTROLLER.*?:(\d+)$", text, re.MULTILINE)
        return Ports(int(found[0][0]), int(found[0][1])) if found else None

    def read_format(self) -> tuple[str | None, str | None]:
        """Return (cluster id, Kafka version) of the data, None where unknown."""
        try:
            content = json.loads(self._format.read_text())
            return str(content["cluster_id"]), str(content["kafka_version"])
        except (OSError, ValueError, KeyError, TypeError):
            return None, None

    def write_format(self, cluster_id: str, kafka_version: str) -> None:
        """Record that the data is formatted; last, since it makes the data count."""
        temporary = self._format.with_suffix(".part")
        content = {"cluster_id": cluster_id, "kafka_version": kafka_version}
        temporary.write_text(json.dumps(content))
        temporary.replace(self._format)

    def usable_cluster(self, kafka_version: str, notice: Notice) -> str | None:
        """Return the cluster id of data that this Kafka can open, None after making room for new.

        Data that holds topics and cannot be opened is moved aside, never deleted.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        if not os.access(self.data, os.W_OK):
            raise PermissionError(13, "Permission denied", str(self.data))
        cluster_id, version = self.read_format()
        fault = self._fault(cluster_id, version, kafka_version)
        if fault is None:
            return cluster_id
        if (self.data / "__cluster_metadata-0").exists():
            aside = self._aside()
            self.data.rename(aside)
            notice(f"The broker's data {fault}; moved it to {aside} and start with none.")
        else:  # formatting was interrupted, or never begun: there is nothing to keep
            shutil.rmtree(self.data)
        self._format.unlink(missing_ok=True)
        return None

    def last_words(self) -> str:
        """Return the last lines that say why the broker ended."""
        for path, lines in ((self.output, 8), (self.log, 8)):
            text = path.read_text(errors="replace").strip() if path.exists() else ""
            if text:
                return "\n".join(line[:300] for line in text.splitlines()[-lines:])
        return "(it printed nothing)"

    def complained_of(self, text: str) -> bool:
        """Return whether the broker printed this since its last start, however much came after."""
        return self.output.exists() and text in self.output.read_text(errors="replace")

    def _fault(self, cluster_id: str | None, version: str | None, at_hand: str) -> str | None:
        meta = self.data / "meta.properties"
        if cluster_id is None or version is None:
            return "lacks the record of its format"
        if not meta.is_file():
            return "lacks meta.properties"
        if f"cluster.id={cluster_id}" not in meta.read_text(errors="replace").splitlines():
            return "belongs to another cluster than recorded"
        # Kafka opens data of older releases of the same major version, never of newer ones.
        if _numbers(version)[0] != _numbers(at_hand)[0] or _numbers(version) > _numbers(at_hand):
            return f"was written by Kafka {version}, which {at_hand} cannot open"
        return None

    def _aside(self) -> Path:
        number = 1
        while (aside := self.folder / f"data.old-{number}").exists():
            number += 1
        return aside


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)) or (0,)
