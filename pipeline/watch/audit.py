"""The auditor as a Faust worker: `faust -A pipeline.watch.audit worker -l info`."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from prometheus_client.core import Metric

from pipeline.audit.auditor import GROUP, Auditor
from pipeline.audit.term import Figures
from pipeline.audit.writing import TOPIC
from pipeline.clock import WallClock
from pipeline.events import EventBus
from pipeline.events.office import Office
from pipeline.metrics.families import counter, gauge
from pipeline.settings import Settings, load_settings
from pipeline.watch.bystander import bystander_app

__all__ = ["AuditWorker", "app", "audit_app", "families"]

_NAME: Final = "cascade.auditor"


def families(figures: Figures) -> Iterator[Metric]:
    """Return what an auditor has done as metric families; of one that stands by, that it does."""
    whole = ((), float(figures.active))
    yield gauge("cascade_audit_active", "Whether this auditor works; others stand by.", (), [whole])
    if not figures.active:
        return
    lag = [((), figures.lag_s)]
    yield gauge("cascade_audit_lag_seconds", "How far the audit log is behind.", (), lag)
    newest = [((), float(figures.sequence))]
    yield gauge("cascade_audit_sequence", "Number of the newest audit record.", (), newest)
    for name, text, count in (
        ("cascade_audit_records_total", "Records audited.", figures.records),
        ("cascade_audit_findings_total", "Faults found.", figures.findings),
        ("cascade_audit_security_events_total", "Security events told of.", figures.events),
        ("cascade_audit_windows_total", "Windows added to the audit log.", figures.windows),
    ):
        yield counter(name, text, (), [((), float(count))])


class AuditWorker:
    """An auditor, its office, and its connection.

    Args:
        settings: Settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._bus = EventBus(settings=settings)
        self._office = Office(self._bus.connect, TOPIC, GROUP)
        self.auditor = Auditor(
            f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"[-128:],
            self._bus.connect, lambda: self._office.term, self._bus.publish_soon, WallClock(),
        )  # fmt: skip
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self.auditor.run, args=(self._stopping,), name="auditor", daemon=True
        )

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._office.start()
        self._thread.start()

    def collect(self) -> Iterator[Metric]:
        """Return its figures, for `/metrics`."""
        yield from families(replace(self.auditor.figures))

    def close(self) -> None:
        """Add what was read to the audit log, give the office back, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._office.close()
        self._bus.close()


def audit_app(settings: Settings | None = None) -> Any:
    """Return the Faust app of the auditor.

    Args:
        settings: Settings; those of the environment where None.
    """
    return bystander_app(_NAME, AuditWorker, settings or load_settings())


app = audit_app()
