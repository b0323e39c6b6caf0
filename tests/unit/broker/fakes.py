"""A machine that only pretends: programs answer from a script, brokers are entries of a dict."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.broker import Cluster, Completed
from pipeline.errors import BrokerUnavailable

JAVA_17 = Completed(0, 'openjdk version "17.0.15" 2025-04-15')


class FakeMachine:
    """Runs nothing; `programs` says what each answers, `die` makes brokers end at once."""

    def __init__(self, **programs: Callable[[list[str]], Completed]) -> None:
        self.programs = programs
        self.commands: list[list[str]] = []
        self.processes: dict[int, list[str]] = {}
        self.signals: list[tuple[int, bool]] = []
        self.taken_ports: set[int] = set()
        self.deaths: list[str] = []
        self.deaf_to_terminate = False
        self.time_s = 0.0
        self._next_port = 40_000

    def which(self, program: str) -> str | None:
        return f"/bin/{program}" if program in self.programs else None

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        del timeout_s
        self.commands.append(list(command))
        return self.programs[Path(command[0]).name](list(command))

    def spawn(self, command: Sequence[str], output: Path) -> int:
        self.commands.append(list(command))
        pid = 1000 + len(self.commands)
        if self.deaths:
            output.write_text(self.deaths.pop(0))
        else:
            output.write_text("")
            self.processes[pid] = list(command)
        return pid

    def find(self, arguments: Sequence[str]) -> int | None:
        wanted = list(arguments)
        found = [pid for pid, line in self.processes.items() if line[-len(wanted) :] == wanted]
        return found[0] if found else None

    def end(self, pid: int, *, force: bool) -> None:
        self.signals.append((pid, force))
        if force or not self.deaf_to_terminate:
            self.processes.pop(pid, None)

    def free_port(self, preferred: int) -> int:
        if preferred and preferred not in self.taken_ports:
            return preferred
        self._next_port += 1
        return self._next_port

    def now_s(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds

    def probe(self, bootstrap: str, *, timeout_s: float, properties: object = None) -> Cluster:
        """Answer for brokers among the processes, as their properties say."""
        del properties
        for line in self.processes.values():
            folder = Path(line[-1]).parent
            listening = f"listeners=PLAINTEXT://{bootstrap}," in Path(line[-1]).read_text()
            if listening and (folder / "data/meta.properties").exists():
                return Cluster(_cluster_id(folder), 1)
        self.time_s += timeout_s
        raise BrokerUnavailable(f"nothing at {bootstrap}")


def java(command: list[str]) -> Completed:
    """Answer as Java 17 with Kafka's storage tool."""
    if command[1] == "-version":
        return JAVA_17
    properties = Path(command[-1])
    data = Path(re.findall(r"^log.dirs=(.*)$", properties.read_text(), re.MULTILINE)[0])
    data.mkdir(parents=True, exist_ok=True)
    cluster_id = command[command.index("-t") + 1]
    (data / "meta.properties").write_text(f"#\nversion=1\ncluster.id={cluster_id}\n")
    return Completed(0, "Formatting")


def maven(command: list[str]) -> Completed:
    """Answer as a Maven that copies one jar."""
    target = next(part for part in command if part.startswith("-DoutputDirectory="))
    folder = Path(target.partition("=")[2])
    (folder / "kafka.jar").write_bytes(b"jar")
    return Completed(0, "")


def _cluster_id(folder: Path) -> str:
    text = (folder / "data/meta.properties").read_text()
    return str(re.findall(r"^cluster.id=(.*)$", text, re.MULTILINE)[0])
