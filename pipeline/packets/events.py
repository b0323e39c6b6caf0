"""What is said about the cascade: control, coordination, emergencies, alerts, audit.

Field for field as in `schemas/`, frozen, times in microseconds since the Unix epoch, UTC; see
`pipeline.packets.models`. A `context`, `payload` or `details` is a JSON object as text, since its
keys depend on what is reported.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from pipeline.packets.models import Count, Long, Name, NonNegative, Text

__all__ = [
    "EVERYTHING",
    "Alert",
    "AlertCommand",
    "AlertCommandKind",
    "AuditProgress",
    "AuditRecord",
    "ControlCommand",
    "ControlKind",
    "ControlState",
    "CoordinationMessage",
    "EmergencyCourse",
    "EmergencyEvent",
    "EmergencyLevel",
    "EmergencyType",
    "MessageType",
    "MetricsSnapshot",
    "PerformanceAlert",
    "RecoveryAction",
    "SecurityEvent",
    "SecurityEventKind",
    "TradingState",
    "ValidationLevel",
    "ValidationType",
]

EVERYTHING = "*"
"""The scope of a command for the whole cascade."""

Document = Annotated[str, Meta(max_length=65_536)]
Names = Annotated[tuple[Name, ...], Meta(max_length=1024)]


class ControlKind(StrEnum):
    """What a control command does."""

    BOOTSTRAP = "BOOTSTRAP"
    HALT = "HALT"
    RESUME = "RESUME"
    REDUCE = "REDUCE"
    ISOLATE = "ISOLATE"
    RELEASE = "RELEASE"
    BREAKER_OPEN = "BREAKER_OPEN"
    BREAKER_RESET = "BREAKER_RESET"
    TRIP = "TRIP"
    RESET = "RESET"


class TradingState(StrEnum):
    """Whether orders may go out."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


class MessageType(StrEnum):
    """Kind of a coordination message."""

    HANDSHAKE = "HANDSHAKE"
    HEARTBEAT = "HEARTBEAT"
    SYNC_REQUEST = "SYNC_REQUEST"
    SYNC_RESPONSE = "SYNC_RESPONSE"
    COORDINATION_REQUEST = "COORDINATION_REQUEST"
    COORDINATION_RESPONSE = "COORDINATION_RESPONSE"
    CONFLICT_RESOLUTION = "CONFLICT_RESOLUTION"
    EMERGENCY_BROADCAST = "EMERGENCY_BROADCAST"
    STATE_UPDATE = "STATE_UPDATE"
    PERFORMANCE_REPORT = "PERFORMANCE_REPORT"


class EmergencyType(StrEnum):
    """What kind of emergency it is."""

    SYSTEM_FAILURE = "SYSTEM_FAILURE"
    CASCADE_BREAKDOWN = "CASCADE_BREAKDOWN"
    PERFORMANCE_DEGRADATION = "PERFORMANCE_DEGRADATION"
    SECURITY_BREACH = "SECURITY_BREACH"
    DATA_CORRUPTION = "DATA_CORRUPTION"
    NETWORK_PARTITION = "NETWORK_PARTITION"
    RESOURCE_EXHAUSTION = "RESOURCE_EXHAUSTION"
    COORDINATION_FAILURE = "COORDINATION_FAILURE"
    VALIDATION_FAILURE = "VALIDATION_FAILURE"


class EmergencyLevel(StrEnum):
    """How bad an emergency is, least first."""

    ADVISORY = "ADVISORY"
    CAUTION = "CAUTION"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    EMERGENCY = "EMERGENCY"


class EmergencyCourse(StrEnum):
    """How far an emergency has come.

    Attributes:
        DECLARED: It is known.
        CONTAINED: What is to be done at once is done, and the workers have acknowledged it.
        UNCONTAINED: It was tried, and not every worker that had to has acknowledged it.
        ACKNOWLEDGED: A person has taken it on.
        RECOVERING: A recovery plan runs.
        RECOVERED: The plan's success was seen on the live cascade.
        ESCALATED: No plan helps; people have to.
        ROLLED_BACK: What was done is undone.
        RESOLVED: It is over.
    """

    DECLARED = "DECLARED"
    CONTAINED = "CONTAINED"
    UNCONTAINED = "UNCONTAINED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RECOVERING = "RECOVERING"
    RECOVERED = "RECOVERED"
    ESCALATED = "ESCALATED"
    ROLLED_BACK = "ROLLED_BACK"
    RESOLVED = "RESOLVED"


class RecoveryAction(StrEnum):
    """What may be done about an emergency."""

    RESTART_SYSTEM = "RESTART_SYSTEM"
    ISOLATE_SYSTEM = "ISOLATE_SYSTEM"
    FALLBACK_MODE = "FALLBACK_MODE"
    EMERGENCY_SHUTDOWN = "EMERGENCY_SHUTDOWN"
    TRAFFIC_REROUTE = "TRAFFIC_REROUTE"
    CIRCUIT_BREAKER_OPEN = "CIRCUIT_BREAKER_OPEN"
    MANUAL_INTERVENTION = "MANUAL_INTERVENTION"
    AUTOMATIC_RECOVERY = "AUTOMATIC_RECOVERY"


class PerformanceAlert(StrEnum):
    """How urgent an alert is, least first."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    EMERGENCY = "EMERGENCY"


class ValidationLevel(StrEnum):
    """How bad a finding is, least first."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class ValidationType(StrEnum):
    """What was validated."""

    DATA_INTEGRITY = "DATA_INTEGRITY"
    FLOW_CONTINUITY = "FLOW_CONTINUITY"
    SYSTEM_CONNECTIVITY = "SYSTEM_CONNECTIVITY"
    PERFORMANCE_COMPLIANCE = "PERFORMANCE_COMPLIANCE"
    SECURITY_VALIDATION = "SECURITY_VALIDATION"
    CONFIGURATION_VALIDATION = "CONFIGURATION_VALIDATION"
    SUPERPOSITION_COHERENCE = "SUPERPOSITION_COHERENCE"
    TEMPORAL_CONSISTENCY = "TEMPORAL_CONSISTENCY"


class SecurityEventKind(StrEnum):
    """What a security event is about.

    Attributes:
        LOGIN: Somebody identified himself.
        LOGOUT: He left.
        REFUSAL: Something was not allowed: a login, a command, a request, a record.
        ROLE_CHANGE: What somebody may do was changed.
        KEY_CHANGE: A key was added, rotated or revoked.
        CONFIGURATION_CHANGE: A setting, threshold or rule was changed.
        TOPIC_CHANGE: A topic or its access list was changed.
        CONTROL_COMMAND: A command was given; the auditor takes it from `cascade.control`.
        DEAD_LETTER_DISCARDED: Taken from the dead-letter topics.
        DEAD_LETTER_REPLAYED: Likewise.
        REPLAY: Recorded packets were run again.
    """

    LOGIN = "LOGIN"
    LOGOUT = "LOGOUT"
    REFUSAL = "REFUSAL"
    ROLE_CHANGE = "ROLE_CHANGE"
    KEY_CHANGE = "KEY_CHANGE"
    CONFIGURATION_CHANGE = "CONFIGURATION_CHANGE"
    TOPIC_CHANGE = "TOPIC_CHANGE"
    CONTROL_COMMAND = "CONTROL_COMMAND"
    DEAD_LETTER_DISCARDED = "DEAD_LETTER_DISCARDED"
    DEAD_LETTER_REPLAYED = "DEAD_LETTER_REPLAYED"
    REPLAY = "REPLAY"


class ControlCommand(Struct, frozen=True, gc=False):
    """A command to the cascade; its offset in the control log is its epoch."""

    command_id: Name
    kind: ControlKind
    scope: Name
    author: Name
    reason: Text
    time: Count
    expires_at: Count
    lifts_epoch: Long


class ControlState(Struct, frozen=True, gc=False):
    """What the control log says of a scope: a compacted view, for people and tools."""

    scope: Name
    trading_state: TradingState
    epoch: Long
    halt_epoch: Long
    command_id: Name
    author: Name
    reason: Text
    time: Count
    reduce_epoch: Long = -1
    isolated_epoch: Long = -1
    breaker_epoch: Long = -1


class CoordinationMessage(Struct, frozen=True, gc=False):
    """A message between systems of the cascade; `response_timeout` is in seconds."""

    message_id: Name
    message_type: MessageType
    sender_system: Name
    recipient_system: Name
    timestamp: Count
    payload: Document
    priority: Annotated[int, Meta(ge=1, le=3)]
    requires_response: bool
    response_timeout: NonNegative
    correlation_id: Text


class EmergencyEvent(Struct, frozen=True, gc=False):
    """The declaration of an emergency, or a later step; `recovery_time_estimate` is in seconds."""

    event_id: Name
    emergency_type: EmergencyType
    emergency_level: EmergencyLevel
    timestamp: Count
    source_system: Name
    affected_systems: Names
    description: Text
    context: Document
    recovery_actions: Annotated[tuple[RecoveryAction, ...], Meta(max_length=64)]
    estimated_impact: Text
    recovery_time_estimate: NonNegative
    course: EmergencyCourse = EmergencyCourse.DECLARED
    updated_at: Count = 0
    author: Text = ""
    note: Text = ""
    steps: Document = "{}"


class Alert(Struct, frozen=True, gc=False):
    """Something that people should know of."""

    id: Name
    level: PerformanceAlert
    message: Text
    context: Document
    timestamp: Count
    acknowledged: bool


class AlertCommandKind(StrEnum):
    """What is asked of the alerts."""

    ACKNOWLEDGE = "ACKNOWLEDGE"
    SILENCE = "SILENCE"
    UNSILENCE = "UNSILENCE"
    SET = "SET"
    UNSET = "UNSET"
    TEST = "TEST"


class AlertCommand(Struct, frozen=True, gc=False):
    """What an operator asks of the alerts.

    `target` is, by kind: ACKNOWLEDGE, an alert's id; SILENCE, a pattern of RULE/SUBJECT; UNSILENCE,
    the silence's command id; SET and UNSET, a rule's name; TEST, a level. `document` of a SET has
    the keys of the rule that change.
    """

    command_id: Name
    kind: AlertCommandKind
    target: Name
    author: Name
    reason: Text
    time: Count
    expires_at: Count = 0
    document: Document = "{}"


class AuditRecord(Struct, frozen=True, gc=False):
    """The result of a validation, chained to the one before it."""

    sequence: Count
    previous_sha256: Text
    validation_id: Name
    validation_type: ValidationType
    level: ValidationLevel
    message: Text
    timestamp: Count
    system_id: Name
    packet_id: Text
    details: Document
    remediation_steps: Annotated[tuple[Text, ...], Meta(max_length=64)]


class MetricsSnapshot(Struct, frozen=True, gc=False):
    """What the monitor knew at a moment: `figures` has one number for each series.

    A series is spelled as Prometheus spells it, `cascade_failure_ratio` or
    `cascade_queue_depth_packets{stage="risk"}`; one that is not there was not measured.
    `interval` is how long after the snapshot before it this one was due, in seconds.
    """

    time: Count
    instance: Name
    interval: NonNegative
    figures: Document


class AuditProgress(Struct, frozen=True, gc=False):
    """How far the auditor has come; execution and gateway halt where it falls behind or silent."""

    auditor: Name
    time: Count
    audited_until: Count
    lag_s: NonNegative
    sequence: Long
    sha256: Text
    records: Count
    findings: Count


class SecurityEvent(Struct, frozen=True, gc=False):
    """Who did what that bears on security; the auditor chains it into the audit log."""

    event_id: Name
    kind: SecurityEventKind
    author: Name
    subject: Text
    detail: Text
    time: Count
    source_address: Text
