"""`topics.yaml`: reading it strictly and checking that its topics fit together."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigurationError
from pipeline.packets import schemas
from pipeline.resources import resource
from pipeline.yaml_file import Positions, load_with_positions

__all__ = ["Profile", "Topic", "TopicFile"]

_HOUR_MS = 3_600_000
_FOREVER = "forever"

Kind = Literal["ingest", "log", "snapshots", "dead_letters", "commands", "view", "events"]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]
TopicName = Annotated[str, Field(pattern=r"^cascade(\.[a-z]+)+$", max_length=120)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Profile(_Strict):
    """How safe the topics of an installation are.

    Attributes:
        replication: Replicas of each partition.
        min_insync_replicas: Replicas that must have a record before it is acknowledged.
    """

    replication: Annotated[int, Field(ge=1, le=15)]
    min_insync_replicas: Annotated[int, Field(ge=1, le=15)]


class _Defaults(_Strict):
    cleanup: Literal["delete", "compact"]
    timestamps: Literal["append", "create"]
    max_message_bytes: Annotated[int, Field(ge=1024, le=2**31 - 1)]


class Topic(_Strict):
    """One topic, as it is to be.

    Attributes:
        description: What is in it, for people.
        kind: Its part in the cascade.
        key: What its records are keyed by; `none` where they have no key.
        schemas: Record types of its values; none where the bytes stay as they came.
        headers: Record type that travels as headers.
        producers: Who writes it.
        consumers: Who reads it.
        partitions: Partition count, fixed for life.
        retention: Hours that records are kept, or `forever`.
        cleanup: `delete` old records, or `compact` to the newest of each key.
        timestamps: Whether the broker (`append`) or the producer (`create`) dates records.
        max_message_bytes: Largest batch of records.
    """

    description: Annotated[str, Field(min_length=1)]
    kind: Kind
    key: Word
    schemas: list[str]
    headers: str | None = None
    producers: Annotated[list[Word], Field(min_length=1)]
    consumers: list[Word]
    partitions: Annotated[int, Field(ge=1, le=10_000)]
    retention: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["forever"]
    cleanup: Literal["delete", "compact"]
    timestamps: Literal["append", "create"]
    max_message_bytes: Annotated[int, Field(ge=1024, le=2**31 - 1)]

    @property
    def retention_ms(self) -> int:
        """Milliseconds that records are kept; -1 for ever."""
        return -1 if isinstance(self.retention, str) else self.retention * _HOUR_MS

    @property
    def keyed(self) -> bool:
        """Whether its records have keys, so that another partition count sends them elsewhere."""
        return self.key != "none"

    def config(self, profile: Profile) -> dict[str, str]:
        """Return the topic's configuration on the broker."""
        return {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": "LogAppendTime"
            if self.timestamps == "append"
            else "CreateTime",
            "min.insync.replicas": str(profile.min_insync_replicas),
            "retention.bytes": "-1",
            "retention.ms": str(self.retention_ms),
            # A log that loses acknowledged records would break every reader's position.
            "unclean.leader.election.enable": "false",
        }


class TopicFile(_Strict):
    """The content of `topics.yaml`; read it with `load`.

    Attributes:
        version: Version of the file's format.
        defaults: What topics take that say nothing else.
        profiles: Profiles by name.
        topics: Topics by name, without namespace.
    """

    version: Literal[1]
    defaults: _Defaults
    profiles: Annotated[dict[Word, Profile], Field(min_length=1)]
    topics: Annotated[dict[TopicName, Topic], Field(min_length=1)]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the content of a topics file, checked.

        Args:
            path: The file; the project's own where it is None.

        Raises:
            ConfigurationError: Unreadable, an unknown or repeated key, a value that cannot be, or
                topics that do not fit together; names the line.
        """
        path = path or resource("topics.yaml")
        content, positions = load_with_positions(path)
        try:
            file = cls.model_validate(_with_defaults(content))
        except ValidationError as error:
            faults = [_sentence(dict(fault), positions) for fault in error.errors()]
            raise ConfigurationError(_together(path, faults)) from error
        faults = [f"line {positions[key]}: {text}" for key, text in file.faults()]
        if faults:
            raise ConfigurationError(_together(path, faults))
        return file

    def with_symbol_partitions(self, count: int) -> Self:
        """Return the file with another count of partitions for what is keyed by symbol.

        For a namespace of its own: counts are fixed for the life of one.
        """

        def by_symbol(name: str) -> bool:
            source = name.removesuffix(".snapshots").removesuffix(".dead")
            return self.topics[source].key == "symbol"

        topics = {
            name: topic.model_copy(update={"partitions": count}) if by_symbol(name) else topic
            for name, topic in self.topics.items()
        }
        return self.model_copy(update={"topics": topics})

    def profile(self, name: str) -> Profile:
        """Return a profile by name.

        Raises:
            ConfigurationError: If there is no such profile.
        """
        if name not in self.profiles:
            known = ", ".join(self.profiles)
            raise ConfigurationError(f"Expected a topic profile of {known}, was {name!r}")
        return self.profiles[name]

    def faults(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield (path of the key, what is wrong) for whatever does not fit together."""
        for name, profile in self.profiles.items():
            if profile.min_insync_replicas > profile.replication:
                yield ("profiles", name), "Expected min_insync_replicas up to replication"
        for name, topic in self.topics.items():
            for fault in self._faults_of(name, topic):
                yield ("topics", name), f"{name}: {fault}"
        for key in ("symbol", "account"):
            counts = {n: t.partitions for n, t in self.topics.items() if t.key == key}
            if len(set(counts.values())) > 1:
                first = next(iter(counts))
                yield ("topics", first), f"Expected one partition count by {key}, was {counts}"

    def _faults_of(self, name: str, topic: Topic) -> Iterator[str]:
        known = schemas.names()
        named = [*topic.schemas, *([topic.headers] if topic.headers else [])]
        for schema in named:
            if schema not in known:
                yield f"Expected a schema of schemas/, was {schema!r}"
        if topic.kind == "log":
            yield from self._faults_of_log(name, topic)
        elif topic.kind == "snapshots":
            yield from self._faults_of_snapshots(name, topic)
        elif topic.kind == "dead_letters":
            yield from self._faults_of_dead_letters(name, topic)
        elif topic.kind == "commands" and (topic.partitions, topic.retention) != (1, _FOREVER):
            yield f"Expected 1 partition kept {_FOREVER}, since epochs are offsets in one order"
        if (topic.kind == "view") != (topic.cleanup == "compact"):
            yield "Expected views to be compacted, and nothing else to be"

    def _faults_of_log(self, name: str, topic: Topic) -> Iterator[str]:
        if len(topic.producers) != 1:
            yield f"Expected one writing stage of a log, was {topic.producers}"
        if "Marker" not in topic.schemas:
            yield "Expected Marker among the schemas of a log, was not there"
        if f"{name}.snapshots" not in self.topics:
            yield f"Expected a topic {name}.snapshots for a log, was none"
        if topic.producers and not set(topic.producers) <= set(topic.consumers):
            yield "Expected the writing stage among the consumers, since it reads its log back"

    def _faults_of_snapshots(self, name: str, topic: Topic) -> Iterator[str]:
        log = self.topics.get(name.removesuffix(".snapshots"))
        if log is None or log.kind != "log":
            yield "Expected snapshots to be named after a log, was none of that name"
            return
        if topic.partitions != log.partitions:
            yield f"Expected the log's {log.partitions} partitions, was {topic.partitions}"
        if topic.retention != log.retention:
            yield f"Expected the log's retention {log.retention}, was {topic.retention}"

    def _faults_of_dead_letters(self, name: str, topic: Topic) -> Iterator[str]:
        source = self.topics.get(name.removesuffix(".dead"))
        if source is None or source is topic:
            yield "Expected dead letters to be named after a topic, was none of that name"
            return
        if topic.partitions != source.partitions:
            yield f"Expected its topic's {source.partitions} partitions, was {topic.partitions}"
        if -1 < topic.retention_ms <= source.retention_ms:
            yield f"Expected longer retention than its topic's {source.retention} h"


def _with_defaults(content: dict[str, Any]) -> dict[str, Any]:
    defaults, topics = content.get("defaults"), content.get("topics")
    if not isinstance(defaults, Mapping) or not isinstance(topics, Mapping):
        return content
    filled = {
        name: {**defaults, **topic} if isinstance(topic, Mapping) else topic
        for name, topic in topics.items()
    }
    return {**content, "topics": filled}


def _sentence(fault: dict[str, Any], positions: Positions) -> str:
    path = tuple(str(part) for part in fault["loc"] if part != "[key]")
    found = path
    while found and found not in positions:
        found = found[:-1]
    line = positions.get(found, 1)
    name = ".".join(path)
    if fault["type"] == "extra_forbidden":
        return f"line {line}: Expected no key {name}, was one"
    if fault["type"] == "missing":
        return f"line {line}: Expected a key {name}, was none"
    return f"line {line}: {name}: {fault['msg']}, was {fault.get('input')!r}"


def _together(path: Path, faults: list[str]) -> str:
    return f"Topics cannot work, at {path}: " + "; ".join(faults)
