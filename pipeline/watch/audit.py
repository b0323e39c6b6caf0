"""The auditor as a Faust worker: `faust -A pipeline.watch.audit worker -l info`."""

import os
import secrets
import socket
import threading
from contextlib import suppress
from typing import Any

from pipeline.audit.auditor import GROUP, Auditor
from pipeline.audit.writing import TOPIC
from pipeline.clock import WallClock
from pipeline.events import EventBus
from pipeline.events.office import Office
from pipeline.settings import Settings, load_settings
from pipeline.watch.bystander import bystander_app

__all__ = ["AuditWorker", "app", "audit_app"]

# The path goes first: the auditor takes what is left of the cores, and falls behind if need be.
_NICE = 10


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
        with suppress(OSError):  # where the machine does not allow it
            os.nice(_NICE)
        self._office.start()
        self._thread.start()

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
    return bystander_app(GROUP, AuditWorker, settings or load_settings())


app = audit_app()
