"""The verdict on one promise of topics as code: what it says, and what was seen of it."""

from dataclasses import dataclass

import msgspec

__all__ = ["PromiseReport", "Witness"]


class PromiseReport(msgspec.Struct, frozen=True):
    """What became of one promise.

    Attributes:
        promise: Its name.
        says: What is promised.
        seen: What was seen, figure by figure.
        broken: Where it was not kept; empty where it was.
    """

    promise: str
    says: str
    seen: dict[str, object]
    broken: list[str]

    @property
    def passed(self) -> bool:
        """Whether it was kept."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class Witness:
    """Gathers what is seen of a promise; see `see` and `give`.

    Attributes:
        promise: Its name.
        says: What is promised.
        properties: Where the report goes, as a test's property.
        seen: What was seen so far.
        broken: Where it was not kept so far.
    """

    promise: str
    says: str
    properties: list[tuple[str, object]]
    seen: dict[str, object]
    broken: list[str]

    def see(self, what: str, expected: object, was: object) -> None:
        """Note one figure, and whether it is as expected."""
        self.seen[what] = was
        if expected != was:
            self.broken.append(f"{what}: Expected {expected}, was {was}")

    def give(self) -> None:
        """Report.

        Raises:
            AssertionError: If the promise was not kept, or nothing was seen of it.
        """
        report = PromiseReport(self.promise, self.says, self.seen, self.broken)
        # Plain, since processes of pytest-xdist hand it on.
        self.properties.append(("promise", msgspec.to_builtins(report)))
        assert report.seen, f"Expected to see something of {self.promise}, was nothing"
        assert report.passed, "; ".join(report.broken)
