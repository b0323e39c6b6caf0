"""How far a replay is, in a form that survives its end: counts, findings, positions."""

import os
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import ConfigurationError
from pipeline.replay.selection import LogRange, Selection

__all__ = ["Changed", "Checkpoint", "Counts", "Finding", "Tally"]

_VERSION = 1
_KEPT = 1000


class Counts(msgspec.Struct):
    """Records of one stage.

    Attributes:
        identical: Came out byte for byte.
        same: The same in every field, in the bytes of another schema version.
        restamped: The same decision, by a policy of another name, version or hash.
        different: Came out differently under the code and settings of now: divergences.
        gone: Cannot be made again, since their input is past its retention.
        changed: Came out differently with the changes of a what-if.
        unexplained: Of those, the ones that the changes do not explain.
    """

    identical: int = 0
    same: int = 0
    restamped: int = 0
    different: int = 0
    gone: int = 0
    changed: int = 0
    unexplained: int = 0

    @property
    def compared(self) -> int:
        """Records that were made again."""
        return self.identical + self.same + self.restamped + self.different


class Finding(msgspec.Struct, frozen=True):
    """A record that came out differently.

    Attributes:
        topic: Its log.
        partition: Its partition.
        offset: Its offset.
        stage: Its stage.
        flow_id: Its flow.
        symbol: Its instrument.
        now: When it was decided, microseconds since the Unix epoch, UTC.
        before: What was decided, in a few words.
        after: What comes out.
        fields: Path, value then and value now of the fields that differ.
        cause: `pipeline.replay.compare.Cause`, or `change` in a what-if.
        detail: What exactly; in a what-if, which changes explain it, empty where none does.
    """

    topic: str
    partition: int
    offset: int
    stage: str
    flow_id: str
    symbol: str
    now: int
    before: str
    after: str
    fields: tuple[tuple[str, Any, Any], ...]
    cause: str
    detail: str

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Tally(msgspec.Struct):
    """What a replay has found so far.

    Attributes:
        stages: Counts by stage.
        divergences: The first thousand records that differ under the code and settings of now.
        differences: The first thousand that differ with the changes of a what-if.
        first_now: Earliest decision that was made again, microseconds; 0 before any.
        last_now: Latest one.
        seconds: Time that it took.
        states_checked: Snapshots within the ranges whose state was met.
        states_missed: Snapshots whose state was another.
    """

    stages: dict[str, Counts] = {}
    divergences: list[Finding] = []
    differences: list[Finding] = []
    first_now: int = 0
    last_now: int = 0
    seconds: float = 0.0
    states_checked: int = 0
    states_missed: list[str] = []

    def of(self, stage: str) -> Counts:
        """Return the counts of a stage."""
        return self.stages.setdefault(stage, Counts())

    def span(self, now: int) -> None:
        """Note that a decision of that time was made again."""
        self.first_now = now if not self.first_now else min(self.first_now, now)
        self.last_now = max(self.last_now, now)

    def diverged(self, finding: Finding) -> None:
        """Note a record that differs under the code and settings of now."""
        _keep(self.divergences, finding)

    def differed(self, finding: Finding) -> None:
        """Note a record that differs with the changes of a what-if."""
        _keep(self.differences, finding)

    @property
    def total(self) -> Counts:
        """Counts of all stages."""
        total = Counts()
        for counts in self.stages.values():
            for name in counts.__struct_fields__:
                setattr(total, name, getattr(total, name) + getattr(counts, name))
        return total

    @property
    def first_divergence(self) -> Finding | None:
        """The divergence of the earliest decision; None where there is none."""
        return min(self.divergences, key=lambda each: each.now, default=None)

    @property
    def times_real(self) -> float:
        """How much faster than history it went; 0 where nobody can say."""
        span_s = (self.last_now - self.first_now) / 1e6
        return span_s / self.seconds if self.seconds else 0.0


def _keep(findings: list[Finding], finding: Finding) -> None:
    if len(findings) < _KEPT:
        findings.append(finding)


class Changed(msgspec.Struct, frozen=True):
    """A record that a what-if changed, for the stages after.

    Attributes:
        value: Its new bytes.
        why: Which changes explain it.
    """

    value: bytes
    why: str


class Checkpoint(msgspec.Struct):
    """A replay under way, as it is kept on disk.

    Attributes:
        replay_id: The replay.
        asked: What was asked for, to the letter; another question is another replay.
        selection: What is replayed.
        tally: What was found.
        done: By `topic:partition`, the first offset not yet replayed.
        changed: What a what-if changed, by `topic:partition:offset`.
        version: Of this format.
    """

    replay_id: str
    asked: str
    selection: Selection
    tally: Tally
    done: dict[str, int] = {}
    changed: dict[str, Changed] = {}
    version: int = _VERSION

    def next_offset(self, place: LogRange) -> int:
        """Return where a range goes on."""
        return self.done.get(f"{place.topic}:{place.partition}", place.start)

    def move(self, place: LogRange, offset: int) -> None:
        """Note that a range is replayed up to `offset`."""
        self.done[f"{place.topic}:{place.partition}"] = offset

    @property
    def finished(self) -> bool:
        """Whether all ranges are done."""
        return all(self.next_offset(each) >= each.end for each in self.selection.ranges)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            ConfigurationError: If it cannot be written.
        """
        part = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(msgspec.json.encode(self))
            os.replace(part, path)  # noqa: PTH105  # the atomic one, and it says so
        except OSError as error:
            raise ConfigurationError(
                f"Expected to write the checkpoint {path}, was: {error}. Set CASCADE_HOME to a"
                " folder that can be written."
            ) from error

    @classmethod
    def load(cls, path: Path) -> "Checkpoint | None":
        """Return what stands at `path`; None where nothing does, or nothing that can be used."""
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.version == _VERSION else None
