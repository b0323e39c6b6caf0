"""Every contender carries a small load without fault; no figure is judged here."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.bench.contenders import CONTENDERS, Contender, ours
from pipeline.bench.lab import Lab
from pipeline.bench.plan import Pace
from pipeline.bench.turn import Ground, Turn
from pipeline.bench.worker import Decisions
from pipeline.broker import Broker
from pipeline.errors import BrokerUnavailable
from pipeline.run import WorkerSpec
from pipeline.settings import Settings, load_settings

SYMBOLS, RATE, SECONDS = 4, 40.0, 3.0
OWN_ENVIRONMENT = {"quix", "streams"}
SHORT = Pace("test", probe_s=1.0, hold_s=SECONDS, warm_up_s=1.0, repeats=1, precision=1.5)


@pytest.fixture
def ground(kafka: str, tmp_path: Path) -> Ground:
    """A bench on the session's broker."""
    settings: Settings = load_settings(broker=kafka, home=tmp_path)
    return Ground(settings, Broker(kafka, "external"), SYMBOLS, 1, print)


def names() -> list[object]:
    """Return all contenders; those that fetch packages only where TEST_PEERS is set."""
    fetching = pytest.mark.skipif(
        not os.environ.get("TEST_PEERS"), reason="fetches packages; set TEST_PEERS=1"
    )
    return [
        pytest.param(name, marks=[fetching] if name in OWN_ENVIRONMENT else [])
        for name in CONTENDERS
    ]


@pytest.mark.parametrize("name", names())
def test_all_packets_come_out_once_and_in_order(ground: Ground, name: str) -> None:
    """Nothing is lost, repeated or out of order, and what they cost is seen."""
    lab = Lab(ground, SHORT)
    with lab.turn(name) as turn:
        found = lab.measure(turn, RATE, SECONDS)

    assert round(RATE * SECONDS) == found.sent
    assert (0, 0, 0, 0) == (found.lost, found.duplicates, found.misordered, found.restarts)
    assert found.latency is not None
    assert found.cpu_us["worker"] > 0.0
    assert found.record_bytes > 300.0


def test_large_packets_pass_the_rules_of_every_stage(ground: Ground) -> None:
    """What makes packets large is valid, so that all hops work on them."""
    padded = ours("forward", "padded", decisions=Decisions.FORWARD, padding=20_000)
    lab = Lab(ground, SHORT)
    with lab.turn(padded) as turn:
        found = lab.measure(turn, RATE, SECONDS)

    assert (0, 0.0) == (found.lost, found.error_rate)
    assert found.record_bytes > 20_000


def test_a_contender_that_falls_over_is_no_measurement(
    ground: Ground, kafka: str, tmp_path: Path
) -> None:
    """A worker that ends again and again is an error that names the logs, at once."""
    fails: Callable[[object], list[WorkerSpec]] = lambda _: [  # noqa: E731  # fits the field
        WorkerSpec("fails", ("strategic",), ("/bin/false",))
    ]
    broken = Contender("broken", "ends at once", fails)
    with pytest.raises(BrokerUnavailable, match="falling over"), Turn(ground, broken):
        pass
