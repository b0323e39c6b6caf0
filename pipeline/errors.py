"""The errors of the pipeline.

PipelineError
    RetryableError          passing fault: try again in place, with backoff
        BrokerUnavailable
        RegistryUnavailable
        FlowLimitReached    as many flows are in flight as may be
        OutcomePending      a flow has not ended yet
    PoisonError             this record will never work: dead-letter it
        MalformedPacket     bytes that are no valid packet
        InvalidPacket       a packet whose content breaks a rule
        RoutingError        a packet type that does not belong here
        RecordTooLarge
    FatalError              the worker must stop: going on could lose or duplicate
        PositionLost        a log or input no longer holds the position to resume at
        ForeignRecord       a log holds a record that its protocol rules out
        AssignmentMismatch  partitions that do not fit together
        AccessDenied        the broker refuses what this process has to do
    OwnershipLost           another owner took the log over: drop state, take over again
    ConfigurationError      settings, topics or files that cannot work
    SignatureRefused        a command or plan that is not signed as it must be
    UsageError              a command that cannot be carried out as asked
"""

import re

__all__ = [
    "AccessDenied",
    "AssignmentMismatch",
    "BrokerUnavailable",
    "ConfigurationError",
    "FatalError",
    "FlowLimitReached",
    "ForeignRecord",
    "InvalidPacket",
    "MalformedPacket",
    "OutcomePending",
    "OwnershipLost",
    "PipelineError",
    "PoisonError",
    "PositionLost",
    "RecordTooLarge",
    "RegistryUnavailable",
    "RetryableError",
    "RoutingError",
    "SignatureRefused",
    "UsageError",
    "spelled",
]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def spelled(error: BaseException | None) -> str:
    """Return an exception as Python spells it, without addresses of objects.

    So the same fault has the same words whenever it happens, as records and replays need it.
    """
    return _ADDRESS.sub("", repr(error))


class PipelineError(Exception):
    """Base of all errors of the pipeline; says what was expected, what it was, and where.

    Args:
        message: One sentence, "Expected X, was Y", with what to do about it.
        topic: Topic of the record concerned, without namespace.
        partition: Its partition.
        offset: Its offset.
        packet_id: Its packet, where known.
    """

    def __init__(
        self,
        message: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        packet_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.packet_id = packet_id

    def __str__(self) -> str:
        if self.topic is None:
            return self.message
        return f"{self.message} (at {self.topic}[{self.partition}]@{self.offset})"


class RetryableError(PipelineError):
    """A passing fault: the same call may work a moment later."""


class BrokerUnavailable(RetryableError):
    """No Kafka broker answered in time."""


class RegistryUnavailable(RetryableError):
    """The schema registry did not answer in time."""


class FlowLimitReached(RetryableError):
    """As many flows are in flight as may be; one that ends makes room."""


class OutcomePending(RetryableError):
    """The flow had not ended by then; it may still."""


class PoisonError(PipelineError):
    """A record that can never be worked off; it goes to the dead letters."""


class MalformedPacket(PoisonError):
    """Bytes that are not a valid packet."""


class InvalidPacket(PoisonError):
    """A readable packet whose content breaks a rule."""


class RoutingError(PoisonError):
    """A packet whose type or source does not belong to this stage."""


class RecordTooLarge(PoisonError):
    """A record above the size that the topic takes."""


class FatalError(PipelineError):
    """Going on could lose or duplicate a decision; the worker stops."""


class PositionLost(FatalError):
    """The position to resume at is no longer in the log."""


class ForeignRecord(FatalError):
    """A log holds a record that its protocol rules out."""


class AssignmentMismatch(FatalError):
    """Assigned partitions or partition counts that do not fit together."""


class AccessDenied(FatalError):
    """The broker refuses a login, or a right that this process needs; says which, and to whom."""


class OwnershipLost(PipelineError):
    """Another owner took the log over, or deliveries failed."""


class ConfigurationError(PipelineError):
    """Settings, topics or files that cannot work."""


class SignatureRefused(PipelineError):
    """A control command or order plan without a signature that counts."""


class UsageError(PipelineError):
    """A command that cannot be carried out as asked."""
