"""`MARLCoordinationEngine`: decisions that several systems take together, over Kafka.

Systems announce themselves on `cascade.coordination` and answer requests there by correlation id;
see `pipeline.coordination` for the messages and the rules. What is asked of a system is answered by
a live peer or not at all.
"""

from pipeline.cascade.coordination.engine import MARLCoordinationEngine
from pipeline.cascade.coordination.results import (
    CoordinationFailed,
    CoordinationFailure,
    CoordinationMetrics,
    CoordinationResult,
    SyncResult,
    Transition,
)
from pipeline.coordination.answers import Abstention, Answer, CoordinationRequest
from pipeline.coordination.conflicts import Conflict
from pipeline.coordination.membership import SystemState
from pipeline.coordination.vocabulary import (
    ConflictKind,
    ConflictStrategy,
    CoordinationState,
    SyncProtocol,
)

__all__ = [
    "Abstention",
    "Answer",
    "Conflict",
    "ConflictKind",
    "ConflictStrategy",
    "CoordinationFailed",
    "CoordinationFailure",
    "CoordinationMetrics",
    "CoordinationRequest",
    "CoordinationResult",
    "CoordinationState",
    "MARLCoordinationEngine",
    "SyncProtocol",
    "SyncResult",
    "SystemState",
    "Transition",
]
