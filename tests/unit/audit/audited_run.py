"""A real run as an auditor reads it, to plant faults in."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from pipeline.audit.content import Place
from pipeline.audit.findings import Finding
from pipeline.audit.flow_audit import FlowAudit
from pipeline.audit.ordering import Entry
from pipeline.packets.codec import decode, encode
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.rules.registry import RuleSet
from pipeline.rules.windows import STAGE_LOGS
from tests.unit.rules.real_packets import entries_of_run, run_settings

__all__ = [
    "NOW_US",
    "PATIENCE_S",
    "audited",
    "changed",
    "entries",
    "make_audit",
    "moved",
    "without",
]

PATIENCE_S = 5.0
_START_MS = 1_000_000_000_000  # before the bars were made
_LONG_MS = 100_000
NOW_US = 2_000_000_000_000_000

Topics = dict[str, list[Entry]]


def entries() -> Topics:
    """Return all entries of a sound run by topic; they come 40 ms apart."""
    return {
        topic: [
            Entry(topic, 0, offset, _START_MS + 40 * offset + rank, value)
            for offset, value in found
        ]
        for rank, (topic, found) in enumerate(entries_of_run().items())
    }


def make_audit(begin: Mapping[str, Place] | None = None) -> FlowAudit:
    """Return an audit that begins at the start of all topics, or elsewhere."""
    rules = RuleSet()
    audit = FlowAudit(rules.of_packets, run_settings(), patience_s=PATIENCE_S, open_limit_s=600.0)
    places = {(topic, 0): Place(0) for topic in (*INGEST_TOPICS, *STAGE_LOGS)}
    audit.begin(places | {(topic, 0): place for topic, place in (begin or {}).items()})
    return audit


def audited(
    topics: Topics, *, order: Sequence[str] | None = None, audit: FlowAudit | None = None
) -> list[Finding]:
    """Return what an auditor finds that reads topic by topic, and waits long enough at the end.

    Args:
        topics: What stands in the topics.
        order: Which topics are read first; None: as they come.
        audit: The audit; None: one of its own.
    """
    audit = audit or make_audit()
    found: list[Finding] = []
    newest = 0
    for topic in order or tuple(topics):
        for each in topics[topic]:
            found += audit.take(each, NOW_US)
            newest = max(newest, each.timestamp_ms)
    for step in range(1, 4):
        found += audit.advance((newest + step * _LONG_MS) * 1000, NOW_US)
    return found


def without(topics: Topics, topic: str, sequence: int) -> Topics:
    """Return the topics without a record of a log; later ones move up, as in a copy of it."""
    left = [each for each in topics[topic] if each.offset != sequence + 1]
    return topics | {topic: _renumbered(left)}


def moved(topics: Topics, topic: str, sequence: int, by: int, *, late_ms: int = 0) -> Topics:
    """Return the topics with a record further behind, appended so much later."""
    left = list(topics[topic])
    one = left.pop(sequence + 1)
    behind = left[sequence + by]
    moved_one = Entry(topic, 0, 0, behind.timestamp_ms + late_ms, one.value)
    left.insert(sequence + 1 + by, moved_one)
    return topics | {topic: _renumbered(left)}


def changed(topics: Topics, topic: str, sequence: int, **parts: Any) -> Topics:
    """Return the topics with fields of a log's record replaced; a dict replaces within a part."""
    found = list(topics[topic])
    entry = found[sequence + 1]
    record: Any = decode(entry.value)
    fields = {
        name: replace(getattr(record, name), **value) if isinstance(value, dict) else value
        for name, value in parts.items()
    }
    value = encode(replace(record, **fields))
    found[sequence + 1] = Entry(topic, 0, entry.offset, entry.timestamp_ms, value)
    return topics | {topic: found}


def _renumbered(found: Iterable[Entry]) -> list[Entry]:
    return [
        Entry(each.topic, 0, offset, each.timestamp_ms, each.value)
        for offset, each in enumerate(found)
    ]
