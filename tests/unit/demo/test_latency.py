import random

import numpy as np
import pytest

from pipeline.demo.latency import Latencies, Recorder
from tests.unit.demo.factories import START_US, end


def test_percentiles_are_right_to_three_digits() -> None:
    """The histogram's percentiles are those of the values, the mean and maximum exact."""
    rng = random.Random(1)
    values = [int(rng.lognormvariate(9.0, 1.0)) + 1 for _ in range(20_000)]
    recorder = Recorder()
    for value in values:
        recorder.add(value)

    figures = recorder.figures()

    assert figures is not None
    for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
        expected = float(np.percentile(values, share, method="inverted_cdf")) / 1000
        assert getattr(figures, name) == pytest.approx(expected, rel=0.002)
    assert figures.mean == pytest.approx(sum(values) / len(values) / 1000)
    assert max(values) / 1000 == figures.max


def test_nothing_measured_has_no_figures() -> None:
    """Without a latency there are no figures, not zeros."""
    assert Recorder().figures() is None


def test_stages_share_out_the_whole_latency() -> None:
    """The stages' shares, transport included, add up to the latency of the flow."""
    latencies = Latencies()
    latencies.add_end(end(0, shares_us=(4000, 3000, 2000, 1000)), START_US)
    found = {name: recorder.figures() for name, recorder in latencies.stages.items()}
    shares = {name: each.max for name, each in found.items() if each}
    assert {"strategic": 4.0, "tactical": 3.0, "risk": 2.0, "execution": 1.0} == shares
    whole = latencies.end_to_end.figures()
    assert whole is not None
    assert sum(shares.values()) == whole.max
