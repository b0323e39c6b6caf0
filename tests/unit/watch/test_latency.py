import math
import random

import pytest

from pipeline.watch.latency import Recorder


def test_percentiles_are_right_to_three_digits() -> None:
    """The histogram's percentiles are those of the values, the mean and maximum exact."""
    rng = random.Random(1)
    values = [int(rng.lognormvariate(9.0, 1.0)) + 1 for _ in range(20_000)]
    recorder = Recorder()
    for value in values:
        recorder.add(value)

    figures = recorder.figures()

    assert figures is not None
    for name, share in (("p50", 50), ("p95", 95), ("p99", 99), ("p999", 99.9)):
        rank = math.ceil(len(values) * share / 100 - 1e-9)
        expected = sorted(values)[rank - 1] / 1000
        assert getattr(figures, name) == pytest.approx(expected, rel=0.002)
    assert figures.mean == pytest.approx(sum(values) / len(values) / 1000)
    assert max(values) / 1000 == figures.max


def test_nothing_measured_has_no_figures() -> None:
    """Without a latency there are no figures, not zeros."""
    assert Recorder().figures() is None
