"""Why the engine, not a stage's policy, seals a flow's fate; a closed list."""

from enum import StrEnum

__all__ = ["NO_BAR", "Fate"]


class Fate(StrEnum):
    """Reasons of outcomes that are sealed around the decisions.

    Attributes:
        MALFORMED: The bytes are no packet.
        VALIDATION: The packet breaks a rule.
        ROUTING: The packet does not belong to the stage.
        DUPLICATE: The source's sequence number was decided before.
        SUPERSEDED: A newer bar of the symbol was decided before.
        DEADLINE: The deadline had passed before the stage began.
        OVERLOAD: The pipeline has too much to do for it to make its deadline.
        POLICY_FAILED: The policy failed on it, retries included.
        BREAKER_OPEN: The policy failed too often of late; nobody decides.
        TOO_LARGE: The record would not fit the topic.
        ISOLATED: Its symbol or source, or the policy, was isolated by a command.
        SOURCE_ISOLATED: The same for a source, at the first stage: its bar does not count.
    """

    MALFORMED = "MALFORMED"
    VALIDATION = "VALIDATION"
    ROUTING = "ROUTING"
    DUPLICATE = "DUPLICATE"
    SUPERSEDED = "SUPERSEDED"
    DEADLINE = "DEADLINE"
    OVERLOAD = "OVERLOAD"
    POLICY_FAILED = "POLICY_FAILED"
    BREAKER_OPEN = "BREAKER_OPEN"
    TOO_LARGE = "TOO_LARGE"
    ISOLATED = "ISOLATED"
    SOURCE_ISOLATED = "SOURCE_ISOLATED"


NO_BAR = frozenset(
    {
        Fate.MALFORMED,
        Fate.VALIDATION,
        Fate.ROUTING,
        Fate.DUPLICATE,
        Fate.SUPERSEDED,
        Fate.SOURCE_ISOLATED,
    }
)
"""Fates whose packet's bar does not count: no later stage takes it into its windows."""
