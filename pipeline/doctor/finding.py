"""A finding: what was looked at, how it is, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "State", "verdict"]


class State(StrEnum):
    """How what was looked at is.

    OK: as it should be. WARNING: it works, and will not for long or not as well as it should.
    PROBLEM: it is the reason, or a reason, why something does not work. UNKNOWN: nobody can tell.
    """

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at.
        state: How it is.
        detail: What was seen, with figures; for anything but OK the cause.
        next: The command to give next; empty where nothing is to be done.
    """

    check: str
    state: State
    detail: str
    next: str = ""


def verdict(findings: Iterable[Finding]) -> int:
    """Return the exit code: 0 all is well, 1 something is not, 2 nothing could be told."""
    states = [each.state for each in findings]
    if State.PROBLEM in states or State.WARNING in states:
        return 1
    known = [state for state in states if state is not State.UNKNOWN]
    return 0 if known else 2
