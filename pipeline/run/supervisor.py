"""Keeps worker processes running: starts, watches, restarts, replaces and stops them.

One thread does it all, since on Linux a worker dies with the thread that started it (see
`pipeline.run.child`). A worker that ends unasked is started again after a pause of 0.2 s, which
doubles with each time up to 5 s, and starts anew after 30 s of life.
"""

import contextlib
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from pipeline.errors import ConfigurationError, UsageError
from pipeline.run.child import bound
from pipeline.run.workers import WorkerSpec

__all__ = ["EventKind", "Supervisor", "WorkerEvent", "WorkerStatus"]

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_SETTLED_S = 30.0
_WATCH_S = 0.05
_LOOK_S = 0.02
# A standby joins its group before the worker that it replaces leaves: importing takes that long.
_STANDBY_S = 2.0
_RETIRE_S = 2.0
# Less than a group waits for a member that hangs, or its partitions would stand still for longer.
_SCALED_AWAY_S = 5.0


class EventKind(StrEnum):
    """What happened to a worker."""

    STARTED = "started"
    EXITED = "exited"
    KILLED = "killed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """A change in a worker's life.

    Attributes:
        worker: Its name.
        stages: Its stages.
        kind: What happened.
        pid: The process concerned.
        exit_code: How it ended; negative for a signal, None where it has not.
        pause_s: For EXITED, seconds until it is started again.
        time_us: When, microseconds since the Unix epoch, UTC.
    """

    worker: str
    stages: tuple[str, ...]
    kind: EventKind
    pid: int
    exit_code: int | None = None
    pause_s: float = 0.0
    time_us: int = 0


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as it stands.

    Attributes:
        name: Its name.
        stages: Its stages.
        pid: Its process; None while there is none.
        restarts: How often it was started again.
        exit_codes: How its processes ended, in order.
        exits: How often they ended unasked.
    """

    name: str
    stages: tuple[str, ...]
    pid: int | None
    restarts: int
    exit_codes: tuple[int, ...]
    exits: int = 0


@dataclass(slots=True)
class _Worker:
    spec: WorkerSpec
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    start_at_s: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    starts: int = 0
    exits: int = 0
    asked: bool = False
    retired: bool = False
    end_by_s: float = math.inf
    exit_codes: list[int] = field(default_factory=list)


class Supervisor:
    """Supervises worker processes of one machine.

    Args:
        specs: The workers.
        environment: Their environment, or what returns that of one of them.
        log_folder: Where each gets its log file, `NAME.log`; made where missing.
        on_event: Told of every change, on the supervising thread.
        monotonic: Seconds that only run forward.

    Raises:
        ConfigurationError: If the log folder cannot be made.
    """

    def __init__(
        self,
        specs: Sequence[WorkerSpec],
        *,
        environment: Mapping[str, str] | Callable[[WorkerSpec], Mapping[str, str]],
        log_folder: Path,
        on_event: Callable[[WorkerEvent], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment = environment if callable(environment) else lambda _: environment
        self._log_folder = log_folder
        self._on_event = on_event
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._workers = [_Worker(spec) for spec in specs]
        self._stopping = threading.Event()
        self._deadline_s = 0.0
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        try:
            log_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"Expected a folder for logs at {log_folder}, was: {error}. Set CASCADE_HOME to a"
                " folder that can be written."
            ) from error

    @property
    def restarts(self) -> int:
        """How often workers were started again, all together."""
        return sum(status.restarts for status in self.workers())

    def start(self) -> None:
        """Start all workers; returns at once."""
        self._thread.start()

    def stop(self, deadline_s: float = 10.0) -> None:
        """End all workers and return when none is left.

        Each gets SIGTERM, and SIGKILL if it still lives after `deadline_s`. Called again meanwhile,
        an earlier deadline counts.
        """
        at_s = self._monotonic() + deadline_s
        self._deadline_s = min(self._deadline_s, at_s) if self._stopping.is_set() else at_s
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def kill(self, stage: str) -> WorkerEvent:
        """Kill the first living worker of a stage with SIGKILL; it is started again.

        Raises:
            UsageError: If no worker of that stage lives.
        """
        with self._lock:
            for worker in self._workers:
                if stage in worker.spec.stages and worker.process is not None:
                    event = _event(worker, EventKind.KILLED, worker.process.pid)
                    _signal(worker.process, signal.SIGKILL)
                    break
            else:
                names = sorted({name for each in self._workers for name in each.spec.stages})
                raise UsageError(
                    f"Expected a living worker to kill, of {', '.join(names)}, was {stage!r}"
                )
        self._on_event(event)
        return event

    def restart(self, stage: str, timeout_s: float = 10.0) -> list[str]:
        """Kill all workers of a stage and start them again at once; return their names.

        SIGKILL, since one that hangs obeys nothing else, and a stage loses nothing by it.

        Raises:
            UsageError: If there is no worker of that stage, or none starts in time.
        """
        with self._lock:
            chosen = self._of(stage)
            before = {each.spec.name: each.starts for each in chosen}
            for worker in chosen:
                worker.asked, worker.pause_s, worker.start_at_s = True, 0.0, 0.0
                if worker.process is not None:
                    _signal(worker.process, signal.SIGKILL)
        self._await(
            lambda: all(each.starts > before[each.spec.name] for each in chosen),
            f"workers of {stage} to start again", timeout_s,
        )  # fmt: skip
        return list(before)

    def reroute(self, stage: str, timeout_s: float = 20.0) -> list[str]:
        """Start a standby of each worker of a stage, then end those workers; return the standbys.

        The group hands the partitions over. A worker of several stages is replaced in all.

        Raises:
            UsageError: If there is no worker of that stage, or no standby lives in time.
        """
        with self._lock:
            chosen = self._of(stage)
            standbys = [_Worker(self._standby_of(each.spec)) for each in chosen]
            self._workers = [*self._workers, *standbys]
        self._await(
            lambda: all(self._lives(each) for each in standbys), f"standbys of {stage}", timeout_s
        )
        with self._lock:
            for worker in chosen:
                worker.retired = worker.asked = True
                if worker.process is not None:
                    _signal(worker.process, signal.SIGTERM)
        gone = lambda: all(each.process is None for each in chosen)  # noqa: E731  # used twice
        try:
            self._await(gone, f"workers of {stage} to end", _RETIRE_S)
        except UsageError:
            with self._lock:
                self._signal_all(chosen, signal.SIGKILL)
            self._await(gone, f"workers of {stage} to end", _RETIRE_S)
        return [each.spec.name for each in standbys]

    def scale(self, stage: str, count: int) -> tuple[list[str], list[str]]:
        """Have a stage run on so many workers; return the names of those (started, ended).

        The group shares the partitions out anew. The youngest end first, by SIGTERM, and
        where that does not end one by SIGKILL; nothing is waited for.

        Raises:
            UsageError: If there is no worker of that stage, or they run other stages too, or none
                is to be left.
        """
        with self._lock:
            chosen = self._of(stage)
            if count < 1 or any(each.spec.stages != (stage,) for each in chosen):
                raise UsageError(
                    f"Expected at least one worker of {stage} alone, was {count} of"
                    f" {', '.join(each.spec.name for each in chosen)}"
                )
            added = [self._another(chosen[0].spec) for _ in range(count - len(chosen))]
            for worker in chosen[count:]:
                worker.retired = worker.asked = True
                worker.end_by_s = self._monotonic() + _SCALED_AWAY_S
                if worker.process is not None:
                    _signal(worker.process, signal.SIGTERM)
        return [each.spec.name for each in added], [each.spec.name for each in chosen[count:]]

    def _another(self, spec: WorkerSpec) -> _Worker:
        """Add one more worker as another one; the lock is held."""
        base = f"{spec.stages[0]}-auto-"
        number = sum(each.spec.name.startswith(base) for each in self._workers) + 1
        worker = _Worker(replace(spec, name=f"{base}{number}"))
        self._workers = [*self._workers, worker]
        return worker

    def _of(self, stage: str) -> list[_Worker]:
        """Return the workers of a stage that are to run; the lock is held."""
        found = [w for w in self._workers if stage in w.spec.stages and not w.retired]
        if not found:
            raise UsageError(f"Expected a stage that has workers here, was {stage!r}")
        return found

    def _standby_of(self, spec: WorkerSpec) -> WorkerSpec:
        base = spec.name.partition("-standby-")[0]
        number = sum(each.spec.name.startswith(f"{base}-standby-") for each in self._workers) + 1
        return replace(spec, name=f"{base}-standby-{number}", command=spec.standby or spec.command)

    def _lives(self, worker: _Worker) -> bool:
        with self._lock:
            lived_s = self._monotonic() - worker.started_s
            return worker.process is not None and lived_s >= _STANDBY_S

    def _await(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        until_s = self._monotonic() + timeout_s
        while not condition():
            if self._stopping.is_set() or self._monotonic() > until_s:
                raise UsageError(f"Expected {what} within {timeout_s:g} s, was not")
            time.sleep(_LOOK_S)

    def workers(self) -> list[WorkerStatus]:
        """Return all workers as they stand; those that were replaced are left out."""
        with self._lock:
            return [
                WorkerStatus(
                    each.spec.name,
                    each.spec.stages,
                    each.process.pid if each.process is not None else None,
                    max(0, each.starts - 1),
                    tuple(each.exit_codes),
                    each.exits,
                )
                for each in self._workers
                if not each.retired
            ]

    def log_file(self, worker: str) -> Path:
        """Return where a worker's output goes."""
        return self._log_folder / f"{worker}.log"

    # -- on the supervising thread -------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            for worker in self._workers:
                self._look_after(worker)
            self._stopping.wait(_WATCH_S)
        self._end_all()

    def _look_after(self, worker: _Worker) -> None:
        if worker.process is None:
            if self._monotonic() >= worker.start_at_s and not worker.retired:
                self._start(worker)
        elif (ended := self._reap(worker)) is None:
            if self._monotonic() >= worker.end_by_s:
                _signal(worker.process, signal.SIGKILL)
        elif worker.retired:
            self._on_event(_event(worker, EventKind.STOPPED, *ended))
        else:
            self._restart_later(worker, *ended)

    def _start(self, worker: _Worker) -> None:
        try:
            process = self._spawn(worker.spec)
        except OSError as error:  # no processes left, no log file: as bad as one that fell over
            worker.exit_codes.append(error.errno or 1)
            self._restart_later(worker, 0, error.errno or 1)
            return
        with self._lock:
            worker.process = process
            worker.started_s = self._monotonic()
            worker.starts += 1
            worker.asked = False
        self._on_event(_event(worker, EventKind.STARTED, process.pid))

    def _spawn(self, spec: WorkerSpec) -> subprocess.Popen[bytes]:
        with self.log_file(spec.name).open("ab") as log:
            return subprocess.Popen(
                bound(spec.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self._environment(spec), "CASCADE_INSTANCE": spec.name},
                # Ctrl-C in the terminal goes to us alone; we stop the workers in order.
                start_new_session=True,
            )

    def _reap(self, worker: _Worker) -> tuple[int, int] | None:
        """Return (process id, exit code) of a worker's process that ended, and forget it."""
        # Locked, so that `kill` never signals a process id that has been given to another.
        with self._lock:
            process = worker.process
            if process is None or (code := process.poll()) is None:
                return None
            worker.process = None
            worker.exit_codes.append(code)
            worker.exits += not worker.asked
        return process.pid, code

    def _restart_later(self, worker: _Worker, pid: int, code: int) -> None:
        now_s = self._monotonic()
        if now_s - worker.started_s >= _SETTLED_S:
            worker.pause_s = _FIRST_PAUSE_S
        pause_s = worker.pause_s
        worker.pause_s = max(_FIRST_PAUSE_S, min(pause_s * 2, _LONGEST_PAUSE_S))
        worker.start_at_s = now_s + pause_s
        self._on_event(_event(worker, EventKind.EXITED, pid, code, pause_s))

    def _end_all(self) -> None:
        number = signal.SIGTERM
        while alive := [each for each in self._workers if each.process is not None]:
            late = self._monotonic() >= self._deadline_s
            if number is signal.SIGTERM or late:
                self._signal_all(alive, signal.SIGKILL if late else number)
                number = signal.SIGKILL
            for worker in alive:
                if (ended := self._reap(worker)) is not None:
                    self._on_event(_event(worker, EventKind.STOPPED, *ended))
            time.sleep(_WATCH_S)

    @staticmethod
    def _signal_all(workers: Sequence[_Worker], number: signal.Signals) -> None:
        for worker in workers:
            if worker.process is not None:
                _signal(worker.process, number)


def _event(
    worker: _Worker, kind: EventKind, pid: int, code: int | None = None, pause_s: float = 0.0
) -> WorkerEvent:
    time_us = time.time_ns() // 1000
    return WorkerEvent(worker.spec.name, worker.spec.stages, kind, pid, code, pause_s, time_us)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a worker and whatever it started; it leads a process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
