import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.cli import main
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.resources import resource
from pipeline.settings import Settings, load_settings
from pipeline.topics import Action, Change, TopicFile, apply, plan


def _names(settings: Settings) -> set[str]:
    metadata = AdminClient(settings.client()).list_topics(timeout=10)
    return {name for name in metadata.topics if name.startswith(f"{settings.namespace}.")}


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
    """A topic with another count is reported, never grown or shrunk."""
    apply(kafka_settings, _small(tmp_path, partitions=2))
    for partitions in (1, 3):
        (change,) = apply(kafka_settings, _small(tmp_path, partitions=partitions))
        assert (change.action, change.done) == (Action.CONFLICT, False)
        assert f"Expected {partitions} partitions, was 2" in change.detail
    (change,) = plan(kafka_settings, _small(tmp_path, partitions=2))
    assert change.action is Action.NONE


def test_another_configuration_is_drift_and_stays(kafka_settings: Settings, tmp_path: Path) -> None:
    """A setting that differs is reported with both values, never changed."""
    apply(kafka_settings, _small(tmp_path, retention=1))
    for _ in range(2):
        (change,) = apply(kafka_settings, _small(tmp_path, retention=2))
        assert (change.action, change.done) == (Action.DRIFT, False)
        assert change.detail == "Expected retention.ms=7200000, was 3600000"


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


def test_the_command_plans_creates_and_reports_conflicts(
    kafka: str, namespace: str, kafka_settings: Settings, tmp_path: Path
) -> None:
    """--dry-run creates nothing; --json lists every change; a conflict is exit code 1."""
    env = {"CASCADE_BROKER": kafka, "CASCADE_NAMESPACE": namespace}
    _small(tmp_path)
    command = ["topics", "apply", "--file", str(tmp_path / "topics.yaml"), "--json"]
    runner = CliRunner()

    (dry,) = json.loads(runner.invoke(main, [*command, "--dry-run"], env=env).output)
    assert (dry["action"], dry["done"]) == ("create", False)
    assert _names(kafka_settings) == set()

    (done,) = json.loads(runner.invoke(main, command, env=env).output)
    assert (done["real"], done["done"]) == (f"{namespace}.cascade.market", True)

    _small(tmp_path, partitions=9)
    result = runner.invoke(main, command, env=env)
    assert (result.exit_code, json.loads(result.output)[0]["action"]) == (1, "conflict")


def test_topics_of_others_are_left_alone(kafka_settings: Settings, tmp_path: Path) -> None:
    """What the file does not name is neither changed nor deleted."""
    other = f"{kafka_settings.namespace}.other"
    admin = AdminClient(kafka_settings.client())
    admin.create_topics([NewTopic(other, 2, 1)])[other].result(30)
    apply(kafka_settings, _small(tmp_path))
    assert other in _names(kafka_settings)
