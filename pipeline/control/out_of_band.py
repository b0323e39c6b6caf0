"""Halting and probing a worker from outside, with no broker and whatever its event loop does.

Two ways in to halt, each on a thread of its own, both ending in the latch that every order plan
and every submit looks at:

- SIGUSR2 to the process: `kill -USR2 PID`.
- A local HTTP call: `POST /halt` on a port of 127.0.0.1, with the token as bearer.

`GET /health` on the same port has the pulse of what runs in the process (`pipeline.control.pulse`).

Under `CASCADE_HOME/halt/NAMESPACE` (mode 0700) lie the token (mode 0600) and for each process a
file `PID.json` with its port, so `workers_here` finds them. Without the token neither another user
of the machine nor a page in a browser can call; a page cannot read it, and could not send the
header to another origin either.
"""

import contextlib
import faulthandler
import hmac
import json
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from pipeline.control.latch import Latch
from pipeline.control.pulse import Pulse, PulseReading
from pipeline.control.reader import ControlReader
from pipeline.errors import ConfigurationError
from pipeline.log_lines import set_level
from pipeline.settings import Settings

__all__ = [
    "HALT_SIGNAL",
    "LOG_LEVELS",
    "Health",
    "LocalAnswer",
    "OutOfBand",
    "halt_here",
    "health_here",
    "log_level_here",
    "out_of_band",
]

_logger = logging.getLogger(__name__)

HALT_SIGNAL = signal.SIGUSR2
"""Halts the worker that it is sent to, and all of its machine and namespace with it."""

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_LOOPBACK = "127.0.0.1"
_TIMEOUT_S = 2.0
_MOST_BODY = 8192
_LONGEST = 500
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """What a worker of this machine answered.

    Attributes:
        pid: Its process.
        stages: What it runs.
        trading_state: What it acts on from then on; empty where it did not answer.
        error: Why there is no answer; empty where there is one.
    """

    pid: int
    stages: tuple[str, ...]
    trading_state: str
    error: str = ""


class Health(msgspec.Struct, frozen=True):
    """What a worker of this machine says of its health.

    Attributes:
        pid: Its process.
        pulses: Signs of life by the name of what runs in it.
        error: Why it does not say; empty where it does.
    """

    pid: int
    pulses: dict[str, PulseReading]
    error: str = ""


class OutOfBand:
    """The ways in of one process.

    Args:
        settings: Home and namespace.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = _folder(settings)
        self._latch = Latch.of(settings)
        self._lock = threading.Lock()
        self._readers: dict[str, ControlReader] = {}
        self._pulses: dict[str, Pulse] = {}
        self._server: ThreadingHTTPServer | None = None

    def attach(self, stage: str, reader: ControlReader) -> None:
        """Halt a stage of this process too; opens the ways in with the first."""
        with self._lock:
            if not self._readers:
                self._listen_to_signal()
            self._serve_once()
            self._readers[stage] = reader
            self._register()

    def watch(self, name: str, pulse: Pulse) -> None:
        """Answer for the health of what runs in this process as `name`."""
        with self._lock:
            self._serve_once()
            self._pulses[name] = pulse
            self._register()

    def halt(self, author: str, reason: str) -> None:
        """Halt, on the disk when this returns; this process at least, where it cannot be written.

        Raises:
            ConfigurationError: If the latch could not be written.
        """
        try:
            self._latch.halt(reason, author)
        except ConfigurationError:
            for reader in list(self._readers.values()):
                reader.latch.hold(reason, author)
            _logger.exception("halted in this process alone, by %s: %s", author, reason)
            raise
        _logger.warning("halted on this machine by %s: %s", author, reason)

    def state(self) -> dict[str, Any]:
        """Return what this process acts on, by stage."""
        views = {stage: reader.view() for stage, reader in list(self._readers.items())}
        return {
            "pid": os.getpid(),
            "trading_state": {stage: view.trading_state for stage, view in views.items()},
            "reason": next((view.reason for view in views.values()), ""),
        }

    def health(self) -> dict[str, Any]:
        """Return the pulse of all that runs in this process, by name."""
        readings = {name: pulse.read() for name, pulse in list(self._pulses.items())}
        return {"pid": os.getpid(), "pulses": msgspec.to_builtins(readings)}

    def log_level(self, level: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """Log from a level on, until told otherwise; return what is answered."""
        if level not in LOG_LEVELS:
            error = f"Expected one of {', '.join(LOG_LEVELS)}, was {level[:_LONGEST]!r}"
            return HTTPStatus.BAD_REQUEST, {"error": error}
        set_level(level)
        _logger.log(logging.getLevelName(level), "log_level_set level=%s", level)
        return HTTPStatus.OK, {"pid": os.getpid(), "level": level}

    def close(self) -> None:
        """Close the ways in; the latch stays as it is."""
        with self._lock, contextlib.suppress(OSError):
            server, self._server = self._server, None
            if server is not None:
                server.shutdown()
                server.server_close()
            self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self._folder / f"{os.getpid()}.json"

    def _register(self) -> None:
        if self._server is not None:
            port = self._server.server_address[1]
            content = {"pid": os.getpid(), "port": port, "stages": list(self._readers)}
            draft = self._file.with_suffix(".new")
            draft.write_text(json.dumps(content), encoding="utf-8")
            draft.replace(self._file)

    def _serve_once(self) -> None:
        if self._server is not None:
            return
        try:
            token = _token(self._folder)
            handler = type("_Bound", (_Handler,), {"owner": self, "token": token})
            self._server = ThreadingHTTPServer((_LOOPBACK, 0), handler)
        except (OSError, ConfigurationError) as error:
            # The worker still obeys the control log, the latch and the signal.
            _logger.error("no local halt by HTTP: %s", error)  # noqa: TRY400  # the reason says it all
            return
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="halt-http", daemon=True).start()

    def _listen_to_signal(self) -> None:
        """Have the signal end in the latch.

        A handler in Python runs on the main thread, and so not while that hangs in a call. This
        one is C code, which writes to a pipe at once where each thread stands; the thread at the
        other end halts, and logs what it read.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # a component in somebody's program: its signals are not ours
        read_end, write_end = os.pipe()
        faulthandler.register(HALT_SIGNAL, file=write_end, all_threads=True)
        threading.Thread(
            target=self._follow, args=(read_end,), name="halt-signal", daemon=True
        ).start()

    def _follow(self, read_end: int) -> None:
        while stacks := os.read(read_end, 1 << 20):
            with contextlib.suppress(ConfigurationError):
                self.halt(f"{HALT_SIGNAL.name} to process {os.getpid()}", "signal")
            _logger.warning("at the signal:\n%s", stacks.decode(errors="replace"))


class _Handler(BaseHTTPRequestHandler):
    owner: OutOfBand
    token: str
    timeout = _TIMEOUT_S

    def do_POST(self) -> None:
        """Answer `POST /halt` and `POST /log-level`.

        The body of the first may name author and reason, that of the other names the level.
        """
        wanted = "/log-level" if self.path == "/log-level" else "/halt"
        if not self._admitted(wanted):
            return
        try:
            said = self._body()
        except (ValueError, TypeError, OSError, RecursionError):
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "Expected a JSON object, was none"})
            return
        if wanted == "/log-level":
            self._answer(*self.owner.log_level(str(said.get("level"))))
            return
        author = str(said.get("author") or "local HTTP")[:_LONGEST]
        reason = str(said.get("reason") or "halted by a local call")[:_LONGEST]
        try:
            self.owner.halt(author, reason)
        except ConfigurationError as error:
            content = {**self.owner.state(), "error": str(error)}
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, content)
            return
        self._answer(HTTPStatus.OK, self.owner.state())

    def do_GET(self) -> None:
        """Answer `GET /state` and `GET /health`."""
        if self.path == "/health" and self._admitted("/health"):
            self._answer(HTTPStatus.OK, self.owner.health())
        elif self.path != "/health" and self._admitted("/state"):
            self._answer(HTTPStatus.OK, self.owner.state())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Log as everything else is logged."""
        _logger.debug(format, *args)

    def _admitted(self, path: str) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(given.encode(), self.token.encode()):
            self._answer(HTTPStatus.UNAUTHORIZED, {"error": "Expected the token as bearer"})
            return False
        if self.path != path:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"Expected {path}, was {self.path}"})
            return False
        return True

    def _body(self) -> Mapping[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _MOST_BODY:
            raise ValueError(length)
        said = json.loads(self.rfile.read(length)) if length else {}
        if not isinstance(said, dict):
            raise TypeError(said)
        return said

    def _answer(self, status: HTTPStatus, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_ours: dict[Path, OutOfBand] = {}
_ours_lock = threading.Lock()


def out_of_band(settings: Settings) -> OutOfBand:
    """Return the ways in of this process for a namespace; one for all its stages."""
    with _ours_lock:
        return _ours.setdefault(_folder(settings), OutOfBand(settings))


def halt_here(settings: Settings, author: str, reason: str) -> list[LocalAnswer]:
    """Halt all workers of this machine and namespace, with no broker; return their answers.

    The latch halts them all; the calls are there to hear from each that it obeys.

    Raises:
        ConfigurationError: If the latch cannot be written.
    """
    Latch.of(settings).halt(reason, author)
    folder = _folder(settings)
    if not folder.is_dir():
        return []
    token = _token(folder)
    body = json.dumps({"author": author, "reason": reason}).encode()
    return [_halted(each, token, body) for each in _processes(folder) if each.stages]


def log_level_here(settings: Settings, level: str, name: str = "") -> list[tuple[int, str]]:
    """Have worker processes of this machine and namespace log from a level on.

    Args:
        settings: Home and namespace.
        level: The level.
        name: Only those in which a stage or worker of that name runs; all where empty.

    Returns:
        Process ids, with why one did not; empty where it did.

    Raises:
        ConfigurationError: If the token is not our own.
    """
    folder = _folder(settings)
    if not folder.is_dir():
        return []
    token = _token(folder)
    body = json.dumps({"level": level}).encode()
    found = []
    for each in _processes(folder):
        if name in ("", *_health(each, token).pulses):
            try:
                error = str(_called(each, token, "POST", "/log-level", body).get("error", ""))
            except (OSError, HTTPException, ValueError) as failure:
                error = repr(failure)
            found.append((each.pid, error))
    return found


def health_here(settings: Settings) -> list[Health]:
    """Return what each worker process of this machine and namespace says of its health.

    Raises:
        ConfigurationError: If the token is not our own.
    """
    folder = _folder(settings)
    if not folder.is_dir():
        return []
    token = _token(folder)
    return [_health(each, token) for each in _processes(folder)]


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    port: int
    stages: tuple[str, ...]


def _processes(folder: Path) -> Iterator[_Process]:
    """Yield the processes that live; the files of others are removed."""
    for path in sorted(folder.glob("*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            found = _Process(int(said["pid"]), int(said["port"]), tuple(said["stages"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if _alive(found.pid):
            yield found
        else:
            path.unlink(missing_ok=True)


def _halted(process: _Process, token: str, body: bytes) -> LocalAnswer:
    try:
        content = _called(process, token, "POST", "/halt", body)
    except (OSError, HTTPException, ValueError) as error:
        return LocalAnswer(process.pid, process.stages, "", repr(error))
    states = content.get("trading_state") or {}
    worst = next((each for each in states.values() if each != "HALTED"), "HALTED")
    return LocalAnswer(
        process.pid, process.stages, worst if states else "", str(content.get("error", ""))
    )


def _health(process: _Process, token: str) -> Health:
    try:
        return msgspec.convert(_called(process, token, "GET", "/health"), Health)
    except (OSError, HTTPException, ValueError, msgspec.ValidationError) as error:
        return Health(process.pid, {}, repr(error))


def _called(process: _Process, token: str, method: str, path: str, body: bytes = b"") -> Any:
    connection = HTTPConnection(_LOOPBACK, process.port, timeout=_TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, body or None, headers)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _folder(settings: Settings) -> Path:
    return settings.home.absolute() / "halt" / (settings.namespace or "default")


def _token(folder: Path) -> str:
    """Return the token of a namespace on this machine, made where there is none.

    Raises:
        ConfigurationError: If others may read it: then it is none.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "token"
    draft = folder / f"token.{os.getpid()}.{secrets.token_hex(4)}"
    if not path.exists():
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # the first of several workers wins
        draft.unlink()
    status = path.stat()
    if status.st_mode & _OTHERS or status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"Expected {path} to be of mode 0600 and our own, was {status.st_mode & 0o777:04o} of"
            f" user {status.st_uid}. Delete it; the next worker makes another."
        )
    return path.read_text(encoding="utf-8")
