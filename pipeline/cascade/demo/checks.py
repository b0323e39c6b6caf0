"""What a part of the demo expected, what it saw, and whether that agrees."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Checks", "PartSeen", "wait_for"]

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation.

    Attributes:
        what: What is looked at.
        expected: What it should be.
        seen: What it was.
        passed: Whether the two agree.
    """

    what: str
    expected: str
    seen: str
    passed: bool


@dataclass(slots=True)
class Checks:
    """The expectations of one part, noted one after the other."""

    noted: list[Check] = field(default_factory=list)

    def equal(self, what: str, expected: object, seen: object) -> bool:
        """Note that something should be equal to what is expected; return whether it is."""
        return self.holds(what, str(expected), str(seen), expected == seen)

    def holds(self, what: str, expected: str, seen: object, passed: bool) -> bool:  # noqa: FBT001  # the verdict is the point
        """Note an expectation in words with its verdict; return the verdict."""
        self.noted.append(Check(what, expected, str(seen), passed))
        return passed


@dataclass(frozen=True, slots=True)
class PartSeen:
    """A part of the demo, carried out.

    Attributes:
        name: Name, as `--break` takes it.
        title: What it shows.
        checks: Its expectations.
        seconds: How long it took.
        error: What ended it before its time; empty where nothing did.
    """

    name: str
    title: str
    checks: tuple[Check, ...]
    seconds: float
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether it saw all that it expected; a part that checked nothing did not."""
        return bool(self.checks) and not self.error and all(each.passed for each in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        return {**asdict(self), "passed": self.passed}

    def lines(self) -> list[str]:
        """Return it as lines of text."""
        lines = [f"{'PASS' if self.passed else 'FAIL'}  {self.title} ({self.seconds:.1f} s)"]
        for each in self.checks:
            sign = "ok " if each.passed else "NOT"
            lines.append(f"  {sign} {each.what}: expected {each.expected}, seen {each.seen}")
        if self.error:
            lines.append(f"  NOT finished: {self.error}")
        return lines


def wait_for(condition: Callable[[], object], timeout_s: float) -> bool:
    """Poll until `condition` is true; return whether it was in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True
