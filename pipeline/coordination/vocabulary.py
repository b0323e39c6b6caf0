"""Names of coordination: states, strategies, protocols, kinds of conflict."""

from enum import StrEnum

__all__ = [
    "TOPIC",
    "ConflictKind",
    "ConflictStrategy",
    "CoordinationState",
    "ReplyStatus",
    "Role",
    "SyncProtocol",
]

TOPIC = "cascade.coordination"


class CoordinationState(StrEnum):
    """How a system, or an engine, stands in the coordination.

    INITIALIZING: announced, but its own announcement was not read back yet.
    SYNCHRONIZED: connected, nothing in flight.
    COORDINATING: a request is being worked on.
    CONFLICT: answers contradict each other and no decision stands for it yet.
    EMERGENCY: an emergency synchronisation is newer than the last complete synchronisation.
    DISCONNECTED: no sign of it, or of the broker.
    """

    INITIALIZING = "INITIALIZING"
    SYNCHRONIZED = "SYNCHRONIZED"
    COORDINATING = "COORDINATING"
    CONFLICT = "CONFLICT"
    EMERGENCY = "EMERGENCY"
    DISCONNECTED = "DISCONNECTED"


class ConflictStrategy(StrEnum):
    """How contradicting answers become one decision; see `pipeline.coordination.resolution`."""

    PRIORITY_BASED = "PRIORITY_BASED"
    PERFORMANCE_BASED = "PERFORMANCE_BASED"
    CONSENSUS_BASED = "CONSENSUS_BASED"
    HIERARCHICAL = "HIERARCHICAL"


class ConflictKind(StrEnum):
    """What answers contradict each other in."""

    RESOURCE = "resource"
    PARAMETER = "parameter"
    TIMING = "timing"
    GENERAL = "general"


class SyncProtocol(StrEnum):
    """How systems agree on an epoch; see `pipeline.coordination.epochs`."""

    FAST_SYNC = "FAST_SYNC"
    RELIABLE_SYNC = "RELIABLE_SYNC"
    EMERGENCY_SYNC = "EMERGENCY_SYNC"


class Role(StrEnum):
    """Who speaks for a system; a registered one goes before the built-in worker.

    An observer has no system; it only asks who is there.
    """

    WORKER = "worker"
    REGISTERED = "registered"
    OBSERVER = "observer"


class ReplyStatus(StrEnum):
    """What came back for a request.

    ANSWERED: an answer, which counts for the quorum.
    ABSTAINED: it has nothing to say on this, and says why; counts for nothing.
    FAILED: its handler raised, or returned nothing usable; counts for nothing.
    REFUSED: an emergency is in force.
    """

    ANSWERED = "answered"
    ABSTAINED = "abstained"
    FAILED = "failed"
    REFUSED = "refused"
