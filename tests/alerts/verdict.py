"""The verdict on alerts of a stage that was killed."""

import msgspec

__all__ = ["LIMIT_S", "DeliveryReport"]

LIMIT_S = 5.0
"""From the threshold to the delivery."""


class DeliveryReport(msgspec.Struct, frozen=True):
    """What became of one kill -9.

    Attributes:
        killed: What was killed.
        threshold_s: From the last heartbeat to the threshold, as the rule has it, seconds.
        delivered_s: From the threshold to the delivery, seconds.
        resolved_s: From the first heartbeat after the restart to the delivery of the end, seconds.
        level: The level that was told.
        unreachable_attempts: Attempts at a channel that cannot be reached, so far.
        limit_s: The most that either delivery may take.
    """

    killed: str
    threshold_s: float
    delivered_s: float
    resolved_s: float
    level: str
    unreachable_attempts: int
    limit_s: float = LIMIT_S

    @property
    def passed(self) -> bool:
        """Whether both deliveries were in time, while another channel was out of reach."""
        quick = max(self.delivered_s, self.resolved_s) <= self.limit_s
        return quick and self.unreachable_attempts > 0
