"""The seam to this machine: programs, processes, ports and time."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

__all__ = ["Completed", "Machine", "ThisMachine"]

# Children outlive the object that started them: forgetting one leaves it unreaped.
_children: dict[int, subprocess.Popen[bytes]] = {}

_NO_ANSWER = 124
_NO_PROGRAM = 127


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended.

    Attributes:
        code: Exit code; 124 for one that did not end in time, 127 for one that could not start.
        output: What it printed, both streams.
    """

    code: int
    output: str


class Machine(Protocol):
    """What finding and starting a broker needs of the machine it is on."""

    def which(self, program: str) -> str | None:
        """Return the path of a program, None where there is none."""
        ...

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a program to its end, for at most `timeout_s` seconds."""
        ...

    def spawn(self, command: Sequence[str], output: Path) -> int:
        """Start a program that outlives this one, in a session of its own; return its pid."""
        ...

    def find(self, arguments: Sequence[str]) -> int | None:
        """Return the pid of the process whose command line ends with `arguments`."""
        ...

    def end(self, pid: int, *, force: bool) -> None:
        """Ask a process to end, or make it; one that is gone is no error."""
        ...

    def free_port(self, preferred: int) -> int:
        """Return a port that is free on 127.0.0.1: the preferred one, or any."""
        ...

    def now_s(self) -> float:
        """Return seconds of a clock that only runs forward."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class ThisMachine:
    """The machine this process is on."""

    def which(self, program: str) -> str | None:
        """Return the path of a program; `java` of JAVA_HOME before that of PATH."""
        java_home = os.environ.get("JAVA_HOME")
        if program == "java" and java_home:
            return shutil.which(str(Path(java_home) / "bin" / "java")) or shutil.which(program)
        return shutil.which(program)

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a program to its end, for at most `timeout_s` seconds."""
        try:
            done = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Completed(_NO_ANSWER, f"no answer within {timeout_s:g} s")
        except OSError as error:
            return Completed(_NO_PROGRAM, str(error))
        return Completed(done.returncode, done.stdout.decode(errors="replace").strip())

    def spawn(self, command: Sequence[str], output: Path) -> int:
        """Start a program that outlives this one, in a session of its own; return its pid."""
        with output.open("wb") as sink:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C and the end of a terminal pass it by
            )
        _children[child.pid] = child
        return child.pid

    def find(self, arguments: Sequence[str]) -> int | None:
        """Return the pid of the process whose command line ends with `arguments`."""
        _reap()
        wanted = list(arguments)
        # Not by process_iter: it skips a process whose pid another one had when it last looked.
        for pid in psutil.pids():
            try:
                line = psutil.Process(pid).cmdline()
            except psutil.Error:
                continue
            if line[-len(wanted) :] == wanted:
                return int(pid)
        return None

    def end(self, pid: int, *, force: bool) -> None:
        """Ask a process to end, or make it; one that is gone is no error."""
        try:
            os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)
        except ProcessLookupError:
            _reap()

    def free_port(self, preferred: int) -> int:
        """Return a port that is free on 127.0.0.1: the preferred one, or any."""
        for port in (preferred, 0):
            with socket.socket() as candidate:
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    candidate.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return int(candidate.getsockname()[1])
        raise OSError("Expected a free port on 127.0.0.1, was none")

    def now_s(self) -> float:
        """Return seconds of a clock that only runs forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def _reap() -> None:
    """Collect children that ended: until then the system lists them as if they ran."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            _children.pop(pid, None)
