"""Coordination between systems over `cascade.coordination`: who is there, who says what.

- `messages`: what is sent.
- `membership`: who is alive.
- `service`: a process that takes part.
- `answers`, `resolution`, `conflicts`: from answers to a decision.
- `epochs`: synchronisation.

`pipeline.cascade.MARLCoordinationEngine` is the API for users.
"""

from pipeline.coordination.answers import Abstention, Answer, CoordinationRequest
from pipeline.coordination.conflicts import Conflict
from pipeline.coordination.membership import Directory, Member, SystemState
from pipeline.coordination.messages import Announcement
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.systems import LocalSystem, Vitals, process_load
from pipeline.coordination.vocabulary import (
    TOPIC,
    ConflictKind,
    ConflictStrategy,
    CoordinationState,
    Role,
    SyncProtocol,
)

__all__ = [
    "TOPIC",
    "Abstention",
    "Announcement",
    "Answer",
    "Conflict",
    "ConflictKind",
    "ConflictStrategy",
    "CoordinationRequest",
    "CoordinationService",
    "CoordinationState",
    "Directory",
    "LocalSystem",
    "Member",
    "Role",
    "SyncProtocol",
    "SystemState",
    "Vitals",
    "process_load",
]
