"""Workers on one machine: supervised processes, started together, restarted, stopped in order."""

from pipeline.run.child import bound
from pipeline.run.ownership import Owned, OwnershipWatch
from pipeline.run.supervisor import EventKind, Supervisor, WorkerEvent, WorkerStatus
from pipeline.run.workers import (
    STAGES,
    WATCHERS,
    WorkerSpec,
    child_environment,
    log_specs,
    worker_specs,
)

__all__ = [
    "STAGES",
    "WATCHERS",
    "EventKind",
    "Owned",
    "OwnershipWatch",
    "Supervisor",
    "WorkerEvent",
    "WorkerSpec",
    "WorkerStatus",
    "bound",
    "child_environment",
    "log_specs",
    "worker_specs",
]
