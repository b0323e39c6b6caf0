"""Reading dead letters: headers back to letters, copies to one record, arguments checked."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka import Message

from pipeline.errors import MalformedPacket, UsageError
from pipeline.packets.models import DeadLetter
from pipeline.replay import (
    Coordinates,
    DeadLetters,
    DeadRecord,
    Disposition,
    DispositionKind,
    collect,
    dead_topics,
    letter_of,
    refusal,
)
from pipeline.stages.dead_letters import HEADER_PREFIX, headers_of

LETTER = DeadLetter(
    "cascade.market", 2, 17, 1_700_000_000_000, "cascade.strategic", "strategic", "MALFORMED",
    "Expected ü, was \x00", 1, 1_700_000_000_000_001, "flow-unreadable",
)  # fmt: skip


@dataclass
class FakeMessage:
    """A record of a dead-letter topic."""

    headers_: list[tuple[str, bytes]] = field(default_factory=lambda: headers_of(LETTER))
    value_: bytes | None = b"\x00bytes"
    offset_: int = 0

    def headers(self) -> list[tuple[str, bytes]]:
        return self.headers_

    def value(self) -> bytes | None:
        return self.value_

    def topic(self) -> str:
        return "cascade.market.dead"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.offset_


def _collected(*messages: FakeMessage) -> DeadLetters:
    return collect(cast(list[Message], list(messages)))


def _record(*done: DispositionKind, topic: str = "cascade.market") -> DeadRecord:
    fields = {name: getattr(LETTER, name) for name in LETTER.__struct_fields__}
    letter = DeadLetter(**{**fields, "topic": topic})
    dispositions = tuple(Disposition(kind, f"{topic}:2:17", "me", "why", 1) for kind in done)
    return DeadRecord(letter, None, b"bytes", dispositions=dispositions)


def _letter(**changes: Any) -> FakeMessage:
    fields = {name: getattr(LETTER, name) for name in LETTER.__struct_fields__}
    return FakeMessage(headers_of(DeadLetter(**{**fields, **changes})))


def test_a_letter_comes_back_from_its_headers() -> None:
    """What a stage wrote as headers is read as the same letter, whatever text is in it."""
    assert (LETTER, None) == letter_of(headers_of(LETTER))


def test_the_original_key_travels_beside_the_letter() -> None:
    """The key header gives the original key, bytes unchanged."""
    headers = [*headers_of(LETTER), (f"{HEADER_PREFIX}key", b"\xff\x00")]
    assert (LETTER, b"\xff\x00") == letter_of(headers)


def test_headers_of_others_are_left_out() -> None:
    """Headers without our prefix are not the letter's business."""
    assert LETTER == letter_of([("traceparent", b"\xff"), *headers_of(LETTER)])[0]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        headers_of(LETTER)[1:],
        [*headers_of(LETTER)[1:], (f"{HEADER_PREFIX}topic", None)],
        [*headers_of(LETTER), (f"{HEADER_PREFIX}offset", b"seventeen")],
    ],
    ids=["none", "field missing", "field null", "no number"],
)
def test_headers_that_spell_no_letter_are_refused(headers: Any) -> None:
    """A record that no stage wrote is said to be none, not guessed at."""
    with pytest.raises(MalformedPacket):
        letter_of(headers)


def test_letters_of_one_record_count_once() -> None:
    """Copies of a letter are one record, with the number of copies."""
    found = _collected(FakeMessage(), FakeMessage(), _letter(offset=18), FakeMessage())
    assert [(17, 3), (18, 1)] == [(r.letter.offset, r.copies) for r in found.records]


def test_records_are_ordered_by_coordinates() -> None:
    """Order is by topic, partition and offset as numbers."""
    found = _collected(_letter(offset=100), _letter(offset=20), _letter(partition=0, offset=300))
    expected = ["cascade.market:0:300", "cascade.market:2:20", "cascade.market:2:100"]
    assert expected == [str(record.coordinates) for record in found.records]


def test_foreign_records_are_named_and_do_not_hide_the_rest() -> None:
    """A record without headers is reported with its place; the letters beside it are read."""
    found = _collected(FakeMessage([], offset_=5), FakeMessage())
    assert 1 == len(found.records)
    assert [True] == [text.startswith("cascade.market.dead[0]@5") for text in found.unreadable]


def test_the_value_is_unchanged_and_hashed() -> None:
    """Bytes come back as they were, and a null value stays null."""
    (record,) = _collected(FakeMessage(value_=b"abc")).records
    assert b"abc" == record.value
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == record.sha256
    assert _collected(FakeMessage(value_=None)).records[0].value is None


def _disposed(kind: DispositionKind, coordinates: str, target: str = "") -> FakeMessage:
    disposition = Disposition(kind, coordinates, "me", "seen to", 5, target)
    return FakeMessage(disposition.headers(), value_=None)


def test_what_was_done_stands_behind_its_letter() -> None:
    """Dispositions are no letters; they are found by coordinates, oldest first."""
    place = "cascade.market:2:17"
    replayed = _disposed(DispositionKind.REPLAYED, place, "cascade.market:2:99")
    found = _collected(
        FakeMessage(), _letter(offset=18), replayed, _disposed(DispositionKind.DISCARDED, place)
    )
    done, open_ = found.records
    assert (done.open, done.attempts, done.discarded) == (False, 1, True)
    assert [each.author for each in done.dispositions] == ["me", "me"]
    assert done.dispositions[0].target == "cascade.market:2:99"
    assert (open_.open, open_.attempts, open_.discarded) == (True, 0, False)
    assert not found.unreadable


def test_a_torn_disposition_is_named() -> None:
    """It hides nothing and does nothing."""
    headers = _disposed(DispositionKind.DISCARDED, "cascade.market:2:17").headers()[1:]
    found = _collected(FakeMessage(), FakeMessage(headers))
    assert found.records[0].open
    assert "disposition" in found.unreadable[0]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (_record(), ""),
        (_record(DispositionKind.DISCARDED), "discarded"),
        (_record(*[DispositionKind.REPLAYED] * 2), ""),
        (_record(*[DispositionKind.REPLAYED] * 3), "replayed 3 times"),
        (_record(topic="cascade.fills"), "reconcile the account"),
    ],
)
def test_what_may_not_be_sent_again_says_why(record: DeadRecord, why: str) -> None:
    """Discarded letters, those tried too often, and fills."""
    assert why in refusal(record)
    assert bool(why) == bool(refusal(record))


def test_causes_come_most_frequent_first() -> None:
    """Records are grouped by cause, stage and topic."""
    messages = [_letter(offset=n, error_class="DUPLICATE" if n else "MALFORMED") for n in range(3)]
    groups = _collected(*messages).by_cause()
    assert ["DUPLICATE", "MALFORMED"] == [cause for cause, _, _ in groups]
    assert [2, 1] == [len(records) for records in groups.values()]


def test_coordinates_are_read_as_they_are_written() -> None:
    """The text of coordinates is read back as the same coordinates."""
    coordinates = Coordinates("cascade.market", 3, 4711)
    assert coordinates == Coordinates.parse(str(coordinates))


@pytest.mark.parametrize("text", ["", "a.b", "a:1", "a:1:x", ":1:2", "a:1:2:3", "a:-1:2"])
def test_coordinates_that_are_none_are_refused(text: str) -> None:
    """Anything but TOPIC:PARTITION:OFFSET says what was expected."""
    with pytest.raises(UsageError, match="TOPIC:PARTITION:OFFSET"):
        Coordinates.parse(text)


def test_the_topic_may_be_named_by_its_input() -> None:
    """Both the input topic and its dead-letter topic name the latter."""
    assert ["cascade.market.dead"] == dead_topics("cascade.market")
    assert ["cascade.market.dead"] == dead_topics("cascade.market.dead")


def test_every_input_topic_has_its_dead_letters() -> None:
    """Without a topic, those of all inputs are read."""
    assert {"cascade.market.dead", "cascade.strategic.dead", "cascade.tactical.dead"} <= set(
        dead_topics()
    )


def test_a_topic_without_dead_letters_is_refused() -> None:
    """A misspelt topic is an error with the known ones, not an empty list."""
    with pytest.raises(UsageError, match=r"cascade\.market"):
        dead_topics("cascade.markt")
