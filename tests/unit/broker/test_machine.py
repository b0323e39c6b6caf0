"""The real machine: programs, processes, ports; and the probe of an address."""

import socket
import sys
import time
from pathlib import Path

import pytest

from pipeline.broker import ThisMachine, probe
from pipeline.errors import BrokerUnavailable

_SLEEPER = "import time; print('up', flush=True); time.sleep(60)"


def test_run_returns_code_and_both_streams() -> None:
    """A program's exit code and everything it printed come back."""
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"

    done = ThisMachine().run([sys.executable, "-c", code], timeout_s=30)

    assert 3 == done.code
    assert {"out", "err"} == set(done.output.split())


def test_run_gives_up_in_time() -> None:
    """A program that does not end in time is stopped and gives 124; a missing one gives 127."""
    machine = ThisMachine()

    assert 124 == machine.run([sys.executable, "-c", _SLEEPER], timeout_s=0.2).code
    assert 127 == machine.run(["/no/such/program"], timeout_s=1).code


def test_spawned_process_is_found_until_it_ends(tmp_path: Path) -> None:
    """A process is found by the end of its command line, and no longer once it ended."""
    machine, arguments = ThisMachine(), ["marker", str(tmp_path)]
    pid = machine.spawn([sys.executable, "-c", _SLEEPER, *arguments], tmp_path / "out")
    try:
        assert pid == _eventually(lambda: machine.find(arguments), pid)
    finally:
        machine.end(pid, force=True)

    assert _eventually(lambda: machine.find(arguments), None) is None
    machine.end(pid, force=False)


def test_free_port_is_the_preferred_one_unless_taken() -> None:
    """A port that something listens on is never returned."""
    machine = ThisMachine()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert port != machine.free_port(port)
    assert port == machine.free_port(port)


def test_java_home_comes_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Java of JAVA_HOME is used even where another is on PATH."""
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.touch(mode=0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert str(java) == ThisMachine().which("java")


@pytest.mark.parametrize("bootstrap", ["127.0.0.1:1", "127.0.0.1:1,localhost:1", "127.0.0.1:99999"])
def test_probe_of_nothing_says_so_at_once(bootstrap: str) -> None:
    """A refused connection is an error that names the address, without waiting out the time."""
    started_s = time.monotonic()

    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:"):
        probe(bootstrap, timeout_s=30)

    assert 15 > time.monotonic() - started_s


def test_probe_of_something_else_ends_in_time() -> None:
    """What accepts connections and does not speak Kafka is an error after the timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        with pytest.raises(BrokerUnavailable, match=r"does not answer as one within 0\.5 s"):
            probe(f"127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.5)


def _eventually(read: object, expected: object) -> object:
    deadline_s = time.monotonic() + 10
    while (actual := read()) != expected and time.monotonic() < deadline_s:  # type: ignore[operator]  # any function
        time.sleep(0.01)
    return actual
