"""Reading dead letters back: the original bytes, and why each record ended where it did.

A letter is written at least once: a stage that is taken over in the middle of a round writes the
round's letters again. They are told apart by their coordinates, the place of the original record.
What people did about a letter stands behind it in the same topic (`pipeline.stages.dispositions`).
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipeline.errors import BrokerUnavailable, MalformedPacket, UsageError
from pipeline.packets.models import DeadLetter
from pipeline.settings import Settings
from pipeline.stages.dead_letters import HEADER_PREFIX
from pipeline.stages.dispositions import Disposition, DispositionKind
from pipeline.topics import TopicFile
from pipeline.transport.clients import drain, log_consumer, watermarks

__all__ = [
    "Coordinates",
    "DeadLetters",
    "DeadRecord",
    "collect",
    "dead_topics",
    "letter_of",
    "read_dead_letters",
]

_SUFFIX = ".dead"
_KEY = "key"
_BATCH = 500
_REQUEST_S = 5.0

Headers = Iterable[tuple[str, bytes | str | None]]


class Coordinates(NamedTuple):
    """The place of an original record; topics are named without namespace."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `TOPIC:PARTITION:OFFSET` spells.

        Raises:
            UsageError: If it spells nothing.
        """
        topic, *numbers = text.split(":")
        expected = 2
        if not topic or len(numbers) != expected or not all(part.isdecimal() for part in numbers):
            raise UsageError(
                f"Expected TOPIC:PARTITION:OFFSET such as cascade.market:0:17, was {text!r}."
                " `cascade dlq list` shows those there are."
            )
        return cls(topic, int(numbers[0]), int(numbers[1]))

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """One record that was dead-lettered, however often its letter was written.

    Attributes:
        letter: Why, and where it stood.
        key: Its key, unchanged.
        value: Its value, unchanged.
        copies: How many letters there are of it.
        dispositions: What was done about it, oldest first.
    """

    letter: DeadLetter
    key: bytes | None
    value: bytes | None
    copies: int = 1
    dispositions: tuple[Disposition, ...] = ()

    @property
    def open(self) -> bool:
        """Whether nobody has replayed or discarded it yet."""
        return not self.dispositions

    @property
    def discarded(self) -> bool:
        """Whether somebody has discarded it."""
        return any(each.kind is DispositionKind.DISCARDED for each in self.dispositions)

    @property
    def attempts(self) -> int:
        """How often it was replayed."""
        return sum(each.kind is DispositionKind.REPLAYED for each in self.dispositions)

    @property
    def coordinates(self) -> Coordinates:
        """Where the original record stood."""
        return Coordinates(self.letter.topic, self.letter.partition, self.letter.offset)

    @property
    def sha256(self) -> str:
        """SHA-256 of the value, hexadecimal; of no bytes where it was null."""
        return hashlib.sha256(self.value or b"").hexdigest()


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """What stood in the dead-letter topics.

    Attributes:
        records: One per original record, by coordinates.
        unreadable: Where records stand that no stage wrote, with what is wrong with each.
    """

    records: tuple[DeadRecord, ...]
    unreadable: tuple[str, ...] = ()

    def by_cause(self) -> dict[tuple[str, str, str], list[DeadRecord]]:
        """Return the records by (cause, stage, topic), the most frequent first."""
        groups: dict[tuple[str, str, str], list[DeadRecord]] = {}
        for record in self.records:
            letter = record.letter
            cause = (letter.error_class, letter.stage, letter.topic)
            groups.setdefault(cause, []).append(record)
        return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def letter_of(headers: Headers) -> tuple[DeadLetter, bytes | None]:
    """Return the letter that headers spell, and the original key where there was one.

    Raises:
        MalformedPacket: If they spell none.
    """
    found: dict[str, Any] = {}
    key: bytes | None = None
    for name, value in headers:
        field = name.removeprefix(HEADER_PREFIX)
        if field == name or value is None:
            continue
        raw = value.encode() if isinstance(value, str) else value
        if field == _KEY:
            key = raw
        else:
            found[field] = raw.decode(errors="replace")
    try:
        return msgspec.convert(found, DeadLetter, strict=False), key
    except msgspec.ValidationError as error:
        raise MalformedPacket(f"Expected the headers of a dead letter, was: {error}") from error


def collect(messages: Iterable[Message]) -> DeadLetters:
    """Return the records behind dead letters, in order of their coordinates."""
    records: dict[Coordinates, DeadRecord] = {}
    done: dict[str, list[Disposition]] = {}
    unreadable: list[str] = []
    for message in messages:
        try:
            headers = list(_pairs(message))
            if (disposition := Disposition.read(headers)) is not None:
                done.setdefault(disposition.coordinates, []).append(disposition)
                continue
            letter, key = letter_of(headers)
        except MalformedPacket as error:
            place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
            unreadable.append(f"{place}: {error}")
            continue
        record = DeadRecord(letter, key, _bytes(message.value()))
        known = records.get(record.coordinates)
        records[record.coordinates] = record if known is None else _again(known)
    ordered = (
        replace(record, dispositions=tuple(done.get(str(coordinates), ())))
        for coordinates, record in sorted(records.items())
    )
    return DeadLetters(tuple(ordered), tuple(unreadable))


def _again(known: DeadRecord) -> DeadRecord:
    return replace(known, copies=known.copies + 1)


def _pairs(message: Message) -> Headers:
    headers = message.headers() or ()
    return headers.items() if isinstance(headers, dict) else headers


def dead_topics(topic: str | None = None) -> list[str]:
    """Return the dead-letter topics of `topics.yaml`, or the one of `topic`.

    Args:
        topic: An input topic, or its dead-letter topic, without namespace; all where None.

    Raises:
        UsageError: If `topic` has none.
    """
    file = TopicFile.load()
    known = [name for name, each in file.topics.items() if each.kind == "dead_letters"]
    if topic is None:
        return known
    wanted = topic if topic.endswith(_SUFFIX) else topic + _SUFFIX
    if wanted not in known:
        inputs = ", ".join(name.removesuffix(_SUFFIX) for name in known)
        raise UsageError(f"Expected a topic of {inputs}, was {topic!r}")
    return [wanted]


def read_dead_letters(
    settings: Settings,
    topics: Sequence[str],
    *,
    timeout_s: float = 60.0,
    monotonic: Callable[[], float] = time.monotonic,
) -> DeadLetters:
    """Return what stands in dead-letter topics at the moment of the call.

    Reads by plain assignment: no group, no offsets committed. All letters are held in memory.

    Args:
        settings: Broker and namespace.
        topics: Dead-letter topics, without namespace.
        timeout_s: For all of it.
        monotonic: Seconds that only run forward.

    Raises:
        BrokerUnavailable: If the broker does not answer, or not in time.
        UsageError: If a topic is not there.
    """
    deadline_s = monotonic() + timeout_s
    consumer = log_consumer(settings, "dlq")
    try:
        ends: dict[tuple[str, int], int] = {}
        starts: list[TopicPartition] = []
        for real, partition in _partitions(consumer, settings, topics):
            low, high = watermarks(consumer, real, partition, _REQUEST_S)
            if high > low:
                ends[real, partition] = high
                starts.append(TopicPartition(real, partition, low))
        consumer.assign(starts)
        return collect(_read(consumer, ends, lambda: monotonic() > deadline_s))
    finally:
        consumer.close()


def _partitions(
    consumer: Consumer, settings: Settings, topics: Sequence[str]
) -> list[tuple[str, int]]:
    try:
        found = consumer.list_topics(timeout=_REQUEST_S).topics
    except KafkaException as error:
        raise BrokerUnavailable(
            f"Expected topics from the broker at {settings.broker}, was: {error.args[0].str()}."
            " Check CASCADE_BROKER and that it runs: `cascade broker status`."
        ) from error
    reals = [settings.topic(name) for name in topics]
    if missing := [real for real in reals if real not in found]:
        raise UsageError(
            f"Expected topics {', '.join(missing)}, was not there. Check CASCADE_NAMESPACE, or run"
            " `cascade topics apply`."
        )
    return [(real, partition) for real in reals for partition in found[real].partitions]


def _read(
    consumer: Consumer, ends: dict[tuple[str, int], int], expired: Callable[[], bool]
) -> list[Message]:
    messages: list[Message] = []
    left = dict(ends)
    while left:
        if expired():
            where = ", ".join(f"{topic}[{partition}]" for topic, partition in left)
            raise BrokerUnavailable(f"Expected {where} to be read in time, was not")
        for message in drain(consumer, _BATCH, 0.2):
            place = (str(message.topic()), int(message.partition() or 0))
            offset = int(message.offset() or 0)
            if offset < ends[place]:
                messages.append(message)
            if offset + 1 >= ends[place]:
                left.pop(place, None)
    return messages


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
