"""What people did about a dead letter: a record behind it in the dead-letter topic.

Topics only grow, so a letter is never deleted: that it was discarded, or sent into the cascade
again, by whom and why, is said by one more record with the same key and no value. Its headers begin
with `__cascade.disposition.`; retention is the letter's own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

from pipeline.errors import MalformedPacket

__all__ = ["PREFIX", "Disposition", "DispositionKind"]

PREFIX = "__cascade.disposition."


class DispositionKind(StrEnum):
    """What was done."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Disposition:
    """What was done about one letter.

    Attributes:
        kind: What.
        coordinates: Of the letter, `TOPIC:PARTITION:OFFSET`.
        author: By whom.
        reason: Why.
        time: When, microseconds since the Unix epoch, UTC.
        target: Where the record was sent to, `TOPIC:PARTITION:OFFSET`; empty where it was not.
    """

    kind: DispositionKind
    coordinates: str
    author: str
    reason: str
    time: int
    target: str = ""

    def headers(self) -> list[tuple[str, bytes]]:
        """Return it as headers, UTF-8."""
        return [(PREFIX + name, str(value).encode()) for name, value in asdict(self).items()]

    @classmethod
    def read(cls, headers: Iterable[tuple[str, bytes | str | None]]) -> Self | None:
        """Return what headers spell; None where they are those of something else.

        Raises:
            MalformedPacket: If they are meant to be one and are not.
        """
        found = {
            name.removeprefix(PREFIX): value.decode(errors="replace")
            if isinstance(value, bytes)
            else str(value)
            for name, value in headers
            if name.startswith(PREFIX) and value is not None
        }
        return cls._of(found) if found else None

    @classmethod
    def _of(cls, found: Mapping[str, str]) -> Self:
        try:
            return cls(
                DispositionKind(found["kind"]), found["coordinates"], found["author"],
                found["reason"], int(found["time"]), found.get("target", ""),
            )  # fmt: skip
        except (KeyError, ValueError) as error:
            raise MalformedPacket(
                f"Expected the headers of a disposition, was: {error!r}"
            ) from error
