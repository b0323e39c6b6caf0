"""What the coordination engine returns."""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from pipeline.coordination.answers import Answer
from pipeline.coordination.conflicts import Conflict
from pipeline.coordination.vocabulary import ConflictStrategy, CoordinationState, SyncProtocol
from pipeline.errors import PipelineError

__all__ = [
    "CoordinationFailed",
    "CoordinationFailure",
    "CoordinationMetrics",
    "CoordinationResult",
    "SyncResult",
    "Transition",
]


class CoordinationFailure(StrEnum):
    """Why a coordination failed.

    TOO_FEW_ANSWERS: fewer systems than the quorum answered in time.
    RISK_SILENT: risk was asked and did not answer; nobody goes ahead without it.
    UNRESOLVED: the answers contradict each other, and the strategy finds no decision.
    EMERGENCY: an emergency is in force, or came while answers were waited for.
    BUSY: `max_concurrent_requests` others were in flight until the time was up.
    BROKER_UNAVAILABLE: the request could not be sent.
    CLOSED: the engine was closed meanwhile.
    """

    TOO_FEW_ANSWERS = "TOO_FEW_ANSWERS"
    RISK_SILENT = "RISK_SILENT"
    UNRESOLVED = "UNRESOLVED"
    EMERGENCY = "EMERGENCY"
    BUSY = "BUSY"
    BROKER_UNAVAILABLE = "BROKER_UNAVAILABLE"
    CLOSED = "CLOSED"


class CoordinationFailed(PipelineError):
    """A coordination that led to no decision."""


class CoordinationResult(Struct, frozen=True, kw_only=True):
    """What became of a coordinated decision; true where it succeeded.

    Attributes:
        coordination_id: Id of the request, the correlation id of its answers.
        requesting_system: Who asked.
        decision_type: What kind of decision.
        success: Whether enough systems answered in time and their answers led to a decision.
        decision: The decision, in upper case; HOLD where it failed, since no answer means hold.
        failure: Why it failed; None where it succeeded.
        reason: What decided, or what is missing, for people.
        strategy: The strategy that was to decide between contradicting answers.
        decided_by: System whose answer the decision is; empty where several share it.
        verdict: The strictest verdict among the answers; empty where there is none.
        terms: What stands of the terms that answers named.
        conflict: What the answers contradict each other in; None where they do not.
        answers: Answers by system.
        missing: Why, of each asked system that gave none.
        quorum: How many answers were needed.
        epoch: Epoch that it was asked in.
        response_time_ms: From the call to the result, milliseconds.
    """

    coordination_id: str
    requesting_system: str
    decision_type: str
    success: bool
    decision: str
    failure: CoordinationFailure | None
    reason: str
    strategy: ConflictStrategy
    decided_by: str = ""
    verdict: str = ""
    terms: dict[str, Any] = {}
    conflict: Conflict | None = None
    answers: dict[str, Answer] = {}
    missing: dict[str, str] = {}
    quorum: int = 0
    epoch: int = -1
    response_time_ms: float = 0.0

    def __bool__(self) -> bool:
        return self.success

    def require(self) -> "CoordinationResult":
        """Return itself.

        Raises:
            CoordinationFailed: If it failed.
        """
        if not self.success:
            raise CoordinationFailed(f"{self.decision_type} failed, {self.failure}: {self.reason}")
        return self


class SyncResult(Struct, frozen=True, kw_only=True):
    """What became of a synchronisation; true where it succeeded.

    Attributes:
        protocol: Which protocol.
        success: Whether as many instances confirmed in time as the protocol asks for.
        epoch: The epoch; -1 where the request could not be sent. That of an emergency is in force
            whether it succeeded or not.
        confirmed: Live instances that confirmed, as `system@instance`, sorted.
        missing: Live instances that did not.
        reason: What is missing, for people; empty where it succeeded.
        duration_ms: How long it took, milliseconds.
    """

    protocol: SyncProtocol
    success: bool
    epoch: int
    confirmed: tuple[str, ...]
    missing: tuple[str, ...]
    reason: str
    duration_ms: float

    def __bool__(self) -> bool:
        return self.success


class CoordinationMetrics(Struct, frozen=True, kw_only=True):
    """Figures of an engine since it started; None where nothing was measured.

    Attributes:
        total_messages_sent: Messages sent, heartbeats included.
        total_messages_received: Messages read, its own included.
        successful_coordinations: Coordinations that led to a decision.
        failed_coordinations: Those that did not.
        conflict_resolutions: Conflicts that a rule decided.
        average_response_time_ms: Mean time of the coordinations that were sent, milliseconds.
        system_sync_score: Share of the known systems that are live and at the newest epoch, 0 to 1.
        coordination_efficiency: Successful share of all coordinations, 0 to 1.
    """

    total_messages_sent: int
    total_messages_received: int
    successful_coordinations: int
    failed_coordinations: int
    conflict_resolutions: int
    average_response_time_ms: float | None
    system_sync_score: float | None
    coordination_efficiency: float | None


class Transition(Struct, frozen=True):
    """A change of an engine's state.

    Attributes:
        before: State before.
        after: State after.
        time: When, microseconds since the Unix epoch, UTC.
    """

    before: CoordinationState
    after: CoordinationState
    time: int
