"""`cascade doctor` on a real Kafka: what is wrong is found live, and is gone when it is mended."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.doctor import Evidence, Finding, gather, judge
from pipeline.settings import Settings
from pipeline.topics import TopicFile, apply
from tests.cluster import cluster, variables
from tests.live_topics import set_config

__all__ = ["cluster"]

pytestmark = pytest.mark.integration
_LIMIT_S = 120.0


def _doctor(settings: Settings, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return exit code and findings by check."""
    done = CliRunner().invoke(main, ["doctor", "--json", *arguments], env=variables(settings))
    return done.exit_code, {each["check"]: each for each in json.loads(done.stdout)["findings"]}


def test_topics_that_are_missing_or_drifted_are_found(kafka_settings: Settings) -> None:
    """Missing, then well, then drifted: each with the command that mends it."""
    code, found = _doctor(kafka_settings)
    assert (1, "problem", "cascade topics apply") == (
        code, found["topics"]["state"], found["topics"]["next"],
    )  # fmt: skip
    assert "problem" == found["rights"]["state"]

    apply(kafka_settings, TopicFile.load())
    _, found = _doctor(kafka_settings)
    states = {name: each["state"] for name, each in found.items()}
    assert {"ok"} == {states[name] for name in ("python", "broker", "topics", "schemas", "rights")}
    assert "unknown" == states["clock"]  # nobody runs

    set_config(kafka_settings, kafka_settings.topic("cascade.alerts"), {"retention.ms": "1000"})
    _, found = _doctor(kafka_settings)
    assert "problem" == found["topics"]["state"]
    assert "retention.ms=2592000000, was 1000" in found["topics"]["detail"]


def test_a_silent_cascade_is_found_from_every_side(kafka_settings: Settings) -> None:
    """Without workers: failure and coordination say so, and nothing else is made up."""
    apply(kafka_settings, TopicFile.load())
    code, found = _doctor(kafka_settings, "--symptom", "coordination")
    assert (1, 4) == (code, len(found))
    assert "never heard of strategic" in found["Verify system connectivity"]["detail"]
    assert "unknown" == found["Check heartbeat status"]["state"]


def test_a_running_cascade_is_seen_as_it_is(cluster: Settings, tmp_path: Path) -> None:
    """Live workers, heartbeats and clocks are seen; a breaker forced open is named, then not."""
    del tmp_path
    found = _until(cluster, lambda found: found["Verify system connectivity"].state == "ok")
    for title in ("Check system health", "Check heartbeat status", "Verify configuration"):
        assert "ok" == found[title].state, found[title]
    assert "ok" == found["Review circuit breaker status"].state
    _, installation = _doctor(cluster)
    assert "ok" == installation["topics"]["state"]
    assert "against the broker" in installation["clock"]["detail"]

    who = ["--author", "operator", "--reason", "test"]
    env = variables(cluster)
    opened = CliRunner().invoke(main, ["control", "breaker", "open", "tactical", *who], env=env)
    assert 0 == opened.exit_code, opened.output
    seen = _found(gather(cluster))["Review circuit breaker status"]
    assert ("problem", "cascade control status") == (seen.state, seen.next)
    assert "tactical forced open" in seen.detail


def _found(evidence: Evidence) -> dict[str, Finding]:
    return {check.title: finding for check, finding in judge(evidence)}


def _until(settings: Settings, met: Any) -> dict[str, Finding]:
    deadline_s = time.monotonic() + _LIMIT_S
    while True:
        found = _found(gather(settings))
        if met(found) or time.monotonic() > deadline_s:
            return found
