"""Tables, checks and charts of the bench."""

import json
from pathlib import Path

import pytest

from pipeline.bench.growth import slope_share
from pipeline.bench.lab import Lab, at_least, at_most, interleaved, middle
from pipeline.bench.measurement import Latency, Measurement
from pipeline.bench.output import checks_text, page, table, to_json
from pipeline.bench.plan import QUICK
from pipeline.bench.turn import Ground
from pipeline.broker import Broker
from pipeline.settings import load_settings

LATENCY = Latency(5.0, 4.0, 8.0, 9.0, 9.5, 10.0)


def measurement(name: str, rate: float, latency: Latency | None = LATENCY) -> Measurement:
    """Return a measurement without faults."""
    cpu = {"worker": 250.0, "broker": 100.0, "load": 50.0}
    return Measurement(
        name, rate, 30.0, 3000, 0, 0, 0, 0, 0.0, 0.0, latency, cpu, {"worker": 80.0}, 400.0, 0.1,
        0, True, (), {"minute": 1},
    )  # fmt: skip


def opened(tmp_path: Path) -> Lab:
    """Return a bench with two measurements."""
    settings = load_settings(broker="127.0.0.1:9092", home=tmp_path)
    ground = Ground(settings, Broker("127.0.0.1:9092", "local"), 20, 1, lambda _: None)
    found = [measurement("loop", 100.0), measurement("<forward>", 200.0)]
    return Lab(ground, QUICK, found, {"loop": [4000.0], "<forward>": [None, 3500.0]})


def test_a_check_holds_at_its_limit_and_not_beyond() -> None:
    """Limits are inclusive."""
    assert at_least("a", 6.0, 6.0).passed
    assert not at_least("a", 5.99, 6.0).passed
    assert at_most("a", 1.3, 1.3).passed
    assert not at_most("a", 1.31, 1.3).passed


def test_what_was_not_measured_fails() -> None:
    """No figure is no pass, and is shown as such."""
    check = at_most("a", None, 1.0)
    assert not check.passed
    assert "not measured" in checks_text([check])


def test_a_table_shows_a_dash_for_a_latency_that_was_not_measured() -> None:
    """Nothing arrived: no percentiles, never zeros."""
    line = table([measurement("loop", 100.0, None)]).splitlines()[1]
    assert 4 == line.split().count("-")


def test_a_page_draws_all_contenders_and_escapes_their_names(tmp_path: Path) -> None:
    """Charts are there, and a name is text."""
    shown = page(opened(tmp_path), "forward", [at_most("a", 1.0, 2.0)])
    assert "&lt;forward&gt;" in shown
    assert "<forward>" not in shown
    assert 3 == shown.count("<svg")


def test_json_has_checks_measurements_and_the_machine(tmp_path: Path) -> None:
    """Everything that the table shows is in the JSON."""
    content = json.loads(to_json(opened(tmp_path), "x", [at_least("a", 1.0, 2.0)], {"more": 1}))
    assert (False, 1, 2) == (content["passed"], content["more"], len(content["measurements"]))
    assert {"checks", "machine", "sustained", "pace"} <= content.keys()


def test_turns_are_interleaved_back_and_forth() -> None:
    """Nobody is always first."""
    assert ["a", "b", "b", "a", "a", "b"] == list(interleaved(("a", "b"), 3))


def test_a_median_needs_every_run() -> None:
    """A run without a figure is not left out of the median quietly."""
    assert 2.0 == middle([1.0, 3.0, 2.0])
    assert middle([1.0, None, 2.0]) is None
    assert middle([]) is None


def test_growth_is_a_share_of_the_mean() -> None:
    """From 95 to 105 is a tenth; a steady series has none; two values tell nothing."""
    assert 0.1 == pytest.approx(slope_share([95.0, 100.0, 105.0]))
    assert 0.0 == pytest.approx(slope_share([80.0, 80.0, 80.0]))
    assert slope_share([80.0, 90.0]) is None
