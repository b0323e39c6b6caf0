from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import ConfigurationError
from pipeline.resources import resource
from pipeline.topics import Profile, TopicFile

_LOGS = ("strategic", "tactical", "risk", "execution", "fills")


def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(resource("topics.yaml").read_text())
    return content


def _load(folder: Path, content: dict[str, Any]) -> TopicFile:
    path = folder / "topics.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return TopicFile.load(path)


def test_the_project_s_topics_are_all_there() -> None:
    """Every log has snapshots, every input dead letters, and control its two topics."""
    expected = {
        "cascade.market",
        "cascade.market.priority",
        *(f"cascade.{log}" for log in _LOGS),
        *(f"cascade.{log}.snapshots" for log in _LOGS),
        *(f"cascade.{name}.dead" for name in ("market", "market.priority", *_LOGS)),
        *(f"cascade.{name}" for name in ("control", "control.state", "emergency")),
        *(f"cascade.{name}" for name in ("coordination", "alerts", "audit")),
        "cascade.metrics",
        *(f"cascade.{name}" for name in ("audit.progress", "security")),
        "cascade.alerts.commands",
    }
    assert TopicFile.load().topics.keys() == expected


def test_what_is_keyed_by_symbol_is_partitioned_alike() -> None:
    """Strategic and tactical write to the partition number they read, risk to one."""
    topics = TopicFile.load().topics
    symbols = [topic.partitions for topic in topics.values() if topic.key == "symbol"]
    assert (len(symbols), len(set(symbols))) == (4, 1)
    assert topics["cascade.risk"].partitions == topics["cascade.fills"].partitions == 1


def test_the_configuration_of_a_log_keeps_what_was_acknowledged() -> None:
    """A log's configuration has the profile's replicas and no unclean election."""
    topic = TopicFile.load().topics["cascade.risk"]
    config = topic.config(Profile(replication=3, min_insync_replicas=2))
    assert config["min.insync.replicas"] == "2"
    assert config["unclean.leader.election.enable"] == "false"
    assert config["cleanup.policy"] == "delete"
    assert config["retention.ms"] == str(topic.retention_ms) == str(168 * 3_600_000)
    assert config["message.timestamp.type"] == "LogAppendTime"


def test_control_is_kept_for_ever_and_its_view_compacted() -> None:
    """The history of commands is never deleted; the view keeps the newest state."""
    file = TopicFile.load()
    profile = file.profile("dev")
    control = file.topics["cascade.control"].config(profile)
    view = file.topics["cascade.control.state"].config(profile)
    assert (control["retention.ms"], control["cleanup.policy"]) == ("-1", "delete")
    assert view["cleanup.policy"] == "compact"


def test_an_unknown_profile_is_an_error() -> None:
    """The error names the profiles there are."""
    with pytest.raises(ConfigurationError, match="dev, cluster, was 'prod'"):
        TopicFile.load().profile("prod")


def test_a_topic_takes_the_defaults_it_does_not_override(tmp_path: Path) -> None:
    """Defaults fill what a topic leaves out, and only that."""
    content = _content()
    content["defaults"]["max_message_bytes"] = 2048
    content["topics"]["cascade.market"]["max_message_bytes"] = 4096
    topics = _load(tmp_path, content).topics
    assert topics["cascade.market"].max_message_bytes == 4096
    assert topics["cascade.risk"].max_message_bytes == 2048


@pytest.mark.parametrize(
    ("topic", "key", "value", "sentence"),
    [
        ("cascade.market", "partitions", 8, "one partition count by symbol"),
        ("cascade.risk", "partitions", 2, "one partition count by account"),
        ("cascade.risk.snapshots", "partitions", 2, "the log's 1 partitions, was 2"),
        ("cascade.risk.snapshots", "retention", 24, "the log's retention 168, was 24"),
        ("cascade.market.dead", "partitions", 1, "its topic's 4 partitions, was 1"),
        ("cascade.market.dead", "retention", 168, "longer retention than its topic's 168 h"),
        ("cascade.control", "retention", 24, "1 partition kept forever"),
        ("cascade.control", "partitions", 2, "1 partition kept forever"),
        ("cascade.control.state", "cleanup", "delete", "views to be compacted"),
        ("cascade.risk", "cleanup", "compact", "views to be compacted, and nothing else"),
        ("cascade.risk", "producers", ["risk", "tactical"], "one writing stage"),
        ("cascade.risk", "schemas", ["RiskAssessment"], "Expected Marker"),
        ("cascade.risk", "consumers", ["execution"], "reads its log back"),
        ("cascade.risk", "schemas", ["RiskAssesment", "Marker"], "was 'RiskAssesment'"),
        ("cascade.market.dead", "headers", "DeadLeter", "was 'DeadLeter'"),
    ],
)
def test_topics_that_do_not_fit_together_are_refused(
    tmp_path: Path, topic: str, key: str, value: object, sentence: str
) -> None:
    """Each rule between topics has an error of its own, with the line of the topic."""
    content = _content()
    content["topics"][topic][key] = value
    with pytest.raises(ConfigurationError, match=rf"line \d+.*{sentence}"):
        _load(tmp_path, content)


@pytest.mark.parametrize(
    ("removed", "sentence"),
    [
        ("cascade.risk.snapshots", r"Expected a topic cascade\.risk\.snapshots"),
        ("cascade.market", "named after a topic"),
        ("cascade.risk", "named after a log"),
    ],
)
def test_a_topic_that_another_needs_is_missed(tmp_path: Path, removed: str, sentence: str) -> None:
    """Logs need snapshots; snapshots and dead letters need what they are named after."""
    content = _content()
    del content["topics"][removed]
    with pytest.raises(ConfigurationError, match=sentence):
        _load(tmp_path, content)


@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [
        ("cascade.market", "partition", 4),
        ("cascade.market", "partitions", 0),
        ("cascade.market", "partitions", "4"),
        ("cascade.market", "retention", "always"),
        ("cascade.market", "kind", "queue"),
        ("cascade.market", "producers", []),
        ("cascade.market", "description", ""),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_line(
    tmp_path: Path, topic: str, key: str, value: object
) -> None:
    """Unknown keys and impossible values name the key, its line and what it was."""
    content = _content()
    content["topics"][topic][key] = value
    text = yaml.safe_dump(content, sort_keys=False).splitlines()
    start = text.index(f"  {topic}:")
    line = next(n for n, row in enumerate(text, 1) if n > start and row.startswith(f"    {key}:"))
    with pytest.raises(ConfigurationError, match=rf"line {line}: .*{key}"):
        _load(tmp_path, content)


def test_a_missing_key_is_refused_with_the_line_of_its_topic(tmp_path: Path) -> None:
    """What a topic lacks is named."""
    content = _content()
    del content["topics"]["cascade.market"]["partitions"]
    with pytest.raises(
        ConfigurationError, match=r"line \d+: Expected a key .*partitions, was none"
    ):
        _load(tmp_path, content)


def test_a_topic_given_twice_is_refused(tmp_path: Path) -> None:
    """YAML would keep the last of two topics of one name in silence."""
    path = tmp_path / "topics.yaml"
    path.write_text(resource("topics.yaml").read_text() + "  cascade.market:\n    partitions: 9\n")
    with pytest.raises(ConfigurationError, match=r"'cascade\.market' again, at .*:\d+"):
        TopicFile.load(path)


def test_a_profile_cannot_ask_for_more_in_sync_than_there_are(tmp_path: Path) -> None:
    """min_insync_replicas above replication could never be met."""
    content = _content()
    content["profiles"]["dev"]["min_insync_replicas"] = 2
    with pytest.raises(ConfigurationError, match="up to replication"):
        _load(tmp_path, content)


def test_the_command_validates_and_lists() -> None:
    """`cascade topics validate` and `list` need no broker."""
    runner = CliRunner()
    count = len(TopicFile.load().topics)
    assert runner.invoke(main, ["topics", "validate"]).output == f"{count} topics, valid\n"
    listed = runner.invoke(main, ["topics", "list"], env={"CASCADE_NAMESPACE": "n"}).output
    assert listed.splitlines()[0].startswith("n.cascade.market ")
    assert len(listed.splitlines()) == count


def test_the_command_fails_on_a_faulty_file(tmp_path: Path) -> None:
    """A file that cannot work ends in one sentence and exit code 1."""
    path = tmp_path / "topics.yaml"
    path.write_text("version: 1\n")
    result = CliRunner().invoke(main, ["topics", "validate", "--file", str(path)])
    assert result.exit_code == 2
    assert result.stderr.startswith("cascade: Topics cannot work")
