"""The record types of the topics in a schema registry: registered, and held against it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.packets import schemas
from pipeline.registry import Registry
from pipeline.registry.codec import subject_of
from pipeline.settings import Settings
from pipeline.topics.file import TopicFile

__all__ = ["State", "Subject", "look", "register"]


class State(StrEnum):
    """How a subject stands in the registry.

    REGISTERED: it has the current schema. NEW: it has not, and may have it. INCOMPATIBLE: the
    current schema does not read all of its versions; never registered.
    """

    REGISTERED = "registered"
    NEW = "new"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True, slots=True)
class Subject:
    """A record type of a topic, as the registry knows it.

    Attributes:
        subject: Its name there.
        topic: Name of the topic, without namespace.
        name: Record type.
        state: How it stands.
        schema_id: Id of the current schema; None where it is not registered.
        done: Whether `register` registered it just now.
    """

    subject: str
    topic: str
    name: str
    state: State
    schema_id: int | None = None
    done: bool = False


def look(settings: Settings, file: TopicFile, registry: Registry) -> list[Subject]:
    """Return how each record type of each topic stands in the registry.

    Raises:
        RegistryUnavailable: If it does not answer.
        ConfigurationError: If it refuses to tell.
    """
    return [_look(*each, registry) for each in _subjects(settings, file)]


def register(settings: Settings, file: TopicFile, registry: Registry) -> list[Subject]:
    """Register what is new, and return how each record type stands then; what is there stays.

    Each subject is held to BACKWARD_TRANSITIVE from then on. May be interrupted and repeated.

    Raises:
        RegistryUnavailable: If it does not answer.
        ConfigurationError: If it refuses.
    """
    found = []
    for subject, topic, name in _subjects(settings, file):
        seen = _look(subject, topic, name, registry)
        if seen.state is State.NEW:
            schema_id = registry.register(subject, _schema(name))
            seen = Subject(subject, topic, name, State.REGISTERED, schema_id, done=True)
        found.append(seen)
    return found


def _subjects(settings: Settings, file: TopicFile) -> Iterator[tuple[str, str, str]]:
    for topic, declared in file.topics.items():
        for name in declared.schemas:
            yield subject_of(settings.topic(topic), name), topic, name


def _look(subject: str, topic: str, name: str, registry: Registry) -> Subject:
    schema = _schema(name)
    if (schema_id := registry.id_of(subject, schema)) is not None:
        return Subject(subject, topic, name, State.REGISTERED, schema_id)
    fits = registry.compatible(subject, schema)
    return Subject(subject, topic, name, State.NEW if fits else State.INCOMPATIBLE)


def _schema(name: str) -> Any:
    return schemas.plain(schemas.current(name))
