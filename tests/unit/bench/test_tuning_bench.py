"""The bench of tuning: its history, its verdict, and when a comparison is valid."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bench.contenders import Contender
from pipeline.bench.lab import Lab
from pipeline.bench.measurement import Latency, Measurement
from pipeline.bench.plan import QUICK
from pipeline.bench.tuning import Tuned, TuningPlan, append, read_history, tune, tune_table
from pipeline.bench.turn import Ground
from pipeline.broker import Broker
from pipeline.errors import ConfigurationError
from pipeline.settings import load_settings
from pipeline.watch.tuning import Setting

PLAN = TuningPlan("single", 1000.0, trials=4, seconds=8.0, pairs=3, seed=0)
DEFAULT = Setting(30, 500)
GOOD = Measurement(
    "single", 1000.0, 8.0, 8000, 0, 0, 0, 0, 0.0, 0.0, None, {"worker": 300.0}, {}, 400.0, 0.1,
    0, True, (),
)  # fmt: skip


class _Turn:
    """A pipeline whose p99 is known; the part of a turn that the bench of tuning uses."""

    def __init__(self, who: Contender) -> None:
        self.who = who

    def warm_up(self, count: int, rate: float) -> None:
        assert (8000, 1000.0) == (count, rate)

    def measure(self, rate: float, seconds: float, labels: dict[str, object]) -> Measurement:
        p99 = 40.0 + float(self.who.overrides["gather_ms"])
        found = replace(GOOD, latency=Latency(p99, p99, p99, p99, p99, p99), labels=labels)
        spoilt = labels["run"] in _SPOILT
        return replace(found, lost=1) if spoilt else found


_SPOILT: set[str] = set()


class _Lab(Lab):
    """A bench without a broker."""

    @contextmanager
    def turn(self, who: str | Contender, **_: object) -> Iterator[_Turn]:  # type: ignore[override]  # see _Turn
        assert isinstance(who, Contender)
        yield _Turn(who)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A bench where less gathering is better."""
    settings = load_settings(broker="127.0.0.1:9092", home=tmp_path)
    _SPOILT.clear()
    yield _Lab(Ground(settings, Broker("127.0.0.1:9092", "local"), 20, 1, lambda _: None), QUICK)
    _SPOILT.clear()


def test_a_setting_that_is_better_is_found_and_beats_the_default(lab: Lab) -> None:
    """From 70 ms to 40: in each pair, by the same ratio; both settings were measured thrice."""
    found = Tuned(PLAN)
    checks = tune(lab, found)
    assert all(check.passed for check in checks)
    assert (0, DEFAULT) == (found.known, found.default)
    assert found.tuned is not None
    assert found.tuned.gather_ms < 5
    assert 3 == len(found.pairs)
    assert found.beats()
    assert found.to_use() == found.tuned
    assert f"use: CASCADE_GATHER_MS={found.tuned.gather_ms} " in tune_table(found)
    assert "verdict: tuned beats the default" in tune_table(found)
    said = json.loads(json.dumps(found.to_dict()))
    assert (True, found.tuned.gather_ms) == (said["beats"], said["use"]["gather_ms"])


def test_a_second_call_goes_on_with_the_history(lab: Lab, tmp_path: Path) -> None:
    """All ten runs of the first are known; those at another rate do not count."""
    tune(lab, Tuned(PLAN))
    assert 10 == len(read_history(tmp_path / "tuning.jsonl"))
    again, other = Tuned(PLAN), Tuned(replace(PLAN, rate=500.0, trials=0))
    tune(lab, again)
    assert 10 == again.known
    assert 20 == len(read_history(tmp_path / "tuning.jsonl"))
    tune(lab, other)
    assert 0 == other.known


@pytest.mark.parametrize(("run", "pairs"), [("trial 2", 3), ("tuned", 0)])
def test_a_run_that_lost_something_fails_it(lab: Lab, tmp_path: Path, run: str, pairs: int) -> None:
    """It is no observation either, nor half of a pair."""
    _SPOILT.add(run)
    found = Tuned(PLAN)
    failed = {check.name for check in tune(lab, found) if not check.passed}
    assert "packets lost" in failed
    assert pairs == len(found.pairs)
    assert (pairs == 0) == ("pairs that were compared" in failed)
    assert len(read_history(tmp_path / "tuning.jsonl")) == (9 if run == "trial 2" else 7)


def test_without_a_valid_run_of_the_default_nothing_is_compared(lab: Lab) -> None:
    """It says so, and fails."""
    _SPOILT.update(f"trial {number}" for number in range(1, 5))
    found = Tuned(PLAN)
    assert not all(check.passed for check in tune(lab, found))
    assert "not compared: no run of the default was valid" in tune_table(found)


@pytest.mark.parametrize(
    ("tuned", "beats"),
    [
        ((90.0, 90.0, 94.0), True),
        ((96.0, 96.0, 90.0), False),
        ((80.0, 80.0, 101.0), False),
    ],
)
def test_better_is_in_each_pair_and_by_enough(
    lab: Lab, tuned: tuple[float, ...], beats: bool
) -> None:
    """5 % in the median, and no pair the other way round; the default is used otherwise."""
    found = Tuned(PLAN)
    tune(lab, found)
    found.pairs = [(100.0, each) for each in tuned]
    assert beats == found.beats()
    assert beats == found.verdict().startswith("tuned beats the default")
    assert beats != found.verdict().startswith("does not beat the default")
    assert (found.tuned if beats else DEFAULT) == found.to_use()


@pytest.mark.parametrize("line", ["{", "{}", '{"time": 1}', "null"])
def test_a_line_that_is_no_observation_is_named(lab: Lab, tmp_path: Path, line: str) -> None:
    """Nothing is measured on top of a history that cannot be read."""
    tune(lab, Tuned(replace(PLAN, pairs=1)))
    path = tmp_path / "tuning.jsonl"
    count = len(read_history(path))
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ConfigurationError, match=f"line {count + 1} of"):
        read_history(path)


def test_a_history_that_cannot_be_written_is_named(lab: Lab, tmp_path: Path) -> None:
    """A folder in its place is an error with its path."""
    tune(lab, Tuned(PLAN))
    seen = read_history(tmp_path / "tuning.jsonl")[0]
    with pytest.raises(ConfigurationError, match="Expected to write"):
        append(tmp_path, seen)
    with pytest.raises(ConfigurationError, match="Expected to read"):
        read_history(tmp_path)
