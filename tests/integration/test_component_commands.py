"""`cascade status`, `metrics`, `validate` and `emergency`, with a cascade that runs and without."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from tests.cluster import cluster, variables
from tests.kafka_workers import wait_until

__all__ = ["cluster"]

STAGES = {"strategic", "tactical", "risk", "execution"}


def call(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a `cascade` command."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def found(settings: Settings, *arguments: str) -> Any:
    """Run a command with --json, which must succeed; return what it printed."""
    done = call(variables(settings), *arguments, "--json")
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def test_status_says_state_and_systems(cluster: Settings) -> None:
    """All four systems are there and active, and the state says so; people get the same."""
    # On a busy machine a heartbeat may come later than the command waits for it.
    seen: list[Any] = []

    def ready() -> bool:
        seen.append(found(cluster, "status"))
        return bool(seen[-1]["state"] == "READY")

    wait_until(ready, "all four stages to be active")
    content = seen[-1]
    assert STAGES == set(content["systems"])
    assert {"active"} == {each["status"] for each in content["systems"].values()}
    wait_until(
        lambda: "READY" in call(variables(cluster), "status").stdout, "people to be told the same"
    )


def test_metrics_say_what_is_not_measured(cluster: Settings) -> None:
    """Before the first packet there are no figures, and no verdict in favour."""
    content = found(cluster, "metrics", "--seconds", "5")
    assert ("no_data", None) == (content["latency_verdict"], content["latency"]["end_to_end_ms"])
    assert content["connected"]
    assert found(cluster, "metrics", "--report")["performance_score"] is None


def test_validate_runs_the_rules(cluster: Settings) -> None:
    """The report counts what passed; without a finding the exit code is 0."""
    content = found(cluster, "validate")
    assert 0 < content["summary"]["passed"]
    assert 0 == content["summary"]["failed"]


def test_validate_without_data_is_no_success(cluster: Settings) -> None:
    """Before the first packet, packets and logs alone give no rule anything to look at."""
    done = call(variables(cluster), "validate", "--shallow", "--json")
    content = json.loads(done.stdout)
    assert (2, None) == (done.returncode, content["cascade_integrity_score"])
    assert (0, False) == (content["summary"]["rules_run"], content["summary"]["deep"])


def test_an_emergency_is_declared_acknowledged_and_resolved(cluster: Settings) -> None:
    """The four verbs of `cascade emergency`, from calm to calm."""
    assert [] == found(cluster, "emergency")["active_emergencies"]
    declared = found(
        cluster,
        *("emergency", "declare", "SYSTEM_FAILURE", "CRITICAL"),
        *("--system", "strategic", "--description", "test"),
    )
    emergency_id = declared["event"]["event_id"]
    status = found(cluster, "emergency", "status")
    assert [emergency_id] == [each["event_id"] for each in status["active_emergencies"]]
    assert "isolated" == status["system_health"]["strategic"]
    assert "isolated" == found(cluster, "status")["systems"]["strategic"]["status"]

    found(cluster, "emergency", "acknowledge", emergency_id, "--author", "operator")
    found(cluster, "emergency", "resolve", emergency_id, "--author", "operator")
    assert emergency_id == found(cluster, "emergency", "show", emergency_id)["event"]["event_id"]
    assert [] == found(cluster, "emergency")["active_emergencies"]


@pytest.mark.parametrize("noun", ["status", "metrics", "validate", "emergency"])
def test_without_a_cascade_the_error_is_one_sentence(noun: str, tmp_path: Path) -> None:
    """Where no broker runs each command says so, with exit code 2."""
    environment = {"CASCADE_BROKER": "127.0.0.1:1", "CASCADE_HOME": str(tmp_path)}
    done = call(environment, noun)
    assert 2 == done.returncode
    assert "cascade: Expected" in done.stderr
    assert "Traceback" not in done.stderr
