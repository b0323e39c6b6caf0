"""Bringing a broker in line with `topics.yaml`: create what is missing, report what differs.

Nothing is ever deleted, shrunk, grown or reconfigured here: partition counts are fixed for life,
and a setting that somebody changed on purpose is theirs to change back.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

# The package hands these on without declaring so, which type checkers refuse.
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.kafka_logging import ClientLog
from pipeline.settings import Settings
from pipeline.topics.file import Topic, TopicFile

__all__ = ["Action", "Change", "apply", "plan"]

_logger = logging.getLogger(__name__)

_TIMEOUT_S = 15.0
_POLL_S = 0.1


class Action(StrEnum):
    """What is to be done about a topic.

    CREATE: it is missing. NONE: it is as declared. DRIFT: its configuration differs.
    CONFLICT: its partition count differs, so that keys would land elsewhere; not to be used.
    """

    CREATE = "create"
    NONE = "none"
    DRIFT = "drift"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done about a topic, or was.

    Attributes:
        topic: Name without namespace.
        real: Name on the broker.
        action: What is to be done.
        detail: What differs, for people.
        done: Whether `apply` did it; only ever true of CREATE.
    """

    topic: str
    real: str
    action: Action
    detail: str = ""
    done: bool = False


def plan(settings: Settings, file: TopicFile, *, timeout_s: float = _TIMEOUT_S) -> list[Change]:
    """Return what stands between the broker and the file, one item per topic in its order.

    Raises:
        BrokerUnavailable: If no broker answers within `timeout_s`.
        ConfigurationError: If no broker or no such profile is set.
    """
    return _Broker(settings, timeout_s).plan(file)


def apply(settings: Settings, file: TopicFile, *, timeout_s: float = _TIMEOUT_S) -> list[Change]:
    """Create the topics that are missing, and return what was done and what else differs.

    Several may do so at once. Returns once every partition that was missing answers.

    Args:
        settings: Broker, namespace and topic profile.
        file: The topics as they are to be.
        timeout_s: For each request, and for the topics to appear.

    Raises:
        BrokerUnavailable: If no broker answers in time, or topics do not appear in time.
        ConfigurationError: If the broker refuses a topic, or no broker or profile is set.
    """
    broker = _Broker(settings, timeout_s)
    changes = broker.plan(file)
    missing = {change.real: file.topics[change.topic] for change in changes if _missing(change)}
    if not missing:
        return changes
    created = broker.create(missing, file)
    broker.wait_for(missing)
    # Whatever another made meanwhile may differ from ours.
    after = {change.topic: change for change in broker.plan(file)}
    return [
        replace(change, done=True) if change.real in created else after[change.topic]
        for change in changes
    ]


def _missing(change: Change) -> bool:
    return change.action is Action.CREATE


@dataclass(frozen=True, slots=True)
class _Found:
    real: str
    partitions: int | None
    configs: Mapping[str, Mapping[str, str]]


class _Broker:
    def __init__(self, settings: Settings, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        properties = settings.client(
            client_id=settings.group("topics"), allow_auto_create_topics=False
        )
        self._admin = AdminClient(properties, logger=ClientLog(_logger))

    def plan(self, file: TopicFile) -> list[Change]:
        counts = self._partition_counts()
        profile = file.profile(self._settings.topic_profile)
        reals = {name: self._settings.topic(name) for name in file.topics}
        configs = self._configs([real for real in reals.values() if real in counts])
        return [
            _compare(name, topic, topic.config(profile), _Found(real, counts.get(real), configs))
            for (name, topic), real in zip(file.topics.items(), reals.values(), strict=True)
        ]

    def create(self, missing: Mapping[str, Topic], file: TopicFile) -> set[str]:
        """Create the topics and return those that nobody else had created meanwhile."""
        profile = file.profile(self._settings.topic_profile)
        wanted = [
            NewTopic(real, topic.partitions, profile.replication, config=topic.config(profile))
            for real, topic in missing.items()
        ]
        futures = self._admin.create_topics(
            wanted, operation_timeout=self._timeout_s, request_timeout=self._timeout_s
        )
        created = set()
        for real, future in futures.items():
            try:
                future.result()
                created.add(real)
            except KafkaException as error:
                _unless_it_exists(real, error)
        return created

    def wait_for(self, topics: Mapping[str, Topic]) -> None:
        """Wait until each partition answers; being listed comes a little earlier than that."""
        deadline_s = time.monotonic() + self._timeout_s
        wanted = {
            TopicPartition(real, partition)
            for real, topic in topics.items()
            for partition in range(topic.partitions)
        }
        while wanted := self._silent(wanted):
            if time.monotonic() > deadline_s:
                names = ", ".join(sorted({str(place.topic) for place in wanted}))
                raise BrokerUnavailable(
                    f"Expected {names} to answer within {self._timeout_s} s of their creation, was"
                    " silent. Look at the broker's log."
                )
            time.sleep(_POLL_S)

    def _silent(self, places: set[TopicPartition]) -> set[TopicPartition]:
        """Return those of `places` that do not yet say where they end."""
        # Anew each time: the client would go on believing that a partition has no leader.
        self._partition_counts()
        end = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library forgot its types
        asked = dict.fromkeys(places, end)
        futures = self._admin.list_offsets(asked, request_timeout=self._timeout_s)
        return {place for place, future in futures.items() if future.exception() is not None}

    def _partition_counts(self) -> dict[str, int]:
        """Return the partition count of each topic all of whose partitions have a leader."""
        metadata = _answered(
            lambda: self._admin.list_topics(timeout=self._timeout_s), self._settings.broker
        )
        return {
            name: len(topic.partitions)
            for name, topic in metadata.topics.items()
            if topic.error is None and all(p.leader >= 0 for p in topic.partitions.values())
        }

    def _configs(self, reals: list[str]) -> dict[str, dict[str, str]]:
        if not reals:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, real) for real in reals]
        futures = self._admin.describe_configs(resources, request_timeout=self._timeout_s)
        found = {}
        for asked, future in futures.items():
            entries = _answered(future.result, self._settings.broker)
            found[str(asked.name)] = {name: str(entry.value) for name, entry in entries.items()}
        return found


def _compare(name: str, topic: Topic, wanted: Mapping[str, str], found: _Found) -> Change:
    if found.partitions is None:
        return Change(name, found.real, Action.CREATE, f"{topic.partitions} partitions")
    if found.partitions != topic.partitions:
        detail = (
            f"Expected {topic.partitions} partitions, was {found.partitions};"
            " counts are fixed for life: use another namespace"
        )
        return Change(name, found.real, Action.CONFLICT, detail)
    config = found.configs[found.real]
    differing = [
        f"Expected {key}={value}, was {config.get(key)}"
        for key, value in wanted.items()
        if config.get(key) != value
    ]
    action = Action.DRIFT if differing else Action.NONE
    return Change(name, found.real, action, "; ".join(differing))


def _answered(ask: Callable[[], Any], broker: str | None) -> Any:
    try:
        return ask()
    except KafkaException as error:
        raise BrokerUnavailable(
            f"Expected an answer of the broker at {broker}, was: {error.args[0].str()}."
            " Check CASCADE_BROKER and that it runs: `cascade broker status`."
        ) from error


def _unless_it_exists(real: str, error: KafkaException) -> None:
    """Swallow that a topic exists; raise the rest as ours."""
    reason: KafkaError = error.args[0]
    if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
        return
    if reason.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):  # noqa: SLF001  # librdkafka's own codes are spelled so
        raise BrokerUnavailable(f"Expected to create {real}, was: {reason.str()}") from error
    raise ConfigurationError(
        f"Expected the broker to create {real}, was: {reason.str()}"
    ) from error
