"""Flows from stage to stage: one record per input, in order, with one outcome that stays."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from pipeline.packets.lanes import is_urgent
from pipeline.packets.models import Outcome
from pipeline.packets.runs import packets_of, run_of, unrolled
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.rules.oracle.reading import Accepted

__all__ = [
    "count_outcomes",
    "fates_stay",
    "inputs_used_by_the_rule",
    "one_record_per_input",
    "outcomes_add_up",
    "symbols_in_order",
]


def one_record_per_input(
    inputs: Mapping[tuple[str, int], Iterable[int]], records: Iterable[Accepted]
) -> list[str]:
    """Check that each input has exactly one record; a run is the record of all its packets.

    Args:
        inputs: Offsets of the inputs that need a record, by (topic, partition).
        records: The records that count.
    """
    wanted = {(*where, offset) for where, offsets in inputs.items() for offset in offsets}
    counts = Counter(place for each in records for place in _inputs_of(each, wanted))
    missing = sorted(wanted - counts.keys())
    return [
        *(f"{topic}[{partition}]@{offset}: no record" for topic, partition, offset in missing),
        *(
            f"{topic}[{partition}]@{offset}: {count} records"
            for (topic, partition, offset), count in sorted(counts.items())
            if count > 1
        ),
        *(
            f"{topic}[{partition}]@{offset}: a record of an input that is none"
            for topic, partition, offset in sorted(counts.keys() - wanted)
        ),
    ]


def _inputs_of(
    each: Accepted, wanted: Collection[tuple[str, int, int]]
) -> Iterator[tuple[str, int, int]]:
    """Yield the inputs that a record was made from; those of a run where they are looked at."""
    journal = each.journal
    topic, partition = journal.input_topic, journal.input_partition
    yield topic, partition, journal.input_offset
    run = run_of(each.record)
    if run is None or each.record.envelope.source_system != each.record.envelope.outcome.stage:
        return  # a later stage's record of a run is made from the one before it
    for packet in run.packets:
        place = (topic, partition, packet.offset)
        if packet.offset != journal.input_offset and place in wanted:
            yield place


def symbols_in_order(records: Iterable[Accepted]) -> list[str]:
    """Check that bars count in the order of their sequence numbers, each once.

    That is for each symbol, and for each lane of it: urgent packets overtake others.
    """
    newest: dict[tuple[str, bool], int] = {}
    found = []
    for partition, offset, packet in (
        (each.partition, each.offset, packet)
        for each in records
        for packet in unrolled(each.record)
    ):
        if getattr(packet, "bar", None) is None:
            continue
        envelope = packet.envelope
        lane = (envelope.symbol, is_urgent(envelope.priority))
        before = newest.get(lane, -1)
        if envelope.sequence <= before:
            found.append(
                f"[{partition}]@{offset}: sequence {envelope.sequence} of {envelope.symbol}"
                f" after {before}"
            )
        newest[lane] = max(before, envelope.sequence)
    return found


def inputs_used_by_the_rule(
    topic: str, upstream: Iterable[Accepted], downstream: Iterable[Accepted]
) -> list[str]:
    """Check that records were made only from upstream records that count.

    Args:
        topic: The upstream log, without namespace.
        upstream: Its records that count.
        downstream: The records made from it, and from other inputs.
    """
    counted = {(u.partition, u.offset): u.journal for u in upstream}
    found = []
    for partition, offset, _, journal in downstream:
        if journal.input_topic != topic:
            continue
        source = counted.get((journal.input_partition, journal.input_offset))
        place = f"[{partition}]@{offset}: made from {topic}[{journal.input_partition}]"
        if source is None:
            found.append(f"{place}@{journal.input_offset}, which does not count")
        elif (source.epoch, source.log_sequence) != (journal.input_epoch, journal.input_sequence):
            found.append(
                f"{place}@{journal.input_offset} as epoch {journal.input_epoch}, sequence"
                f" {journal.input_sequence}; it is {source.epoch}, {source.log_sequence}"
            )
    return found


def fates_stay(upstream: Iterable[Accepted], downstream: Iterable[Accepted]) -> list[str]:
    """Check that a fate, once sealed, is the same in the next stage's log.

    So what was rejected, held or expired is never taken up again.
    """
    sealed = {
        each.record.envelope.flow_id: each.record.envelope.outcome
        for each in upstream
        if _outcome(each) is not None
    }
    found = []
    for each in downstream:
        envelope = getattr(each.record, "envelope", None)
        before = sealed.get(envelope.flow_id) if envelope is not None else None
        if before is not None and envelope is not None and envelope.outcome != before:
            found.append(
                f"flow {envelope.flow_id}: {before.kind} by {before.stage}, then {_kind(each)}"
            )
    return found


def count_outcomes(records: Iterable[Accepted]) -> Counter[str]:
    """Return how many flows of execution's log ended how; "open" where one has no end."""
    counts: Counter[str] = Counter()
    for each in records:
        counts[_kind(each)] += packets_of(each.record)
    return counts


def outcomes_add_up(packets_in: int, records: Iterable[Accepted]) -> list[str]:
    """Check that as many flows ended in execution's log as went in, each in one way.

    Args:
        packets_in: Records of the ingest topic.
        records: Records of execution's log that count.
    """
    counts = count_outcomes(records)
    unended = counts.pop("open", 0)
    found = [f"{unended} flows of execution's log have no outcome"] if unended else []
    if unknown := counts.keys() - {kind.value for kind in OutcomeKind}:
        found.append(f"outcomes that are none: {', '.join(sorted(unknown))}")
    if counts.total() != packets_in:
        found.append(f"{packets_in} packets went in, {counts.total()} ended: {dict(counts)}")
    return found


def _outcome(each: Accepted) -> Outcome | None:
    envelope = getattr(each.record, "envelope", None)
    return None if envelope is None else envelope.outcome


def _kind(each: Accepted) -> str:
    outcome = _outcome(each)
    return "open" if outcome is None else outcome.kind.value
