"""What an agent of the execution stage says about a plan: a path, reasons."""

from dataclasses import dataclass

from pipeline.policies import ladder
from pipeline.policies.execution.reasons import ExecutionReason

__all__ = ["EXECUTE", "HOLD", "PATHS", "REJECT", "SLICE", "View"]

EXECUTE = "EXECUTE"
SLICE = "SLICE"
HOLD = "HOLD"
REJECT = "REJECT"
PATHS = (EXECUTE, SLICE, HOLD, REJECT)


@dataclass(frozen=True, slots=True)
class View:
    """An agent's view of one plan; views are joined by the strictest path.

    Attributes:
        agent: Its name.
        path: One of `PATHS`: all at once, in slices, not now, never.
        margin: How far it was from another path, in [0, 1].
        reasons: Why.
    """

    agent: str
    path: str
    margin: float
    reasons: tuple[ExecutionReason, ...] = ()

    def distribution(self) -> dict[str, float]:
        """Return the view as a distribution over `PATHS`."""
        return ladder.distribution(PATHS, self.path, self.margin)
