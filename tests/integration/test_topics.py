import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.cli import main
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.packets.codec import decode_as
from pipeline.packets.events import SecurityEvent, SecurityEventKind
from pipeline.resources import resource
from pipeline.settings import Settings, load_settings
from pipeline.topics import Action, Change, TopicFile, apply, carry_out, make_plan, plan
from pipeline.topics.export import export
from pipeline.transport.clients import drain, log_consumer, watermarks
from tests.live_topics import config_of, set_config


def _names(settings: Settings) -> set[str]:
    metadata = AdminClient(settings.client()).list_topics(timeout=10)
    return {name for name in metadata.topics if name.startswith(f"{settings.namespace}.")}


def _counts(settings: Settings) -> dict[str, int]:
    metadata = AdminClient(settings.client()).list_topics(timeout=10)
    return {
        name: len(topic.partitions)
        for name, topic in metadata.topics.items()
        if name.startswith(f"{settings.namespace}.")
    }


def _small(folder: Path, **market: object) -> TopicFile:
    """Return a file of one topic, so that a test creates no more than it needs."""
    content = yaml.safe_load(resource("topics.yaml").read_text())
    content["topics"] = {"cascade.market": {**content["topics"]["cascade.market"], **market}}
    path = folder / "topics.yaml"
    path.write_text(yaml.safe_dump(content))
    return TopicFile.load(path)


def test_apply_creates_what_is_missing_and_then_nothing(kafka_settings: Settings) -> None:
    """All topics exist with their partitions afterwards; a second call finds all in order."""
    file = TopicFile.load()
    planned = plan(kafka_settings, file)
    assert {change.action for change in planned} == {Action.CREATE}
    assert _names(kafka_settings) == set()

    changes = apply(kafka_settings, file)
    assert all(change.done for change in changes)
    metadata = AdminClient(kafka_settings.client()).list_topics(timeout=10)
    for name, topic in file.topics.items():
        assert len(metadata.topics[kafka_settings.topic(name)].partitions) == topic.partitions

    again = apply(kafka_settings, file)
    assert {(change.action, change.done) for change in again} == {(Action.NONE, False)}
    assert {change.real for change in again} == _names(kafka_settings)


def test_several_may_apply_at_once(kafka_settings: Settings, tmp_path: Path) -> None:
    """Of several that create the same topic one does, and none fails."""
    file = _small(tmp_path)
    together = threading.Barrier(3)

    def one() -> list[Change]:
        together.wait(30)
        return apply(kafka_settings, file)

    with ThreadPoolExecutor(3) as pool:
        results = [future.result(60) for future in [pool.submit(one) for _ in range(3)]]
    assert sum(change.done for (change,) in results) == 1
    assert {change.action for (change,) in results} <= {Action.CREATE, Action.NONE}
    assert [change.action for change in plan(kafka_settings, file)] == [Action.NONE]


def test_another_partition_count_is_a_conflict_and_stays(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """A topic of keyed records with another count is reported, never grown or shrunk."""
    apply(kafka_settings, _small(tmp_path, partitions=2))
    for partitions, why in ((1, "never taken away"), (3, "--allow-repartition cascade.market")):
        (change,) = apply(kafka_settings, _small(tmp_path, partitions=partitions))
        assert (change.action, change.done) == (Action.CONFLICT, False)
        assert f"Expected {partitions} partitions, was 2" in change.detail
        assert why in change.detail
    (change,) = plan(kafka_settings, _small(tmp_path, partitions=2))
    assert change.action is Action.NONE


def test_a_keyed_topic_grows_only_where_that_is_said(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """Named, it grows to the file's count; it never shrinks, whatever is named."""
    apply(kafka_settings, _small(tmp_path, partitions=2))
    grown = _small(tmp_path, partitions=3)
    made = make_plan(kafka_settings, grown, repartition=["cascade.market"])
    assert [Action.GROW] == [change.action for change in made.topics]
    assert carry_out(kafka_settings, grown, made).in_sync
    assert make_plan(kafka_settings, grown).in_sync

    smaller = make_plan(
        kafka_settings, _small(tmp_path, partitions=1), repartition=["cascade.market"]
    )
    assert [Action.CONFLICT] == [change.action for change in smaller.topics]


def test_a_topic_without_keys_grows_by_itself(kafka_settings: Settings, tmp_path: Path) -> None:
    """Where no key lands elsewhere, the count follows the file."""
    apply(kafka_settings, _small(tmp_path, partitions=1, key="none"))
    (change,) = apply(kafka_settings, _small(tmp_path, partitions=2, key="none"))
    assert (Action.GROW, True) == (change.action, change.done)
    assert _counts(kafka_settings) == {kafka_settings.topic("cascade.market"): 2}


def test_a_topic_that_the_file_has_not_cannot_be_named(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """A misspelt topic must not pass for one that may grow."""
    with pytest.raises(ConfigurationError, match=r"cascade\.markt"):
        make_plan(kafka_settings, _small(tmp_path), repartition=["cascade.markt"])


def test_another_configuration_is_set_back_key_by_key(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """What differs is set to the file's value; what the file does not name stays."""
    apply(kafka_settings, _small(tmp_path, retention=1))
    real = kafka_settings.topic("cascade.market")
    set_config(kafka_settings, real, {"segment.ms": "123456", "max.message.bytes": "2000"})

    (planned,) = plan(kafka_settings, _small(tmp_path, retention=2))
    assert planned.action is Action.DRIFT
    assert {"retention.ms": "7200000", "max.message.bytes": "1048588"} == planned.settings
    assert "Expected retention.ms=7200000, was 3600000" in planned.detail
    (change,) = apply(kafka_settings, _small(tmp_path, retention=2))
    assert (Action.DRIFT, True) == (change.action, change.done)

    found = config_of(kafka_settings, real)
    assert ("7200000", "1048588") == (found["retention.ms"], found["max.message.bytes"])
    assert "123456" == found["segment.ms"]
    (after,) = plan(kafka_settings, _small(tmp_path, retention=2))
    assert after.action is Action.NONE


def test_other_replicas_are_reported_and_stay(kafka_settings: Settings, tmp_path: Path) -> None:
    """Data is not moved between brokers; the plan says how to."""
    apply(kafka_settings, _small(tmp_path))
    settings = kafka_settings.model_copy(update={"topic_profile": "cluster"})
    (planned,) = plan(settings, _small(tmp_path))
    assert planned.action is Action.REASSIGN
    assert "Expected 3 replicas, was 1" in planned.detail
    assert "kafka-reassign-partitions.sh" in planned.detail


def test_a_profile_the_broker_cannot_meet_is_refused(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """More replicas than brokers is an error that names the topic."""
    settings = kafka_settings.model_copy(update={"topic_profile": "cluster"})
    with pytest.raises(ConfigurationError, match=r"cascade\.market, was: .*replica"):
        apply(settings, _small(tmp_path))
    assert _names(settings) == set()


def test_a_broker_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    """The error names the address and what to look at."""
    settings = load_settings(broker="127.0.0.1:1")
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1.*CASCADE_BROKER"):
        apply(settings, _small(tmp_path), timeout_s=1.0)


class Command:
    """`cascade topics VERB` on the test's broker and namespace."""

    def __init__(self, settings: Settings, file: Path) -> None:
        self._file = file
        self._env = {
            "CASCADE_BROKER": settings.broker or "",
            "CASCADE_NAMESPACE": settings.namespace,
        }

    def __call__(self, verb: str, *arguments: str) -> tuple[int, Any]:
        """Return exit code and JSON."""
        given = ["topics", verb, "--file", str(self._file), "--json", *arguments]
        result = CliRunner().invoke(main, given, env=self._env)
        return result.exit_code, json.loads(result.stdout or "null")


@pytest.fixture
def topics(kafka_settings: Settings, tmp_path: Path) -> Command:
    """Run the command over a file of one topic."""
    _small(tmp_path)
    return Command(kafka_settings, tmp_path / "topics.yaml")


def test_plan_does_nothing_and_apply_does_what_it_says(
    topics: Command, kafka_settings: Settings, tmp_path: Path
) -> None:
    """Exit code 1 while something differs or was refused, else 0."""
    code, made = topics("plan")
    (planned,) = made["topics"]
    assert (1, False, "create", False) == (
        code, made["in_sync"], planned["action"], planned["done"],
    )  # fmt: skip
    assert _names(kafka_settings) == set()

    code, done = topics("apply")
    assert (0, [{**planned, "done": True}]) == (code, done["topics"])
    assert (0, True) == (topics("plan")[0], topics("plan")[1]["in_sync"])

    _small(tmp_path, partitions=9)
    code, done = topics("apply")
    assert (1, "conflict") == (code, done["topics"][0]["action"])


def test_the_audit_log_is_told_what_was_changed(kafka_settings: Settings) -> None:
    """One event says what `apply` did; an `apply` that changes nothing tells nothing."""
    path = resource("topics.yaml")
    topics = Command(kafka_settings, path)
    for _ in range(2):
        assert topics("apply")[0] == 0
    told = _security_events(kafka_settings)
    assert [SecurityEventKind.TOPIC_CHANGE] == [event.kind for event in told]
    assert f"created {kafka_settings.topic('cascade.market')}" in told[0].detail


def _security_events(settings: Settings) -> list[SecurityEvent]:
    """Return all security events of the namespace, read to the end."""
    consumer = log_consumer(settings, "test")
    try:
        real = settings.topic("cascade.security")
        low, end = watermarks(consumer, real, 0, 30.0)
        consumer.assign([TopicPartition(real, 0, low)])
        found: list[SecurityEvent] = []
        deadline_s = time.monotonic() + 60.0
        while len(found) < end - low and time.monotonic() < deadline_s:
            found += [decode_as(each.value(), SecurityEvent) for each in drain(consumer, 10, 1.0)]
        return found
    finally:
        consumer.close()


def test_a_plan_that_was_kept_is_carried_out_only_as_it_was(
    topics: Command, kafka_settings: Settings, tmp_path: Path
) -> None:
    """Where the cluster has changed since, nothing is done."""
    kept = str(tmp_path / "plan.json")
    assert topics("plan", "--out", kept)[0] == 1
    assert topics("apply", "--plan", kept)[0] == 0

    real = kafka_settings.topic("cascade.market")
    set_config(kafka_settings, real, {"retention.ms": "1000000"})
    assert topics("apply", "--plan", kept)[0] == 1
    assert "1000000" == config_of(kafka_settings, real)["retention.ms"]


def test_diff_tells_of_what_apply_leaves_alone_too(
    topics: Command, kafka_settings: Settings
) -> None:
    """Overrides and topics that the file does not name are listed as left alone."""
    topics("apply")
    assert (0, {"in_sync": True, "differences": []}) == topics("diff")
    real = kafka_settings.topic("cascade.market")
    set_config(kafka_settings, real, {"retention.ms": "1000000", "segment.ms": "123456"})
    stranger = kafka_settings.topic("cascade.stranger")
    admin = AdminClient(kafka_settings.client())
    admin.create_topics([NewTopic(stranger, 1, 1)])[stranger].result(30)

    code, found = topics("diff")
    rows = {(row["real"], row["what"]): row for row in found["differences"]}
    assert 1 == code
    assert {(real, "retention.ms"), (real, "segment.ms"), (stranger, "topic")} == set(rows)
    retention = rows[real, "retention.ms"]
    assert ("604800000", "1000000") == (retention["file"], retention["broker"])
    assert retention["managed"]
    assert not rows[real, "segment.ms"]["managed"]
    assert not rows[stranger, "topic"]["managed"]
    assert topics("plan")[1]["topics"][0]["settings"] == {"retention.ms": "604800000"}


def test_what_is_exported_is_the_file_again(
    topics: Command, kafka_settings: Settings, tmp_path: Path
) -> None:
    """A cluster in line with the file is written as that file; a change shows in it."""
    topics("apply")
    file = TopicFile.load(tmp_path / "topics.yaml")
    path = tmp_path / "live.yaml"
    path.write_text(export(kafka_settings, file))
    assert file == TopicFile.load(path)

    set_config(kafka_settings, kafka_settings.topic("cascade.market"), {"retention.ms": "5400000"})
    text = export(kafka_settings, file)
    path.write_text(text)
    assert "retention.ms=5400000 is no whole number of hours" in text
    assert 2 == TopicFile.load(path).topics["cascade.market"].retention


def test_without_a_broker_the_exit_code_is_2(tmp_path: Path) -> None:
    """What cannot be told is no difference."""
    _small(tmp_path)
    topics = Command(load_settings(broker="127.0.0.1:1", namespace="x"), tmp_path / "topics.yaml")
    assert (2, None) == topics("plan")


def test_rights_without_an_authorizer_cannot_be_given(topics: Command) -> None:
    """A broker that checks no rights is no broker where all is granted."""
    code, made = topics("plan", "--acls")
    assert (1, {"grant"}) == (code, {right["action"] for right in made["rights"]})
    assert (2, None) == topics("apply", "--acls")


def test_topics_of_others_are_left_alone(kafka_settings: Settings, tmp_path: Path) -> None:
    """What the file does not name is neither changed nor deleted."""
    other = f"{kafka_settings.namespace}.other"
    admin = AdminClient(kafka_settings.client())
    admin.create_topics([NewTopic(other, 2, 1)])[other].result(30)
    apply(kafka_settings, _small(tmp_path))
    assert other in _names(kafka_settings)
