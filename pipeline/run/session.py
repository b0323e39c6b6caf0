"""A run on one machine: supervised workers, and what Kafka says of who owns the logs."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import BrokerUnavailable
from pipeline.run.ownership import Owned, OwnershipWatch
from pipeline.run.peer import SupervisorPeer
from pipeline.run.supervisor import EventKind, Supervisor, WorkerEvent
from pipeline.run.workers import WorkerSpec, child_environment
from pipeline.settings import Settings

__all__ = ["LocalRun", "log_folder"]

_POLL_S = 0.1


def log_folder(settings: Settings) -> Path:
    """Return the folder of the workers' log files."""
    return settings.home.absolute() / "logs" / (settings.namespace or "default")


class LocalRun:
    """Workers of some stages, from start to stop; a context manager that stops them.

    Args:
        settings: Settings, handed on to the workers.
        specs: The workers.
        coordinated: Whether the supervisor takes part in the coordination, so that it can be asked
            to restart workers.
        on_event: Told of every change in a worker's life; may be called on another thread.
        on_owned: Told of each take-over seen while waiting in `watch`.

    Raises:
        ConfigurationError: A log's topic, or the folder for logs, is not to be had.
        BrokerUnavailable: If the broker does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        specs: Sequence[WorkerSpec],
        *,
        coordinated: bool = False,
        on_event: Callable[[WorkerEvent], None] = lambda _: None,
        on_owned: Callable[[Owned], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._on_event = on_event
        self._on_owned = on_owned
        self._lock = threading.Lock()
        self._ended: set[str] = set()
        self.stages = tuple(dict.fromkeys(name for spec in specs for name in spec.stages))
        self._watch: OwnershipWatch | None = OwnershipWatch(settings, self.stages)
        environments = {
            spec.role: child_environment(settings, os.environ, spec.role) for spec in specs
        }
        self.supervisor = Supervisor(
            specs,
            environment=lambda spec: environments[spec.role],
            log_folder=log_folder(settings),
            on_event=self._note,
        )
        self._peer = SupervisorPeer(settings, self.supervisor) if coordinated else None

    def __enter__(self) -> Self:
        self.supervisor.start()
        if self._peer is not None:
            self._peer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self, deadline_s: float = 10.0) -> None:
        """End all workers; see `Supervisor.stop`."""
        try:
            self.supervisor.stop(deadline_s)
        finally:
            self._close_watch()
            if self._peer is not None:
                self._peer.close()

    def watch(self) -> tuple[str, ...]:
        """Look at the logs for a moment; return the stages whose logs nobody owns yet.

        A stage whose worker ended counts again as not owned, until it is taken over.
        """
        with self._lock:
            ended, self._ended = self._ended, set()
        if ended:
            waiting = {*ended, *(self._watch.missing if self._watch else ())}
            self._close_watch()
            self._watch = OwnershipWatch(self._settings, [s for s in self.stages if s in waiting])
        if self._watch is None:
            return ()
        for owned in self._watch.poll(_POLL_S):
            self._on_owned(owned)
        missing = self._watch.missing
        if not missing:
            self._close_watch()
        return missing

    def wait_owned(self, timeout_s: float) -> None:
        """Wait until all logs are owned.

        Raises:
            BrokerUnavailable: If they are not in time; says which, and where to look.
        """
        deadline_s = time.monotonic() + timeout_s
        while missing := self.watch():
            if time.monotonic() > deadline_s:
                logs = ", ".join(
                    str(self.supervisor.log_file(status.name))
                    for status in self.supervisor.workers()
                    if set(status.stages) & set(missing)
                )
                raise BrokerUnavailable(
                    f"Expected workers of {', '.join(missing)} to own their logs within"
                    f" {timeout_s:g} s, was none. Look at {logs}."
                )

    def _note(self, event: WorkerEvent) -> None:
        if event.kind is EventKind.EXITED:
            with self._lock:
                self._ended.update(event.stages)
            if self._peer is not None:
                self._peer.note_exit()
        self._on_event(event)

    def _close_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
