"""The ways in: signal and local HTTP, in this process and in one whose main thread hangs."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.control.latch import Latch
from pipeline.control.out_of_band import OutOfBand, halt_here, health_here, log_level_here
from pipeline.control.pulse import Pulse
from pipeline.control.reader import ControlReader
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings, load_settings
from tests.unit.control.memory_log import BOOTSTRAP, MemoryBroker, eventually

# Reads a log that says ACTIVE, lets itself be halted, and hangs in a call of C that only the end of
# the process interrupts. Its other threads print what a submit would be told.
_HANGS = """
import ctypes, sys, threading, time
from pathlib import Path
from pipeline.control.out_of_band import out_of_band
from pipeline.control.reader import ControlReader
from pipeline.settings import load_settings
from tests.unit.control.memory_log import BOOTSTRAP, MemoryBroker

settings = load_settings(home=Path(sys.argv[1]), control_echo_timeout_s=60.0)
reader = ControlReader(settings, open_log=MemoryBroker(BOOTSTRAP).open)
reader.start()
assert reader.wait_ready(20.0)
out_of_band(settings).attach("gateway", reader)

def tell():
    last = ""
    while True:
        state = str(reader.view().trading_state)
        if state != last:
            print(state, flush=True)
            last = state
        time.sleep(0.005)

threading.Thread(target=tell, daemon=True).start()
pause = ctypes.CDLL(None).sleep
while True:
    pause(600)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home of the test's own."""
    return load_settings(home=tmp_path, control_echo_timeout_s=60.0)


@pytest.fixture
def reader(settings: Settings) -> Iterator[ControlReader]:
    """A reader that says ACTIVE."""
    with ControlReader(settings, open_log=MemoryBroker(BOOTSTRAP).open) as reader:
        assert reader.wait_ready(20.0)
        yield reader


@pytest.fixture
def ways_in(settings: Settings, reader: ControlReader) -> Iterator[OutOfBand]:
    """The HTTP way into this process; the signal's is tried in another."""
    ways_in = OutOfBand(settings)
    ways_in._serve_once()
    ways_in._readers["risk"] = reader
    ways_in._register()
    yield ways_in
    ways_in.close()


def _folder(settings: Settings) -> Path:
    return settings.home / "halt" / "default"


def _call(
    settings: Settings, path: str, token: str | None, body: bytes | None = None
) -> tuple[int, dict[str, Any]]:
    port = json.loads((_folder(settings) / f"{os.getpid()}.json").read_text())["port"]
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20.0) as answer:  # noqa: S310  # our own
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def _token(settings: Settings) -> str:
    return (_folder(settings) / "token").read_text()


def test_a_local_call_halts(settings: Settings, ways_in: OutOfBand, reader: ControlReader) -> None:
    """The answer says what the worker acts on; the halt is on file with its author and reason."""
    token = _token(settings)
    assert _call(settings, "/state", token)[1]["trading_state"] == {"risk": "ACTIVE"}
    status, said = _call(settings, "/halt", token, b'{"author": "me", "reason": "smoke"}')
    assert (status, said["trading_state"]) == (200, {"risk": "HALTED"})
    assert reader.view().reason == "latched on this machine by me: smoke"
    assert Latch.of(settings).read().local


def test_the_health_of_what_runs_here_is_told(settings: Settings, ways_in: OutOfBand) -> None:
    """Bystanders answer too, and are none of those who obey a halt."""
    ways_in._readers.clear()
    ways_in.watch("monitor", Pulse(current=lambda: False))

    (found,) = health_here(settings)
    assert (os.getpid(), "") == (found.pid, found.error)
    assert not found.pulses["monitor"].control_current
    assert [] == halt_here(settings, "me", "smoke")
    assert 401 == _call(settings, "/health", "wrong")[0]


def test_what_is_logged_can_be_changed(settings: Settings, ways_in: OutOfBand) -> None:
    """By name of what runs, from another process; a level that there is not is refused."""
    ways_in.watch("risk", Pulse())
    root, before = logging.getLogger(), logging.getLogger().level
    try:
        assert [(os.getpid(), "")] == log_level_here(settings, "ERROR", "risk")
        assert logging.ERROR == root.level
        assert [] == log_level_here(settings, "DEBUG", "tactical")
        assert "Expected one of" in log_level_here(settings, "LOUD")[0][1]
        assert logging.ERROR == root.level
    finally:
        root.setLevel(before)


@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_nobody_calls_without_the_token(
    settings: Settings, ways_in: OutOfBand, token: str | None
) -> None:
    """Neither another user nor a page in a browser has it."""
    for path, body in (("/halt", b"{}"), ("/state", None)):
        assert _call(settings, path, token, body)[0] == 401
    assert not Latch.of(settings).read().local


def test_the_token_is_for_its_owner_alone(settings: Settings, ways_in: OutOfBand) -> None:
    """Folder and token can be read by nobody else, and one that others can read is refused."""
    token = _folder(settings) / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    token.chmod(0o644)
    with pytest.raises(ConfigurationError, match="mode 0600"):
        halt_here(settings, "me", "smoke")
    assert Latch.of(settings).read().local  # the latch needs no token


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/resume", b"{}", 404), ("/halt", b"[1]", 400), ("/halt", b"{", 400), ("/x", None, 404)],
)
def test_calls_that_mean_nothing_do_nothing(
    settings: Settings, ways_in: OutOfBand, path: str, body: bytes | None, status: int
) -> None:
    """What is no halt is refused; there is no way to resume from here."""
    assert _call(settings, path, _token(settings), body)[0] == status
    assert not Latch.of(settings).read().local


def test_the_port_is_on_loopback_alone(ways_in: OutOfBand) -> None:
    """No other machine can call."""
    assert ways_in._server is not None
    assert ways_in._server.server_address[0] == "127.0.0.1"


def test_halting_this_machine_hears_from_each_worker(
    settings: Settings, ways_in: OutOfBand
) -> None:
    """The answers of the live are returned; files of the dead are taken away."""
    dead = _folder(settings) / "999999999.json"
    dead.write_text(json.dumps({"pid": 999_999_999, "port": 1, "stages": ["risk"]}))
    (answer,) = halt_here(settings, "me", "smoke")
    assert (answer.pid, answer.stages) == (os.getpid(), ("risk",))
    assert answer.trading_state == "HALTED"
    assert not dead.exists()


def test_without_workers_the_latch_alone_halts(settings: Settings) -> None:
    """A worker that starts later obeys."""
    assert halt_here(settings, "me", "smoke") == []
    assert Latch.of(settings).read().holds(1_000_000)


def test_a_latch_that_cannot_be_written_halts_this_process(
    settings: Settings, ways_in: OutOfBand, reader: ControlReader
) -> None:
    """The caller is told, and nothing goes out here."""
    latch = settings.home / "latch"
    for each in latch.iterdir():
        each.unlink()
    latch.rmdir()
    latch.write_text("in the way")
    status, said = _call(settings, "/halt", _token(settings), b"{}")
    assert (status, said["trading_state"]) == (500, {"risk": "HALTED"})
    latch.unlink()
    assert reader.view().trading_state == "HALTED"


@pytest.mark.parametrize("how", ["signal", "local call"])
def test_a_process_that_hangs_is_halted(settings: Settings, how: str) -> None:
    """Whatever the main thread does, the next submit is told HALTED."""
    command = [sys.executable, "-c", _HANGS, str(settings.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ACTIVE\n"
            if how == "signal":
                process.send_signal(signal.SIGUSR2)
            else:
                (answer,) = halt_here(settings, "me", "smoke")
                assert answer.trading_state == "HALTED"
            assert process.stdout.readline() == "HALTED\n"
            assert process.poll() is None
        finally:
            process.kill()
    eventually(lambda: Latch.of(settings).read().local)
    if how == "signal":
        assert Latch.of(settings).read().author == f"SIGUSR2 to process {process.pid}"
