"""What stands between a broker and the topics file, as pure comparison of the two."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.topics.file import Profile, Topic

__all__ = ["Action", "Change", "Found", "compare"]


class Action(StrEnum):
    """What is to be done about a topic.

    CREATE: it is missing. NONE: it is as declared. DRIFT: its configuration differs, and is set
    back key by key. GROW: partitions are added, where that was allowed or its records have no key.
    REASSIGN: its replicas differ; never changed here, since that moves data between brokers.
    CONFLICT: its partition count differs, so that keys would land elsewhere; never changed, and
    not to be used.
    """

    CREATE = "create"
    NONE = "none"
    DRIFT = "drift"
    GROW = "grow"
    REASSIGN = "reassign"
    CONFLICT = "conflict"

    @property
    def refused(self) -> bool:
        """Whether `apply` leaves it as it is, for people to act on."""
        return self in (Action.REASSIGN, Action.CONFLICT)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done about a topic, or was.

    Attributes:
        topic: Name without namespace.
        real: Name on the broker.
        action: What is to be done; the gravest where there is more than one thing.
        detail: What differs, for people.
        settings: Configuration to set, and nothing beside it: name to value.
        partitions: Partition count to create it with or to grow to; 0 where it has its count.
        done: Whether `apply` did it.
    """

    topic: str
    real: str
    action: Action
    detail: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    partitions: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the broker has it.

    Attributes:
        partitions: Its partition count.
        replicas: Replicas of the partition that has fewest.
        config: Its whole configuration, defaults too.
        overrides: Names of what was set for this topic alone.
    """

    partitions: int
    replicas: int
    config: Mapping[str, str]
    overrides: Collection[str] = ()


def compare(
    name: str,
    real: str,
    topic: Topic,
    profile: Profile,
    found: Found | None,
    *,
    repartition: Collection[str] = (),
) -> Change:
    """Return what is to be done about a topic.

    Args:
        name: Its name without namespace.
        real: Its name on the broker.
        topic: As it is to be.
        profile: With how many replicas.
        found: As it is; None where it is missing.
        repartition: Topics that may be grown though their records have keys.
    """
    wanted = topic.config(profile)
    if found is None:
        detail = f"{topic.partitions} partitions"
        return Change(name, real, Action.CREATE, detail, wanted, topic.partitions)
    if found.partitions != topic.partitions and not _may_grow(name, topic, found, repartition):
        return Change(name, real, Action.CONFLICT, _conflict(name, topic, found))
    settings = {key: value for key, value in wanted.items() if found.config.get(key) != value}
    details = [
        f"Expected {key}={value}, was {found.config.get(key)}" for key, value in settings.items()
    ]
    grows = found.partitions < topic.partitions
    action = Action.GROW if grows else Action.DRIFT if settings else Action.NONE
    if grows:
        details.insert(0, f"Expected {topic.partitions} partitions, was {found.partitions}")
    if found.replicas != profile.replication:
        action = Action.REASSIGN
        details.insert(
            0,
            f"Expected {profile.replication} replicas, was {found.replicas}; moving data between"
            " brokers is left to `kafka-reassign-partitions.sh --execute`",
        )
    partitions = topic.partitions if grows else 0
    return Change(name, real, action, "; ".join(details), settings, partitions)


def _may_grow(name: str, topic: Topic, found: Found, repartition: Collection[str]) -> bool:
    return found.partitions < topic.partitions and (not topic.keyed or name in repartition)


def _conflict(name: str, topic: Topic, found: Found) -> str:
    expected = f"Expected {topic.partitions} partitions, was {found.partitions}; "
    if found.partitions > topic.partitions:
        return expected + "partitions are never taken away: use another namespace"
    return (
        expected + f"its records are keyed by {topic.key}, and keys would land elsewhere: use"
        f" another namespace, or `--allow-repartition {name}` if nothing depends on their order"
    )
