"""Availability and growth on paper: arithmetic that can be checked by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.availability import command
from pipeline.errors import UsageError
from pipeline.sizing.availability import FaultRates, at_once, simulate, union
from pipeline.sizing.growth import Costs, Unit, need, read_bench
from pipeline.sizing.recoveries import Recoveries, read_recoveries
from tests.faults import test_kills, test_network, test_owners, test_rebalance

_NONE = FaultRates(worker=0.0, broker=0.0, machine=0.0, network=0.0)
_MEASURED = Recoveries([6.0], [9.0], [20.0], [2.0])
_YEAR_S = 365.25 * 86_400.0
_FAULTS = {
    "verdict": "pass",
    "faults": [
        {"fault": "kill-risk-produced", "recovery_s": 6.0},
        {"fault": "zombie-risk", "recovery_s": 9.0},
        {"fault": "broker-kill", "recovery_s": 20.0},
        {"fault": "cut-risk", "recovery_s": 2.0},
        {"fault": "torn", "recovery_s": None},
    ],
}
_BENCH = {
    "measurements": [
        {"contender": name, "rate": rate, "sustained": sustained,
         "cpu_us": {"worker": worker, "broker": 100.0}, "record_bytes": 700.0}
        for name, rate, sustained, worker in (
            ("processes", 500.0, True, 900.0), ("processes", 1000.0, True, 600.0),
            ("processes", 2000.0, False, 500.0), ("loop", 5000.0, True, 10.0),
        )
    ]
}  # fmt: skip


def outage_s(rates: FaultRates, brokers: int, workers: int) -> float:
    """Return the seconds a year that a configuration is out."""
    found = simulate(_MEASURED, rates, brokers=brokers, workers=workers, years=2000, seed=3)
    return (1.0 - found.availability) * _YEAR_S


@pytest.mark.parametrize(
    ("rates", "brokers", "workers", "expected_s"),
    [
        (FaultRates(worker=10.0, broker=0.0, machine=0.0, network=0.0), 1, 1, 10 * 5 * 6.0),
        # Of two workers one stands by, so twice the deaths are felt half as often.
        (FaultRates(worker=10.0, broker=0.0, machine=0.0, network=0.0), 1, 2, 10 * 5 * 9.0),
        (FaultRates(worker=0.0, broker=4.0, machine=0.0, network=0.0), 1, 1, 4 * 20.0),
        (FaultRates(worker=0.0, broker=4.0, machine=0.0, network=0.0), 3, 1, 3 * 4 * 10.0),
        (FaultRates(worker=0.0, broker=0.0, machine=0.0, network=12.0), 3, 3, 12 * 2.0),
        # The broker's machine and the workers' own.
        (FaultRates(worker=0.0, broker=0.0, machine=2.0, network=0.0, repair_s=3600.0), 1, 1,
         2 * 2 * 3600.0),
    ],
)  # fmt: skip
def test_simulated_outages_are_as_reckoned_by_hand(
    rates: FaultRates, brokers: int, workers: int, expected_s: float
) -> None:
    """Rate times length, while outages are too rare to overlap."""
    assert expected_s == pytest.approx(outage_s(rates, brokers, workers), rel=0.06)


def test_without_faults_it_is_always_there() -> None:
    """Nothing else takes it down."""
    assert 1.0 == simulate(_MEASURED, _NONE, brokers=1, workers=1, years=10, seed=1).availability


def test_a_second_machine_and_two_more_brokers_pay() -> None:
    """What takes longest is the repair of a machine that nothing stands in for."""
    rates = FaultRates()

    assert outage_s(rates, 3, 2) < 0.1 * outage_s(rates, 1, 1)


def test_the_same_seed_gives_the_same() -> None:
    """And another one something else."""
    first, again, other = (
        simulate(_MEASURED, FaultRates(), brokers=3, workers=2, years=50, seed=seed)
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


_INTERVALS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda p: (float(p[0]), float(sum(p)))),
    max_size=12,
)


@given(_INTERVALS, st.integers(1, 3))
def test_what_holds_at_once_is_what_counting_says(
    intervals: list[tuple[float, float]], count: int
) -> None:
    """Second by second."""
    counted = sum(
        sum(start <= at + 0.5 < end for start, end in intervals) >= count for at in range(80)
    )

    assert counted == sum(end - start for start, end in at_once(intervals, count))
    if count == 1:
        assert counted == sum(end - start for start, end in union(intervals))


def test_recoveries_are_told_apart_by_the_names_of_faults(tmp_path: Path) -> None:
    """A report that lacks a kind is refused: a guess would look like a measurement."""
    path = tmp_path / "faults.json"
    path.write_text(json.dumps(_FAULTS))
    assert _MEASURED == read_recoveries(path)

    path.write_text(json.dumps({"faults": _FAULTS["faults"][1:]}))
    with pytest.raises(UsageError, match="none of restart"):
        read_recoveries(path)
    path.write_text("[]")
    with pytest.raises(UsageError, match="scripts/test faults"):
        read_recoveries(path)


def test_the_names_are_those_of_the_fault_suite() -> None:
    """Each kind of recovery is measured there."""
    names = " ".join(
        Path(str(each.__file__)).read_text()
        for each in (test_kills, test_network, test_owners, test_rebalance)
    )
    for stem in ("kill-", "zombie-", "rebalance-", "race-", "broker-", '"cut"', '"lost-ack"'):
        assert stem in names


def test_the_highest_sustained_rate_of_the_pipeline_is_what_is_reckoned_with(
    tmp_path: Path,
) -> None:
    """Neither a peer's figures nor those of a rate that was too high."""
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(_BENCH))

    assert Unit("processes", 1000.0, 600.0, 100.0, 700.0) == read_bench(path)
    path.write_text(json.dumps({"measurements": _BENCH["measurements"][3:]}))
    with pytest.raises(UsageError, match="sustained measurement"):
        read_bench(path)


def test_growth_follows_from_cpu_and_names_what_is_used_up_first() -> None:
    """60 % of a core are 600 ms a second; a packet takes 600 us, a quarter of it risk's."""
    unit, costs = Unit("processes", 1000.0, 600.0, 100.0, 700.0), Costs()
    small, large = need(unit, costs, 1000.0, 50), need(unit, costs, 1_000_000.0, 5000)

    assert (1, 5, 3) == (small.accounts, small.workers, small.brokers)
    assert (250, 1250) == (large.accounts, large.workers)
    assert large.workers >= 1_000_000.0 * 600.0 / 0.6e6
    assert large.partitions <= 5000
    # (600 + 3 * 100) us at 60 %, a million times, of a core at 0.04 an hour.
    assert 900e-6 / 0.6 * 1e6 / 3600 * 0.04 == pytest.approx(large.cost_per_million)
    slow_risk = need(unit, Costs(risk_share=0.9), 1000.0, 50)
    assert "sequencer" in slow_risk.breaks_first
    small_brokers = need(unit, Costs(broker_cores=1, risk_share=0.01), 5000.0, 50)
    assert "CPU of the brokers" == small_brokers.breaks_first


@pytest.mark.parametrize(("target", "code"), [("0.99", 0), ("1.0", 1)])
def test_the_command_says_whether_the_target_is_met(tmp_path: Path, target: str, code: int) -> None:
    """By exit code, and by name of the smallest configuration that does."""
    faults, bench = tmp_path / "faults.json", tmp_path / "bench.json"
    faults.write_text(json.dumps(_FAULTS))
    bench.write_text(json.dumps(_BENCH))
    arguments = ["--faults", str(faults), "--bench", str(bench), "--target", target]
    done = CliRunner().invoke(command, [*arguments, "--years", "50", "--json"])
    said: dict[str, Any] = json.loads(done.output)

    assert code == done.exit_code
    assert ("pass" if code == 0 else "fail") == said["verdict"]
    assert 6 == len(said["configurations"])
    assert [1_000.0, 10_000.0, 100_000.0, 1_000_000.0] == [each["rate"] for each in said["growth"]]
    plain = CliRunner().invoke(command, [*arguments, "--years", "50"])
    assert "verdict:" in plain.output
