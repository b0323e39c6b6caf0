"""The topics of a live cluster: as a topics file, and held against one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.settings import Settings
from pipeline.topics.changes import Found
from pipeline.topics.cluster import Cluster
from pipeline.topics.file import Topic, TopicFile

__all__ = ["Difference", "differences", "export"]

_TIMEOUT_S = 15.0
_HOUR_MS = 3_600_000
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a live topic has otherwise than the file.

    Attributes:
        real: Name on the broker.
        what: `topic`, `partitions`, `replicas`, or a key of its configuration.
        file: What the file says; `-` where it says nothing.
        broker: What the broker has; `-` where it has nothing.
        managed: Whether the file has a say in it; `apply` leaves the rest alone.
    """

    real: str
    what: str
    file: str
    broker: str
    managed: bool = True


def differences(
    settings: Settings, file: TopicFile, *, timeout_s: float = _TIMEOUT_S
) -> list[Difference]:
    """Return all that the cluster has otherwise than the file, what `apply` leaves alone as well.

    Raises:
        BrokerUnavailable: If the broker does not answer.
        ConfigurationError: If no broker or no such profile is set.
    """
    cluster = Cluster(settings, timeout_s)
    reals = {settings.topic(name): name for name in file.topics}
    found = cluster.find(reals)
    profile = file.profile(settings.topic_profile)
    listed: list[Difference] = []
    for real, name in reals.items():
        topic, live = file.topics[name], found.get(real)
        if live is None:
            listed.append(Difference(real, "topic", "there", "-"))
            continue
        said = {
            "partitions": str(topic.partitions),
            "replicas": str(profile.replication),
            **topic.config(profile),
        }
        listed += _of(real, said, live)
    strangers = set(_ours(cluster, settings)) - reals.keys()
    listed += [Difference(real, "topic", "-", "there", managed=False) for real in sorted(strangers)]
    return listed


def export(settings: Settings, file: TopicFile, *, timeout_s: float = _TIMEOUT_S) -> str:
    """Return the live topics of the namespace as the text of a topics file.

    What a broker does not know (descriptions, schemas, who reads and writes) is that of `file`; of
    a topic that `file` has not, it is left to be filled in. Retention that is no whole number of
    hours is rounded up, with a remark.

    Args:
        settings: Broker, namespace, and the profile that the topics were made with.
        file: The file that knows the rest.
        timeout_s: For each request.

    Raises:
        BrokerUnavailable: If the broker does not answer.
        ConfigurationError: If no broker is set.
    """
    cluster = Cluster(settings, timeout_s)
    found = cluster.find(_ours(cluster, settings))
    remarks = [f"Topics of cluster {cluster.identity()}, namespace {settings.namespace or '-'}."]
    topics: dict[str, Any] = {}
    for real in sorted(found, key=lambda real: _order(file, settings.plain_topic(real))):
        name = settings.plain_topic(real)
        known = file.topics.get(name)
        topics[name] = {**_said(name, known), **_live(found[real])}
        if known is None:
            remarks.append(f"{name}: not in the file; fill in who reads and writes it.")
        if remark := _rounded(found[real]):
            remarks.append(f"{name}: {remark}")
    content = {
        "version": file.version,
        "defaults": file.defaults.model_dump(),
        "profiles": {name: profile.model_dump() for name, profile in file.profiles.items()},
        "topics": topics,
    }
    head = "".join(f"# {remark}\n" for remark in remarks)
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _of(real: str, said: Mapping[str, str], live: Found) -> Iterator[Difference]:
    has = {"partitions": str(live.partitions), "replicas": str(live.replicas), **live.config}
    for what, value in said.items():
        if has.get(what) != value:
            yield Difference(real, what, value, has.get(what, "-"))
    for what in sorted(set(live.overrides) - said.keys()):
        yield Difference(real, what, "-", has[what], managed=False)


def _ours(cluster: Cluster, settings: Settings) -> list[str]:
    """Return the real names of the namespace's topics, those that the file has not as well."""
    prefix = settings.topic("cascade.")
    return [name for name in cluster.names() if name.startswith(prefix)]


def _order(file: TopicFile, name: str) -> tuple[int, str]:
    known = list(file.topics)
    return (known.index(name), name) if name in file.topics else (len(known), name)


def _said(name: str, known: Topic | None) -> dict[str, Any]:
    if known is None:
        return {
            "description": f"Found on the broker as {name}.",
            "kind": "events",
            "key": _UNKNOWN,
            "schemas": [],
            "producers": [_UNKNOWN],
            "consumers": [],
        }
    return known.model_dump(exclude_none=True)


def _live(found: Found) -> dict[str, Any]:
    config = found.config
    retention_ms = int(config["retention.ms"])
    return {
        "partitions": found.partitions,
        "retention": "forever" if retention_ms < 0 else max(1, -(-retention_ms // _HOUR_MS)),
        "cleanup": config["cleanup.policy"],
        "timestamps": "append" if config["message.timestamp.type"] == "LogAppendTime" else "create",
        "max_message_bytes": int(config["max.message.bytes"]),
    }


def _rounded(found: Found) -> str:
    retention_ms = int(found.config["retention.ms"])
    if retention_ms < 0 or retention_ms % _HOUR_MS == 0:
        return ""
    return f"retention.ms={retention_ms} is no whole number of hours, rounded up."
