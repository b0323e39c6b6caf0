"""The five components together, on real workers and a real Kafka, and the demo that shows them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.cascade.demo import runner
from pipeline.cascade.demo.checks import PartSeen
from pipeline.cascade.demo.running import Running, running_cascade
from pipeline.settings import Settings, load_settings
from tests.cluster import prepare, variables

DEMO = [sys.executable, "-m", "pipeline.cascade.demo", "--json"]
LIMIT_S = 240.0


@pytest.fixture(scope="module")
def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The demo's cascade, for the tests of this module in their order."""
    settings = load_settings(
        broker=kafka, namespace="test-parts", home=tmp_path_factory.mktemp("home")
    )
    prepare(settings)
    with running_cascade(settings, print) as cascade:
        yield cascade


def carry_out(running: Running, name: str, *, broken: bool) -> PartSeen:
    """Carry one part of the demo out."""
    title, show = runner.parts()[name]
    running.broken = broken
    return runner.carry_out(name, title, partial(show, running))


# Parts build on those before them, so each is spoilt just before it is done as it should be; but
# the last leaves nothing to go on with, and the first is spoilt in a process of its own, below.
@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("flow", False),
        ("coordination", True),
        ("coordination", False),
        ("performance", True),
        ("performance", False),
        ("validation", True),
        ("validation", False),
        ("emergency", True),
        ("emergency", False),
        ("integration", False),
        ("integration", True),
    ],
)
def test_each_part_shows_what_it_expects(running: Running, name: str, broken: bool) -> None:
    """A part passes as long as the cascade does as it should, and fails when it is spoilt."""
    part = carry_out(running, name, broken=broken)
    assert broken is not part.passed, "\n".join(part.lines())


def demo(settings: Settings, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the demo; return exit code, its JSON, and what else it said."""
    done = subprocess.run(
        [*DEMO, *arguments],
        env={**os.environ, **variables(settings), "CASCADE_TIMEOUT_MS": "100"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    found = json.loads(done.stdout) if done.stdout else {"parts": [], "passed": None}
    return done.returncode, found, done.stderr


@pytest.mark.timeout(300)
def test_a_part_that_is_broken_ends_the_demo_with_exit_code_1(kafka_settings: Settings) -> None:
    """`--break flow` makes that part fail, and the others not; how long it took is not judged."""
    code, found, said = demo(kafka_settings, "--break", "flow")
    verdicts = {part["name"]: part["passed"] for part in found["parts"]}
    assert (1, False) == (code, found["passed"]), said
    failed = {name for name, passed in verdicts.items() if not passed}
    assert {"flow"} == failed - {"time"}, said


def test_two_processes_decide_together_until_one_is_killed(kafka_settings: Settings) -> None:
    """`--split`: a decision across processes; one killed is noticed, and the next one fails."""
    code, found, said = demo(kafka_settings, "--split")
    assert (0, True) == (code, found["passed"]), said
    checks = {check["what"]: check for check in found["parts"][0]["checks"]}
    assert (
        "DISCONNECTED within 4 s"
        == (checks["risk after its process was killed (SIGKILL)"]["expected"])
    )


def test_two_processes_of_which_one_is_dead_from_the_start(kafka_settings: Settings) -> None:
    """`--split --break split`: without one of the two there is no decision, and exit code 1."""
    code, found, said = demo(kafka_settings, "--split", "--break", "split")
    assert (1, False) == (code, found["passed"]), said
