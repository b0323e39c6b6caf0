"""The sixteen checks of the specification's troubleshooting: each finding provoked once."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import CHECKS, SYMPTOMS, Evidence, Finding, State, judge, verdict
from pipeline.doctor.evidence import SystemSeen, last_errors
from pipeline.run.workers import log_specs

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")

# The specification, section "Troubleshooting".
SPECIFIED = {
    "latency": (
        "Check system processing times",
        "Verify network connectivity",
        "Review queue depths",
        "Check for resource contention",
    ),
    "loss": (
        "Verify queue sizes",
        "Check error rates",
        "Review circuit breaker status",
        "Examine validation failures",
    ),
    "failure": (
        "Check system health",
        "Review error logs",
        "Verify configuration",
        "Check resource availability",
    ),
    "coordination": (
        "Verify system connectivity",
        "Check heartbeat status",
        "Review synchronization logs",
        "Examine conflict resolution",
    ),
}
ALIVE = {name: SystemSeen(1, 0.5) for name in log_specs()}
WELL = Evidence(
    round_trip_ms=1.0,
    packets=1000,
    latency_p99_ms=40.0,
    processing_ms={"strategic": 4.0, "risk": 3.0},
    network_ms=6.0,
    backlogs={"strategic": 3, "risk": 0},
    cpu=0.4,
    memory=0.5,
    disk_free=0.6,
    failure_rate=0.0,
    outcomes={"executed": 900, "held": 100},
    lost={},
    breakers={},
    dead_letters={},
    trading=("ACTIVE", ""),
    systems=ALIVE,
    requests=3,
    answered=1.0,
    synchronisations=2.0,
    conflict_ms=40.0,
    log_errors={},
    topic_faults=(),
)

# Title, what is wrong, and what the finding says of it.
PROVOKED: list[tuple[str, dict[str, Any], State, str]] = [
    ("Check system processing times", {"processing_ms": {"risk": 55.0}}, State.PROBLEM, "risk"),
    ("Check system processing times", {"processing_ms": {}}, State.UNKNOWN, "packets"),
    ("Verify network connectivity", {"network_ms": 70.0}, State.PROBLEM, "on the way"),
    ("Verify network connectivity", {"round_trip_ms": 90.0}, State.WARNING, "90.0 ms"),
    ("Review queue depths", {"backlogs": {"tactical": 900}}, State.PROBLEM, "tactical 900"),
    ("Check for resource contention", {"cpu": 0.99}, State.PROBLEM, "processors 99%"),
    ("Check for resource contention", {"memory": 0.97}, State.PROBLEM, "memory 97%"),
    ("Verify queue sizes", {"lost": {"risk": 12}}, State.PROBLEM, "risk 12"),
    ("Verify queue sizes", {"backlogs": {"tactical": 900}}, State.WARNING, "900 records"),
    (
        "Check error rates",
        {"failure_rate": 0.04, "outcomes": {"executed": 96, "expired": 3, "rejected": 1}},
        State.PROBLEM,
        "most were expired",
    ),
    ("Check error rates", {"failure_rate": None}, State.UNKNOWN, "packets"),
    (
        "Review circuit breaker status",
        {"breakers": {"tactical": "forced open by control"}},
        State.PROBLEM,
        "tactical forced open",
    ),
    ("Examine validation failures", {"dead_letters": {"VALIDATION": 4}}, State.PROBLEM, "ON 4"),
    (
        "Check system health",
        {"systems": {**ALIVE, "gateway": SystemSeen(0, 60.0)}},
        State.PROBLEM,
        "no worker of gateway",
    ),
    ("Check system health", {"trading": ("HALTED", "odd")}, State.WARNING, "HALTED: odd"),
    ("Review error logs", {"log_errors": {"risk.log": "ERROR x"}}, State.WARNING, "ERROR x"),
    ("Verify configuration", {"topic_faults": ("a: missing",)}, State.PROBLEM, "a: missing"),
    ("Check resource availability", {"disk_free": 0.01}, State.PROBLEM, "disk 1% free"),
    ("Check resource availability", {"memory": 0.95}, State.PROBLEM, "memory 95%"),
    (
        "Verify system connectivity",
        {"systems": {"risk": SystemSeen(1, 0.1)}},
        State.PROBLEM,
        "never heard of strategic",
    ),
    (
        "Verify system connectivity",
        {"systems": {**ALIVE, "risk": SystemSeen(0, 9.0)}},
        State.PROBLEM,
        "risk went away",
    ),
    (
        "Check heartbeat status",
        {"systems": {**ALIVE, "risk": SystemSeen(1, 3.5)}},
        State.PROBLEM,
        "risk not heard of",
    ),
    (
        "Review synchronization logs",
        {"systems": {**ALIVE, "risk": SystemSeen(1, 0.5, behind=True)}},
        State.WARNING,
        "risk missed",
    ),
    ("Examine conflict resolution", {"answered": 0.5}, State.PROBLEM, "50% of 3 requests"),
    ("Examine conflict resolution", {"conflict_ms": 5000.0}, State.WARNING, "5000 ms"),
]


def _find(title: str, evidence: Evidence) -> Finding:
    (found,) = [finding for check, finding in judge(evidence) if check.title == title]
    return found


def test_the_checks_are_those_of_the_specification() -> None:
    """Four symptoms with four checks each, in its order and by its titles."""
    listed = {
        symptom: tuple(check.title for check in CHECKS if check.symptom == symptom)
        for symptom in SYMPTOMS
    }
    assert SPECIFIED == listed
    assert list(SPECIFIED) == list(SYMPTOMS)


def test_a_cascade_that_is_well_has_no_finding() -> None:
    """All sixteen are OK, with figures and without a command to give."""
    found = [finding for _, finding in judge(WELL)]
    assert {State.OK} == {each.state for each in found}
    assert all(each.detail and not each.next for each in found)
    assert 0 == verdict(found)


@pytest.mark.parametrize(("title", "wrong", "state", "words"), PROVOKED)
def test_each_finding_names_cause_and_next_command(
    title: str, wrong: dict[str, Any], state: State, words: str
) -> None:
    """What is wrong is found by its check, with the cause and a command of ours."""
    found = _find(title, replace(WELL, **wrong))
    assert (state, True) == (found.state, words in found.detail)
    assert found.next.startswith("cascade ")


def test_every_check_was_provoked() -> None:
    """No check of the specification is without a finding above."""
    assert {check.title for check in CHECKS} == {title for title, *_ in PROVOKED}


def test_a_gap_is_unknown_with_its_reason() -> None:
    """What could not be had is no finding, and the reason is told."""
    found = _find("Check system health", replace(WELL, systems=None, gaps={"coordination": "no"}))
    assert (State.UNKNOWN, "no") == (found.state, found.detail)


def test_without_a_broker_the_machine_is_still_looked_at() -> None:
    """Logs and machine need no broker; for all else it says how to get one."""
    evidence = Evidence(cpu=0.1, memory=0.1, disk_free=0.9, log_errors={}, gaps={"broker": "gone"})
    judged = judge(evidence)
    known = {check.title for check, finding in judged if finding.state is not State.UNKNOWN}
    assert {
        "Check for resource contention", "Review error logs", "Check resource availability",
    } == known  # fmt: skip
    asked = {finding.next for _, finding in judged if finding.state is State.UNKNOWN}
    assert {"cascade broker status"} == asked


def test_exit_codes() -> None:
    """1 where something is wrong, 2 where nothing could be told."""
    unknown = Finding("x", State.UNKNOWN, "no")
    assert 2 == verdict([unknown])
    assert 0 == verdict([unknown, Finding("y", State.OK, "yes")])
    assert 1 == verdict([unknown, Finding("y", State.WARNING, "so so")])


def test_the_newest_error_of_each_log_is_found(tmp_path: Path) -> None:
    """Of each file the last line that tells of an error; files without one are left out."""
    (tmp_path / "risk.log").write_text("a ERROR first\nb INFO x\nc ERROR second\nd INFO y\n")
    (tmp_path / "tactical.log").write_text("a INFO all is well\n")
    assert {str(tmp_path / "risk.log"): "c ERROR second"} == last_errors(tmp_path)


def test_the_readme_s_troubleshooting_is_this_one() -> None:
    """Each check stands there under its symptom, with what is looked at and its next command."""
    section = README.split("### Troubleshooting\n", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (\w+) \| (.+?) \| (.+?) \| `(.+?)` \|$", section, re.MULTILINE)
    said = [(symptom, title, command) for symptom, title, _, command in rows]
    assert [(check.symptom, check.title, check.next) for check in CHECKS] == said
