"""The audit log against itself, and against the topics that it audits."""

import base64
import binascii
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from pipeline.audit.chain import START, ChainFault, ChainReader, FaultKind, Link
from pipeline.audit.content import Digest, EntryKind, Range, details_of, places_of, ranges_of
from pipeline.audit.source import RawRecord
from pipeline.errors import ConfigurationError

__all__ = ["ReadRange", "Verdict", "against_topics", "exported", "read_exported", "verify"]

Raw = tuple[int, bytes | None]


@dataclass(slots=True)
class Verdict:
    """What came of checking an audit log.

    Attributes:
        records: Records that count.
        first: Sequence of the first; -1 where there is none.
        head: (sequence, SHA-256) of the last.
        lost_races: Records that another auditor was quicker than; they do not count.
        findings: Findings by kind.
        events: Security events by kind.
        packets_in: Packets that went in, over all windows.
        outcomes: Packets that came out, by outcome.
        under_way: Packets under way as of the last window.
        ranges: What was audited, window by window.
        faults: What is wrong with the log.
    """

    records: int = 0
    first: int = -1
    head: tuple[int, str] = (-1, "")
    lost_races: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    packets_in: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    ranges: list[tuple[int, Range]] = field(default_factory=list)
    faults: list[ChainFault] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "verdict": "intact" if self.intact else "broken",
            "records": self.records,
            "first_sequence": self.first,
            "head": {"sequence": self.head[0], "sha256": self.head[1]},
            "lost_races": self.lost_races,
            "windows": len({sequence for sequence, _ in self.ranges}),
            "audited_records": sum(each.count for _, each in self.ranges),
            "findings": dict(self.findings),
            "security_events": dict(self.events),
            "packets_in": self.packets_in,
            "packets_out": self.outcomes.total(),
            "outcomes": dict(self.outcomes),
            "under_way": self.under_way,
            "faults": [
                {"kind": f.kind, "sequence": f.sequence, "offset": f.offset, "text": f.text}
                for f in self.faults
            ],
        }


def verify(raw: Iterable[Raw]) -> Verdict:
    """Check an audit log, given as (offset, value) in order of offset.

    Each record is chained to the one before it, and each window begins where the last one of its
    partition ended, so nothing was skipped or audited twice. A log whose start retention has taken
    is checked from where it begins.
    """
    entries = iter(raw)
    first = next(entries, None)
    if first is None:
        return Verdict()
    reader = ChainReader(START if first[0] == 0 else None)
    verdict, ends = Verdict(), dict[tuple[str, int], int]()
    for offset, value in (first, *entries):
        link = reader.add(offset, value)
        if link is not None:
            _note(verdict, link, ends)
    verdict.faults = [*reader.finish(), *verdict.faults]
    verdict.head = (reader.head.sequence, reader.head.sha256 or "")
    verdict.lost_races = reader.lost_races
    return verdict


def _note(verdict: Verdict, link: Link, ends: dict[tuple[str, int], int]) -> None:
    details = details_of(link.record)
    if verdict.first < 0:
        verdict.first = link.record.sequence
    verdict.records += 1
    kind = details.get("kind")
    if kind == EntryKind.FINDING:
        verdict.findings[str(details.get("finding"))] += 1
    elif kind == EntryKind.SECURITY:
        verdict.events[str(details.get("event"))] += 1
    elif kind == EntryKind.START:
        for where, place in places_of(details).items():
            ends.setdefault(where, place.offset)
    elif kind == EntryKind.WINDOW:
        tallies = details.get("tallies", {})
        verdict.packets_in += int(tallies.get("packets_in", 0))
        verdict.outcomes.update(tallies.get("outcomes", {}))
        verdict.under_way = int(tallies.get("under_way", 0))
        for each in ranges_of(details):
            verdict.ranges.append((link.record.sequence, each))
            _check_place(verdict, link, each, ends)


def _check_place(
    verdict: Verdict, link: Link, each: Range, ends: dict[tuple[str, int], int]
) -> None:
    where = (each.topic, each.partition)
    before = ends.get(where)
    ends[where] = each.end
    if before is not None and each.first != before:
        what = "skipped" if each.first > before else "audited twice"
        verdict.faults.append(
            ChainFault(
                FaultKind.MISSING if each.first > before else FaultKind.CHANGED,
                link.record.sequence, link.offset,
                f"{each.topic}[{each.partition}] from {each.first}, before up to {before}: {what}",
            )
        )  # fmt: skip


class ReadRange(Protocol):
    """Reads what stands in a range of a partition now."""

    def __call__(self, topic: str, partition: int, first: int, end: int) -> Iterator[RawRecord]:
        """Yield the records from offset `first` up to before `end`, in order."""
        ...


def against_topics(
    verdict: Verdict, first_offsets: Mapping[tuple[str, int], int], read: ReadRange
) -> tuple[int, int, list[ChainFault]]:
    """Compare each window's digests with what stands in the topics now.

    Args:
        verdict: Of an intact log.
        first_offsets: First offset of each partition; what retention took cannot be compared.
        read: Reads a range.

    Returns:
        Ranges compared, ranges that retention took, and those that differ.
    """
    compared = gone = 0
    faults = []
    by_partition: dict[tuple[str, int], list[tuple[int, Range]]] = defaultdict(list)
    for sequence, each in verdict.ranges:
        by_partition[each.topic, each.partition].append((sequence, each))
    for where, ranges in sorted(by_partition.items()):
        kept = [item for item in ranges if item[1].first >= first_offsets.get(where, 0)]
        gone += len(ranges) - len(kept)
        if not kept:
            continue
        records = read(*where, kept[0][1].first, kept[-1][1].end)
        pending = next(records, None)
        for sequence, each in kept:
            digest = Digest()
            while pending is not None and pending.offset < each.end:
                digest.add(pending.offset, pending.key, pending.value, pending.headers)
                pending = next(records, None)
            compared += 1
            if (digest.count, digest.sha256) != (each.count, each.sha256):
                missing = digest.count < each.count
                faults.append(
                    ChainFault(
                        FaultKind.MISSING if missing else FaultKind.CHANGED, sequence, each.first,
                        f"{each.topic}[{each.partition}] from {each.first} to {each.end}: expected"
                        f" {each.count} records as audited, was {digest.count} or other bytes",
                    )
                )  # fmt: skip
    return compared, gone, faults


def exported(raw: Iterable[Raw], file: IO[str]) -> int:
    """Write an audit log to a file, a record a line, bytes as they stand; return how many."""
    count = 0
    for offset, value in raw:
        text = None if value is None else base64.b64encode(value).decode()
        file.write(json.dumps({"offset": offset, "value": text}) + "\n")
        count += 1
    return count


def read_exported(path: Path) -> Iterator[Raw]:
    """Yield (offset, value) of an exported audit log.

    Raises:
        ConfigurationError: If it cannot be read; names the line.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield _parsed(line, path, number)
    except OSError as error:
        raise ConfigurationError(
            f"Expected an exported audit log at {path}, was: {error}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"Expected text in {path}, was: {error}") from error


def _parsed(line: str, path: Path, number: int) -> Raw:
    try:
        found = json.loads(line)
        value = found["value"]
        return int(found["offset"]), None if value is None else base64.b64decode(value)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise ConfigurationError(
            f'Expected {{"offset": ..., "value": ...}} at {path}:{number}, was: {error!r}'
        ) from error
