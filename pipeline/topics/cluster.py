"""The broker's side of topics and rights: asking how they are, and the few changes made to them."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
)

# The package hands these on without declaring so, which type checkers refuse.
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from pipeline.errors import BrokerUnavailable, ConfigurationError, PipelineError
from pipeline.kafka_logging import ClientLog
from pipeline.settings import Settings
from pipeline.topics.acls import Binding, Operation, Pattern, Resource
from pipeline.topics.changes import Change, Found

__all__ = ["Cluster"]

_logger = logging.getLogger(__name__)

_POLL_S = 0.1


class Cluster:
    """A broker, or several, as `cascade topics` uses them.

    Args:
        settings: Broker and namespace.
        timeout_s: For each request.
    """

    def __init__(self, settings: Settings, timeout_s: float) -> None:
        self._broker = settings.broker
        self._timeout_s = timeout_s
        properties = settings.client(
            client_id=settings.group("topics"), allow_auto_create_topics=False
        )
        self._admin = AdminClient(properties, logger=ClientLog(_logger))

    def identity(self) -> str:
        """Return the id of the cluster.

        Raises:
            BrokerUnavailable: If it does not answer.
        """
        return str(self._listed().cluster_id or "")

    def names(self) -> list[str]:
        """Return the real names of all topics.

        Raises:
            BrokerUnavailable: If it does not answer.
        """
        return sorted(self._listed().topics)

    def find(self, reals: Iterable[str]) -> dict[str, Found]:
        """Return those of the topics that are there and whose partitions all have a leader.

        Raises:
            BrokerUnavailable: If the broker does not answer.
        """
        listed = self._led()
        there = [real for real in reals if real in listed]
        configs = self._configs(there)
        return {
            real: Found(
                len(listed[real].partitions),
                min(len(each.replicas) for each in listed[real].partitions.values()),
                {name: str(entry.value) for name, entry in configs[real].items()},
                {
                    name
                    for name, entry in configs[real].items()
                    if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
                },
            )
            for real in there
        }

    def create(self, wanted: Iterable[Change], replication: int) -> set[str]:
        """Create topics in one request, and return those that nobody else had created meanwhile.

        Raises:
            BrokerUnavailable: If the broker does not answer.
            ConfigurationError: If it refuses one; others may have been created.
        """
        topics = [
            NewTopic(each.real, each.partitions, replication, config=dict(each.settings))
            for each in wanted
        ]
        futures = self._admin.create_topics(
            topics, operation_timeout=self._timeout_s, request_timeout=self._timeout_s
        )
        created = set()
        for real, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise _refused(f"create {real}", error) from error
            else:
                created.add(real)
        return created

    def grow(self, real: str, partitions: int) -> None:
        """Add partitions to a topic, so that it has `partitions`; fewer are refused by the broker.

        Raises:
            BrokerUnavailable: If the broker does not answer.
            ConfigurationError: If it refuses.
        """
        (future,) = self._admin.create_partitions(
            [NewPartitions(real, partitions)],
            operation_timeout=self._timeout_s,
            request_timeout=self._timeout_s,
        ).values()
        self._done(future, f"grow {real} to {partitions} partitions")

    def configure(self, real: str, config: Mapping[str, str]) -> None:
        """Set these keys of a topic's configuration; every other stays as it is.

        Returns once they are seen, which is a little later than they are taken.

        Raises:
            BrokerUnavailable: If the broker does not answer, or not in time.
            ConfigurationError: If it refuses.
        """
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, real, incremental_configs=entries)
        (future,) = self._admin.incremental_alter_configs(
            [resource], request_timeout=self._timeout_s
        ).values()
        self._done(future, f"set {', '.join(config)} of {real}")

        def unseen() -> set[str]:
            found = self._configs([real])[real]
            return {f"{real} {name}" for name in config if found[name].value != config[name]}

        self._wait_while(unseen)

    def wait_for(self, topics: Mapping[str, int]) -> None:
        """Wait until each partition answers; being listed comes a little earlier than that.

        Args:
            topics: Real name to partition count.

        Raises:
            BrokerUnavailable: If they do not in time.
        """
        wanted = {
            TopicPartition(real, partition)
            for real, count in topics.items()
            for partition in range(count)
        }

        def silent() -> set[str]:
            wanted.intersection_update(self._silent(wanted))
            return {str(place.topic) for place in wanted}

        self._wait_while(silent)

    def wait_for_leaders(self, reals: Collection[str]) -> None:
        """Wait until all partitions of these topics have a leader, however many there are.

        Raises:
            BrokerUnavailable: If they do not in time.
        """
        self._wait_while(lambda: set(reals) - self._led().keys())

    def rights(self, principals: Collection[str]) -> tuple[set[Binding], list[str]]:
        """Return the rights that these principals have by name, and whatever else is bound to them.

        The latter as sentences: rights of kinds that no role needs, and prohibitions.

        A broker without an authorizer is one without rights to this client library; `grant` tells.

        Raises:
            BrokerUnavailable: If the broker does not answer.
            ConfigurationError: If it does not let this client see rights.
        """
        # None is for any; the declared types forget it.
        anything: Any = None
        every = AclBindingFilter(
            ResourceType.ANY, anything, ResourcePatternType.ANY, anything, anything,
            AclOperation.ANY, AclPermissionType.ANY,
        )  # fmt: skip
        future = self._admin.describe_acls(every, request_timeout=self._timeout_s)
        try:
            found = future.result()
        except KafkaException as error:
            raise _refused("see the rights on the broker", error) from error
        known, others = set(), []
        for each in found:
            if each.principal in principals:
                if (ours := _ours(each)) is not None:
                    known.add(ours)
                else:
                    others.append(_told(each))
        return known, sorted(others)

    def grant(self, rights: Collection[Binding]) -> None:
        """Give rights, and return once they are seen; those that are there already stay.

        Raises:
            BrokerUnavailable: If the broker does not answer, or not in time.
            ConfigurationError: If it refuses, or has no authorizer.
        """
        futures = self._admin.create_acls(
            [_theirs(each) for each in rights], request_timeout=self._timeout_s
        )
        for binding, future in futures.items():
            self._done(future, f"give {binding.principal} its rights on {binding.name}")
        principals = {each.principal for each in rights}
        self._wait_while(lambda: {str(each) for each in set(rights) - self.rights(principals)[0]})

    def _wait_while(self, missing: Callable[[], set[str]]) -> None:
        deadline_s = time.monotonic() + self._timeout_s
        while names := missing():
            if time.monotonic() > deadline_s:
                raise BrokerUnavailable(
                    f"Expected {', '.join(sorted(names))} to be seen within {self._timeout_s} s of"
                    " their making, was not. Look at the broker's log."
                )
            time.sleep(_POLL_S)

    def _silent(self, places: set[TopicPartition]) -> set[TopicPartition]:
        """Return those of `places` that do not yet say where they end."""
        # Anew each time: the client would go on believing that a partition has no leader.
        self._listed()
        end = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library forgot its types
        asked = dict.fromkeys(places, end)
        futures = self._admin.list_offsets(asked, request_timeout=self._timeout_s)
        return {place for place, future in futures.items() if future.exception() is not None}

    def _led(self) -> dict[str, Any]:
        """Return the topics all of whose partitions have a leader."""
        return {
            name: topic
            for name, topic in self._listed().topics.items()
            if topic.error is None and all(p.leader >= 0 for p in topic.partitions.values())
        }

    def _listed(self) -> Any:
        return self._answered(lambda: self._admin.list_topics(timeout=self._timeout_s))

    def _configs(self, reals: list[str]) -> dict[str, dict[str, Any]]:
        if not reals:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, real) for real in reals]
        futures = self._admin.describe_configs(resources, request_timeout=self._timeout_s)
        return {str(asked.name): self._answered(each.result) for asked, each in futures.items()}

    def _done(self, future: Any, what: str) -> None:
        try:
            future.result()
        except KafkaException as error:
            raise _refused(what, error) from error

    def _answered(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Expected an answer of the broker at {self._broker}, was: {error.args[0].str()}."
                " Check CASCADE_BROKER and that it runs: `cascade broker status`."
            ) from error


def _refused(what: str, error: KafkaException) -> PipelineError:
    reason: KafkaError = error.args[0]
    silent = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT)  # noqa: SLF001  # spelled so
    kind = BrokerUnavailable if reason.code() in silent else ConfigurationError
    hint = " Set authorizer.class.name on the broker, or leave rights out."
    said = reason.str() + (hint if reason.code() == KafkaError.SECURITY_DISABLED else "")
    return kind(f"Expected the broker to {what}, was: {said}")


def _ours(theirs: Any) -> Binding | None:
    """Return a broker's binding as ours; None where it allows nothing that ours could say."""
    if theirs.permission_type is not AclPermissionType.ALLOW or theirs.host != "*":
        return None
    try:
        return Binding(
            theirs.principal,
            Resource(theirs.restype.name.lower()),
            Pattern(theirs.resource_pattern_type.name.lower()),
            theirs.name,
            Operation(theirs.operation.name.lower()),
        )
    except ValueError:
        return None


def _told(theirs: Any) -> str:
    may = "may" if theirs.permission_type is AclPermissionType.ALLOW else "may not"
    star = "*" if theirs.resource_pattern_type is ResourcePatternType.PREFIXED else ""
    return (
        f"{theirs.principal} {may} {theirs.operation.name.lower()}"
        f" {theirs.restype.name.lower()} {theirs.name}{star} from {theirs.host}"
    )


def _theirs(ours: Binding) -> AclBinding:
    return AclBinding(
        ResourceType[ours.resource.name],
        ours.name,
        ResourcePatternType[ours.pattern.name],
        ours.principal,
        "*",
        AclOperation[ours.operation.name],
        AclPermissionType.ALLOW,
    )
