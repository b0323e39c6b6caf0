"""The versions of a stage's worker, and the watch that the execution stage keeps over everybody's.

Execution's owner is the one place that all order plans come through, so it is who halts where
workers of a stage differ for too long: while nobody owns execution, nothing goes out anyway.
"""

import contextlib
import hashlib
import inspect
import json
from collections.abc import Callable
from uuid import uuid4

from pipeline.coordination.membership import Member
from pipeline.coordination.versions import Skew, Versions, VersionWatch, versions_of
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.settings import Settings
from pipeline.stages.contract import HasPolicy, StageLogic
from pipeline.transport.host import LogHost

__all__ = ["policy_of", "stage_versions", "watch_of"]

_ALERTS = "cascade.alerts"


def policy_of(logic: StageLogic[object]) -> str:
    """Return the hash of what a stage decides by: its policy, and the class that asks it."""
    kind = type(logic)
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # typed in, not in a file
        source = ""
    policy = logic.policy_sha256 if isinstance(logic, HasPolicy) else ""
    parts = (policy, kind.__module__, kind.__qualname__, source)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def stage_versions(settings: Settings, logic: StageLogic[object], started_us: int) -> Versions:
    """Return what a worker of a stage runs."""
    return versions_of(settings, started_us, policy_of(logic))


def watch_of(
    members: Callable[[], list[Member]], host: LogHost, epoch: Callable[[], int], bus: EventBus
) -> VersionWatch:
    """Return the watch of the execution stage; it looks while the worker owns the stage's log.

    Args:
        members: Returns the live instances of all systems.
        host: Owner of the log.
        epoch: Returns the epoch of the control log.
        bus: Where alerts go.
    """
    tell = _Alerts(bus, host.clock.now_us)
    return VersionWatch(
        lambda: members() if host.owned else (),
        host.settings.upgrade_window_s,
        epoch=epoch, begun=tell.begun, over=tell.over, now_us=host.clock.now_us,
    )  # fmt: skip


class _Alerts:
    def __init__(self, bus: EventBus, now_us: Callable[[], int]) -> None:
        self._bus = bus
        self._now_us = now_us

    def begun(self, skew: Skew) -> None:
        """Tell people that workers differ: execution is halted unless that ends in time."""
        self._tell(skew, PerformanceAlert.WARNING, str(skew))

    def over(self, skew: Skew) -> None:
        """Tell people that they agree again."""
        agreed = f"workers of {skew.stage} agree on their {skew.kind} again"
        self._tell(skew, PerformanceAlert.INFO, agreed)

    def _tell(self, skew: Skew, level: PerformanceAlert, message: str) -> None:
        context = json.dumps({"stage": skew.stage, "kind": skew.kind, "workers": skew.workers})
        alert = Alert(
            uuid4().hex, level, message[:4000], context, self._now_us(), acknowledged=False
        )
        with contextlib.suppress(PipelineError):  # the trip that may follow is tried until it holds
            self._bus.publish_soon(_ALERTS, alert, key=f"versions:{skew.stage}".encode())
