"""The auditor's checks on a real run: nothing where all is well, each planted fault by its name."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.audit.content import Place
from pipeline.audit.findings import Finding
from pipeline.audit.ordering import Entry
from pipeline.packets.codec import decode, encode
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.packets.models import Marker, OrderEvent
from pipeline.packets.vocabulary import FlowState, OrderEventKind
from tests.unit.audit.audited_run import (
    NOW_US,
    audited,
    changed,
    entries,
    make_audit,
    moved,
    without,
)

LOGS = ("cascade.strategic", "cascade.tactical", "cascade.risk", "cascade.execution")
FILLS = "cascade.fills"
_LATE = 450


def named(found: list[Finding]) -> list[tuple[str, str, int]]:
    """Return kind, topic and sequence of findings."""
    return sorted((str(each.kind), each.topic, each.sequence) for each in found)


def _first(log: str, wanted: Callable[[Any], bool]) -> tuple[int, Any]:
    """Return (sequence, record) of the first record of a log that is wanted."""
    records = [decode(each.value) for each in entries()[log][1:]]
    return next((n, each) for n, each in enumerate(records) if wanted(each))


def traded(log: str, number: int = 0) -> int:
    """Return the sequence of a record of some flow that was executed, another for each number."""
    plans = [decode(each.value) for each in entries()["cascade.execution"][1:]]
    flows = {p.envelope.flow_id for p in plans if p.execution and p.execution.orders}  # type: ignore[attr-defined]
    found: dict[str, int] = {}
    for sequence, each in enumerate(entries()[log][1:]):
        record: Any = decode(each.value)
        flow = record.envelope.flow_id if hasattr(record, "envelope") else record.flow_id
        if flow in flows and sequence > 20:
            found.setdefault(flow, sequence)
    return list(found.values())[number]


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_sound_run_has_no_findings_in_whichever_order_topics_are_read(seed: int | None) -> None:
    """Downstream logs may be read before what they were made from."""
    topics = entries()
    order = list(topics)
    if seed is not None:
        random.Random(seed).shuffle(order)
    audit = make_audit()

    assert [] == audited(topics, order=order, audit=audit)
    assert len(topics["cascade.market"]) == audit.tallies.packets_in
    assert audit.tallies.outcomes.total() == audit.tallies.packets_in
    assert (0, 0) == (audit.under_way, audit.open_flows)


def test_records_that_are_missing_are_named_and_nothing_else() -> None:
    """What was made of one, and what follows it, is not its fault."""
    topics, planted = entries(), [(log, traded(log, n)) for n, log in enumerate((*LOGS, FILLS))]
    for log, sequence in planted:
        topics = without(topics, log, sequence)

    assert sorted(("missing", *each) for each in planted) == named(audited(topics))


def test_records_that_stand_there_twice_are_named() -> None:
    """The second copy is it."""
    topics, planted = entries(), [(log, traded(log, n)) for n, log in enumerate((*LOGS, FILLS))]
    for log, sequence in planted:
        twice = list(topics[log])
        twice.insert(sequence + 4, twice[sequence + 1])
        topics[log] = [Entry(log, 0, n, e.timestamp_ms, e.value) for n, e in enumerate(twice)]

    assert sorted(("duplicated", *each) for each in planted) == named(audited(topics))


@pytest.mark.parametrize(("late_ms", "kind"), [(0, "reordered"), (2500, "delayed")])
def test_records_that_were_overtaken_are_named(late_ms: int, kind: str) -> None:
    """By a moment: reordered; by more: delayed. The others are in order all the same."""
    topics, planted = entries(), [(log, traded(log, n)) for n, log in enumerate((*LOGS, FILLS))]
    for log, sequence in planted:
        topics = moved(topics, log, sequence, 3, late_ms=late_ms)

    assert sorted((kind, *each) for each in planted) == named(audited(topics))


@pytest.mark.parametrize("seed", range(6))
def test_records_that_were_garbled_are_named(seed: int) -> None:
    """Wherever 32 bytes of one were overwritten, it is this record that is named, once."""
    chance, topics = random.Random(seed), entries()
    planted = [(log, traded(log, n)) for n, log in enumerate((*LOGS, FILLS))]
    for log, sequence in planted:
        entry = topics[log][sequence + 1]
        value = bytearray(entry.value or b"")
        at = chance.randrange(len(value) - 32)
        for place in range(at, at + 32):
            value[place] ^= chance.randrange(1, 256)
        topics[log][sequence + 1] = Entry(log, 0, entry.offset, entry.timestamp_ms, bytes(value))

    assert sorted(("corrupted", *each) for each in planted) == named(audited(topics))


@pytest.mark.parametrize(
    "changes",
    [
        [
            ("cascade.strategic", {"bar": {"volume": 1.25}}),
            ("cascade.tactical", {"strategic": {"volatility": 0.5}}),
            ("cascade.risk", {"tactical": {"momentum": 0.5}}),
            ("cascade.execution", {"bar": {"volume": 1.25}}),
        ],
        [
            ("cascade.strategic", {"strategic": {"volatility": 0.5}}),
            ("cascade.tactical", {"tactical": {"momentum": 0.5}}),
            ("cascade.execution", {"tactical": {"momentum": 0.5}}),
        ],
        [("cascade.tactical", {"envelope": {"event_time": 7}})],
    ],
)
def test_a_change_that_breaks_no_rule_is_found_by_what_others_carry(
    changes: list[tuple[str, dict[str, Any]]],
) -> None:
    """The record that disagrees with its neighbours is named, once."""
    topics, planted = entries(), []
    for number, (log, parts) in enumerate(changes):
        planted.append(("corrupted", log, traded(log, number)))
        topics = changed(topics, log, planted[-1][2], **parts)

    assert sorted(planted) == named(audited(topics))


def test_where_two_records_disagree_alone_both_are_named() -> None:
    """Risk's own part stands in two logs only."""
    sequence = traded("cascade.risk")

    (found,) = audited(changed(entries(), "cascade.risk", sequence, risk={"drawdown": 0.125}))

    assert ("corrupted", "cascade.risk", sequence) == (found.kind, found.topic, found.sequence)
    assert found.also is not None
    assert "cascade.execution" == found.also[0]


def _appended(topics: dict[str, list[Entry]], log: str, record: Any) -> dict[str, list[Entry]]:
    """Return the topics with one more record at the end of a log."""
    last = topics[log][-1]
    more = Entry(log, 0, last.offset + 1, last.timestamp_ms + 1, encode(record))
    return topics | {log: [*topics[log], more]}


def _last(topics: dict[str, list[Entry]], log: str) -> Any:
    return decode(topics[log][-1].value)


def _next(record: Any, **journal: Any) -> Any:
    at = replace(record.journal, log_sequence=record.journal.log_sequence + 1, **journal)
    return replace(record, journal=at)


def test_an_order_without_approval_is_named() -> None:
    """The assessment that its plan was made from did not approve it."""
    topics, sequence = entries(), traded("cascade.execution")
    plan: Any = decode(topics["cascade.execution"][sequence + 1].value)
    topics = changed(
        topics, "cascade.risk", plan.journal.input_sequence,
        risk={"verdict": "REJECT", "reserved": 0.0},
    )  # fmt: skip
    topics = changed(topics, "cascade.execution", sequence, risk={"verdict": "REJECT"})

    assert {"corrupted"} <= {kind for kind, _, _ in named(audited(topics))}


def test_an_announcement_without_a_plan_is_named() -> None:
    """Nobody planned an order of that flow."""
    topics = entries()
    last = _last(topics, FILLS)
    stray = _next(
        replace(last, flow_id="f" * 32, kind=OrderEventKind.SUBMITTING, flow_state=FlowState.OPEN)
    )

    assert ("order", FILLS, stray.journal.log_sequence) in named(
        audited(_appended(topics, FILLS, stray))
    )


def test_what_happens_to_a_flow_after_its_end_is_named() -> None:
    """An end is final."""
    topics = entries()
    again = _next(_last(topics, FILLS))

    found = named(audited(_appended(topics, FILLS, again)))

    assert ("end", FILLS, again.journal.log_sequence) in found


def test_an_order_announced_after_its_deadline_is_named() -> None:
    """By the gateway's own clock."""
    topics = entries()
    sequence, event = _first(FILLS, lambda each: each.kind is OrderEventKind.SUBMITTING)
    late = changed(topics, FILLS, sequence, journal={"now": event.deadline + 5_000_000})

    assert [("order", FILLS, sequence)] == named(audited(late))


def test_more_released_than_reserved_is_named() -> None:
    """Reserved = open + released."""
    topics, log = entries(), "cascade.risk"
    sequence, update = _first(log, lambda each: getattr(each, "released", 0.0) > 0.0)
    greedy = changed(topics, log, sequence, released=update.released * 3)

    assert ("reservation", log, sequence) in named(audited(greedy))


def test_a_record_of_an_owner_that_was_taken_over_does_not_count() -> None:
    """What an old epoch writes behind a new marker is no finding, unless it was used."""
    topics, log = entries(), "cascade.execution"
    zombie = _next(_last(topics, log))
    end = topics[log][-1].offset + 1
    marker = Entry(log, 0, end, 0, encode(Marker("t", "execution", 0, "new", "b", 0)))
    topics[log].append(marker)

    assert [] == audited(_appended(topics, log, zombie))


def test_a_record_made_from_one_that_does_not_count_is_named() -> None:
    """No record of an old epoch is used."""
    topics, log = entries(), "cascade.execution"
    plan = _next(_last(topics, log), input_sequence=99_999)

    found = named(audited(_appended(topics, log, plan)))

    assert ("unsourced", log, plan.journal.log_sequence) in found


def test_a_second_record_of_one_input_is_named() -> None:
    """Each input has one."""
    topics, log = entries(), "cascade.execution"
    plan = _next(_last(topics, log))

    assert ("duplicated", log, plan.journal.log_sequence) in named(
        audited(_appended(topics, log, plan))
    )


def test_an_input_that_was_passed_over_is_named() -> None:
    """The next stage went on behind it, and has no record of it."""
    topics, log = entries(), "cascade.execution"
    *rest, last = topics[log]
    plan: Any = decode(last.value)
    before: Any = decode(rest[-1].value)
    moved_on = rest[-1]
    journal = replace(before.journal, resume_sequence=plan.journal.resume_sequence)
    rest[-1] = Entry(log, 0, moved_on.offset, moved_on.timestamp_ms,
                     encode(replace(before, journal=journal)))  # fmt: skip

    found = named(audited(topics | {log: rest}))

    assert ("unanswered", "cascade.risk", plan.journal.input_sequence) in found


def test_a_batch_that_a_producer_lost_is_no_finding() -> None:
    """What came behind the hole never counted: the next owner goes on at the hole."""
    topics, log = entries(), "cascade.tactical"
    whole, kept = topics[log], topics[log][:200]
    hole, ghost = whole[200:203], whole[203:206]
    del hole
    marker_at = kept[-1].offset + 1 + len(ghost)
    marker = encode(Marker("token", "tactical", 0, "reference", "reference", 0))
    again = []
    for each in whole[200:]:
        record: Any = decode(each.value)
        again.append(encode(replace(record, journal=replace(record.journal, epoch=marker_at))))
    values = [*(e.value for e in kept), *(e.value for e in ghost), marker, *again]
    topics[log] = [Entry(log, 0, n, whole[0].timestamp_ms + n, v) for n, v in enumerate(values)]
    topics["cascade.risk"] = [_refer(each, marker_at, 199) for each in topics["cascade.risk"]]

    assert [] == audited(topics)


def _refer(each: Entry, epoch: int, after: int) -> Entry:
    """Return an entry of risk's log, made from the new epoch's records of tactical's."""
    record: Any = decode(each.value)
    journal = getattr(record, "journal", None)
    if journal is None or journal.input_topic != "cascade.tactical":
        return each
    if journal.input_sequence < after:
        return each
    made = replace(record, journal=replace(journal, input_epoch=epoch))
    return Entry(each.topic, 0, each.offset, each.timestamp_ms, encode(made))


def test_what_came_out_and_never_went_in_is_named() -> None:
    """In = out + under way, packet by packet."""
    topics = entries()
    dropped = topics["cascade.market"].pop()
    record: Any = decode(dropped.value)

    found = audited(topics)

    assert {"conservation", "unsourced"} == {str(each.kind) for each in found}
    assert {record.envelope.flow_id} == {each.flow_id for each in found}


def _in_two_lanes(topics: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
    """Return the topics as if every third packet had come in the priority lane."""
    lanes: dict[str, list[Entry]] = {topic: [] for topic in INGEST_TOPICS}
    places = []
    for each in topics["cascade.market"]:
        topic = INGEST_TOPICS[each.offset % 3 == 0]
        places.append((topic, len(lanes[topic])))
        lanes[topic].append(Entry(topic, 0, len(lanes[topic]), each.timestamp_ms, each.value))
    signals = topics["cascade.strategic"][:1]
    for each in topics["cascade.strategic"][1:]:
        record: Any = decode(each.value)
        topic, offset = places[record.journal.input_offset]
        journal = replace(
            record.journal, input_topic=topic, input_offset=offset, resume_offset=offset + 1
        )
        value = encode(replace(record, journal=journal))
        signals.append(Entry(each.topic, 0, each.offset, each.timestamp_ms, value))
    return topics | lanes | {"cascade.strategic": signals}


def test_packets_of_both_lanes_are_followed() -> None:
    """A sound run has no findings; one that is missing in the priority lane is named."""
    topics = _in_two_lanes(entries())
    audit = make_audit()
    assert [] == audited(topics, audit=audit)
    assert len(entries()["cascade.market"]) == audit.tallies.packets_in

    dropped: Any = decode(topics["cascade.market.priority"].pop().value)
    found = audited(topics)
    assert {"conservation", "unsourced"} == {str(each.kind) for each in found}
    assert {dropped.envelope.flow_id} == {each.flow_id for each in found}


def _until(found: list[Entry], packets: int) -> list[Entry]:
    """Return the entries of a topic that belong to the first packets of the run."""
    flows = {
        decode(each.value).envelope.flow_id  # type: ignore[attr-defined]
        for each in entries()["cascade.market"][packets:]
    }
    for number, each in enumerate(found):
        record: Any = decode(each.value)
        envelope = getattr(record, "envelope", None)
        flow = envelope.flow_id if envelope is not None else getattr(record, "flow_id", "")
        if flow in flows:
            return found[:number]
    return found


def test_a_restart_in_the_middle_finds_the_same() -> None:
    """From the places of the audit log on, with what is under way read again."""
    topics = without(entries(), "cascade.tactical", _LATE)
    first = make_audit()
    half = {topic: _until(found, 300) for topic, found in topics.items()}
    until = max(found[-1].timestamp_ms for found in half.values())
    early: list[Finding] = []
    for each in (each for found in half.values() for each in found):
        early += first.take(each, NOW_US)
    early += first.advance(until * 1000, NOW_US)
    settled = {topic: place for (topic, _), place in first.settled().items()}

    rest = {t: [e for e in topics[t] if e.offset >= settled[t].offset] for t in topics}
    late = audited(rest, audit=make_audit(settled))

    assert [] == early
    assert [("missing", "cascade.tactical", _LATE)] == named(late)
    assert any(place != Place(0) for place in settled.values())


def test_event_is_what_it_says() -> None:
    """The run that the tests plant in has orders."""
    assert any(isinstance(decode(e.value), OrderEvent) for e in entries()[FILLS][1:])
