import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.run import STAGES, WATCHERS, child_environment, log_specs, worker_specs
from pipeline.settings import load_settings
from pipeline.stages.routes import ROUTES


def test_a_run_has_one_worker_of_each_stage() -> None:
    """By default the four stages and the gateway run, one process each, in this order."""
    specs = worker_specs()
    assert ["strategic", "tactical", "risk", "execution", "gateway"] == [s.name for s in specs]
    assert (sys.executable, "-m", "faust", "-A", "pipeline.stages.strategic") == specs[0].command[
        :5
    ]
    assert (sys.executable, "-m", "faust", "-A", "pipeline.gateway") == specs[4].command[:5]
    assert ("worker", "-l", "info") == specs[0].command[5:]


def test_those_who_watch_run_beside_the_stages() -> None:
    """With `watch` each watcher runs in a process of its own, after all others."""
    names = [spec.name for spec in worker_specs(emergency=True, watch=True)]
    assert [*STAGES, "emergency", *(name for name, _ in WATCHERS)] == names
    assert "monitor" == WATCHERS[0][0]


def test_named_stages_run_alone() -> None:
    """Only the stages named are started, in the order of the flow."""
    specs = worker_specs(["risk", "tactical"])
    assert ["tactical", "risk"] == [spec.name for spec in specs]


def test_single_puts_the_stages_into_one_process() -> None:
    """With --single the four stages share a process, the gateway keeps its own."""
    specs = worker_specs(single=True)
    assert [("strategic", "tactical", "risk", "execution"), ("gateway",)] == [
        spec.stages for spec in specs
    ]
    assert (sys.executable, "-m", "pipeline.run.single", *ROUTES) == specs[0].command


def test_workers_of_a_stage_are_numbered() -> None:
    """Several workers of a stage have names of their own, for their logs and their groups."""
    specs = worker_specs(["strategic", "risk"], workers={"strategic": 2}, standby=True)
    assert ["strategic-1", "strategic-2", "strategic-3", "risk-1", "risk-2"] == [
        spec.name for spec in specs
    ]


@pytest.mark.parametrize(
    ("stages", "options"),
    [
        (("tactic",), {}),
        ((), {"workers": {"tactic": 2}}),
        ((), {"workers": {"risk": 0}}),
        (("risk",), {"single": True}),
        ((), {"single": True, "standby": True}),
    ],
)
def test_refuses_what_cannot_be(stages: tuple[str, ...], options: dict[str, object]) -> None:
    """Unknown stages and options that contradict each other are refused."""
    with pytest.raises(UsageError, match="Expected"):
        worker_specs(stages, **options)  # type: ignore[arg-type]  # any option


def test_workers_find_the_settings_of_their_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the parent was told by options reaches the workers by their environment."""
    settings = load_settings(
        broker="localhost:1", namespace="ns", home=tmp_path, clock="event", cascade_timeout_ms=250,
        detection={"standstill": 7.0, "least_packets": 3},
    )  # fmt: skip
    environment = child_environment(settings, {"PATH": "/bin"})
    assert "1" == environment["OMP_NUM_THREADS"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert settings == load_settings()


def test_every_stage_has_a_log() -> None:
    """Whoever watches who owns what finds the log of each stage and of the gateway."""
    assert list(STAGES) == list(log_specs())
    assert "cascade.fills" == log_specs()["gateway"].log


def test_paired_puts_the_stages_into_two_processes() -> None:
    """With --paired strategic goes with tactical and risk with execution."""
    specs = worker_specs(paired=True)

    assert [("strategic", "tactical"), ("risk", "execution"), ("gateway",)] == [
        spec.stages for spec in specs
    ]
    assert ("strategic", "tactical") == specs[0].command[-2:]


def test_single_and_paired_exclude_each_other() -> None:
    """Nobody can mean both."""
    with pytest.raises(UsageError, match="--single or --paired"):
        worker_specs(single=True, paired=True)


def test_the_emergency_worker_runs_beside_the_stages() -> None:
    """It has no stage and no log, so that nobody waits for it to own one."""
    *others, last = worker_specs(["risk"], emergency=True)
    assert (["risk"], "emergency", ()) == ([s.name for s in others], last.name, last.stages)
    assert (sys.executable, "-m", "faust", "-A", "pipeline.emergency") == last.command[:5]
