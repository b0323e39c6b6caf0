"""The server of `/metrics`, and where Prometheus finds it.

prometheus-client's own server, on a thread of its own and on loopback unless told otherwise. By
default it takes any free port, so that workers on one machine never clash; with a first port set,
each role has its own above it (`ROLES`), and workers of one role further ones, ten apart.

Under `CASCADE_HOME/metrics/NAMESPACE` lies a file `PID.json` for each process, in the format of
Prometheus's `file_sd_configs`: a Prometheus on the machine finds all workers by `*.json`.
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, start_http_server
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline import __version__
from pipeline.metrics.families import gauge
from pipeline.metrics.looplag import loop_lag
from pipeline.settings import Settings

__all__ = ["ROLES", "Exporter", "ProcessFigures", "exporter"]

_logger = logging.getLogger(__name__)

ROLES: Final = (
    "strategic",
    "tactical",
    "risk",
    "execution",
    "gateway",
    "emergency",
    "monitor",
    "auditor",
    "dashboard",
)
"""Roles of workers; the place of one is its port above `metrics_port`."""

_APART = 10
_MOST_OF_A_ROLE = 10
_OFF = -1


class Exporter:
    """The server of one process and namespace; thread-safe.

    Args:
        settings: Home, namespace, and where to listen.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = _folder(settings)
        self._lock = threading.Lock()
        self._roles: dict[str, Collector | None] = {}
        self._server: Any = None
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(ProcessFigures())

    @property
    def port(self) -> int | None:
        """Where it listens; None where it does not."""
        return None if self._server is None else int(self._server.server_port)

    def attach(self, role: str, collector: Collector | None = None) -> None:
        """Add a role of this process, and begin to listen with the first.

        It never fails: a worker without figures is better than no worker.

        Args:
            role: What it is, of `ROLES`.
            collector: Knows its metrics; None: those of the process are all there are.
        """
        if self._settings.metrics_port == _OFF:
            return
        with self._lock:
            before = self._roles.pop(role, None)
            if before is not None:
                self.registry.unregister(before)
            self._roles[role] = collector
            if collector is not None:
                self.registry.register(collector)
            try:
                if self._server is None:
                    self._listen(role)
                self._write_down()
            except OSError as error:
                _logger.warning("no metrics of %s: %s", role, error)

    def close(self) -> None:
        """Listen no more."""
        with self._lock:
            server, self._server = self._server, None
            if server is not None:
                server.shutdown()
                server.server_close()
            self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self._folder / f"{os.getpid()}.json"

    def _listen(self, role: str) -> None:
        host = self._settings.metrics_host
        failure: OSError | None = None
        for port in _ports(self._settings.metrics_port, role):
            try:
                self._server, _ = start_http_server(port, host, self.registry)
            except OSError as error:
                failure = error
                continue
            return
        if failure is not None:
            raise failure

    def _write_down(self) -> None:
        """Say where Prometheus finds it; what processes left that are gone is taken away."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*.json"):
            if not _alive(path.stem):
                path.unlink(missing_ok=True)
        target = f"{self._settings.metrics_host}:{self.port}"
        labels = {"role": "-".join(self._roles), "namespace": self._settings.namespace}
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps([{"targets": [target], "labels": labels}]), encoding="utf-8")
        draft.replace(self._file)


class ProcessFigures(Collector):
    """What every worker says of itself, beside prometheus-client's `process_*`."""

    def collect(self) -> Iterable[Metric]:
        """Return its version, and how late its event loop is."""
        yield InfoMetricFamily(
            "cascade_build", "Version of the worker.", value={"version": __version__}
        )
        yield gauge(
            "cascade_event_loop_lag_seconds",
            "By how much the event loop woke up late, the worst of the last ten seconds.",
            (),
            [((), loop_lag().worst_s())],
        )


_ours: dict[tuple[Path, int, str], Exporter] = {}
_ours_lock = threading.Lock()


def exporter(settings: Settings) -> Exporter:
    """Return the server of this process for a namespace; one for all its roles."""
    key = (_folder(settings), settings.metrics_port, settings.metrics_host)
    with _ours_lock:
        if key not in _ours:
            _ours[key] = Exporter(settings)
        return _ours[key]


def _ports(first: int, role: str) -> Iterator[int]:
    """Yield the ports to try; 0 is any free one."""
    if first == 0:
        yield 0
        return
    place = ROLES.index(role) if role in ROLES else len(ROLES)
    for number in range(_MOST_OF_A_ROLE):
        yield first + place + number * _APART


def _alive(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    with contextlib.suppress(PermissionError):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
    return True


def _folder(settings: Settings) -> Path:
    return settings.home.absolute() / "metrics" / (settings.namespace or "default")
