import json

import pytest

from pipeline.demo.accounting import account, decisions_sha256
from pipeline.demo.latency import Latencies
from pipeline.demo.summary import (
    KillSeen,
    Summary,
    availability_percent,
    error_rate,
    judge,
    packets_per_second,
    summarise,
)
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.watch.observations import FlowEnd
from tests.unit.demo.factories import START_US, end, executed, fill, sent

_COUNT = 200


def summary_of(
    ends: list[FlowEnd], *, rate: float = 200.0, kills: list[KillSeen] | None = None
) -> Summary:
    """Return the figures of a run that sent a record for each of `ends`, in order."""
    records = [sent(number) for number in range(len(ends))]
    due = {record.flow_id: record.intended_us for record in records}
    fills = [fill(each.sequence) for each in ends if each.orders]
    return summarise(
        account(records, (), ends, fills, []),
        Latencies.of(ends, {each.flow_id: each.appended_ms for each in fills}, due.get),
        ends,
        due_us=(START_US, records[-1].intended_us),
        offered_per_second=rate,
        decisions=decisions_sha256(ends),
        kills=kills or [],
        about={"restarts": 0},
    )


def good_run() -> list[FlowEnd]:
    """Return a run of a second in which every tenth flow trades."""
    return [executed(n) if n % 10 == 0 else end(n) for n in range(_COUNT)]


def test_names_its_figures_as_promised() -> None:
    """The JSON has the keys that tools rely on."""
    content = json.loads(json.dumps(summary_of(good_run()).to_dict()))
    promised = {
        "packets_in", "outcomes", "order_plans", "fills", "duplicate_orders", "unaccounted",
        "latency_ms", "packets_per_second", "error_rate", "targets", "decisions_sha256", "restarts",
        "recovery_seconds",
    }  # fmt: skip
    assert promised <= content.keys()
    assert {"mean", "p50", "p95", "p99", "max"} <= content["latency_ms"].keys()
    assert {"limit", "value", "verdict"} == content["targets"]["error_rate"].keys()
    assert (200, 20, 20, 0, 0) == (
        content["packets_in"], content["order_plans"], content["fills"],
        content["duplicate_orders"], content["unaccounted"],
    )  # fmt: skip


def test_a_good_run_meets_what_it_measured() -> None:
    """Targets that were measured pass; those that were not are no_data, never pass."""
    summary = summary_of(good_run())
    verdicts = {name: target.verdict for name, target in summary.targets.items()}
    assert {
        "latency_mean_ms": "pass",
        "latency_p99_ms": "pass",
        "packets_per_second": "no_data",
        "error_rate": "pass",
        "recovery_seconds": "no_data",
        "availability_percent": "pass",
    } == verdicts
    assert not summary.failed


def test_a_late_flow_counts_from_when_it_was_due() -> None:
    """A flow that ends two seconds late shows in maximum, percentile and verdict."""
    ends = good_run()
    ends[-1] = end(_COUNT - 1, shares_us=(2_000_000, 1000, 1000, 1000))
    latency = summary_of(ends).to_dict()["latency_ms"]
    assert latency["max"] == pytest.approx(2003.0)
    assert latency["p50"] == pytest.approx(4.0, rel=0.01)
    slow = [end(n, shares_us=(150_000, 1000, 1000, 1000)) for n in range(_COUNT)]
    assert "fail" == summary_of(slow).targets["latency_p99_ms"].verdict


def test_latency_is_of_flows_that_all_stages_decided_on() -> None:
    """A flow sealed before execution is left out, whatever its latency."""
    early = end(0, stage="strategic", shares_us=(900_000, 0, 0, 0))
    content = summary_of([early, end(1)]).to_dict()
    assert 1 == content["latency_ms"]["count"]
    assert content["latency_ms"]["max"] == pytest.approx(4.0)
    assert content["latency_all_flows_ms"]["max"] == pytest.approx(900.0)


def test_no_data_never_passes() -> None:
    """A run in which no flow reached execution has no latency and no verdict on it."""
    summary = summary_of([end(n, stage="strategic") for n in range(10)])
    assert "no_data" == summary.targets["latency_p99_ms"].verdict
    assert summary.to_dict()["latency_ms"] is None
    assert "no_data" == judge(1.0, None).verdict


@pytest.mark.parametrize("kind", [OutcomeKind.EXPIRED, OutcomeKind.SHED, OutcomeKind.DEAD_LETTERED])
def test_the_error_rate_counts_what_did_not_get_through(kind: OutcomeKind) -> None:
    """Expired, shed and dead-lettered flows are errors; held and rejected ones are results."""
    ends = [end(0, kind), end(1, OutcomeKind.REJECTED), end(2), end(3)]
    summary = summary_of(ends)
    assert 0.25 == error_rate(summary.accounts)
    assert "fail" == summary.targets["error_rate"].verdict


def test_throughput_is_judged_only_when_enough_was_offered() -> None:
    """Nobody can tell from 200 records a second whether 1000 would do."""
    assert "no_data" == summary_of(good_run(), rate=200.0).targets["packets_per_second"].verdict
    assert "fail" == summary_of(good_run(), rate=1000.0).targets["packets_per_second"].verdict


def test_throughput_is_the_rate_of_ends() -> None:
    """A constant latency does not lower the rate, flows that got lost on the way do."""
    ends = good_run()
    assert packets_per_second(ends) == pytest.approx(200.0)
    delayed = [end(n, shares_us=(400_000, 0, 0, 0)) for n in range(_COUNT)]
    assert packets_per_second(delayed) == pytest.approx(200.0)
    half = [end(n, OutcomeKind.EXPIRED if n % 2 else OutcomeKind.HELD) for n in range(_COUNT)]
    assert packets_per_second(half) == pytest.approx(100.0)
    growing = [end(n, shares_us=(5000 * n, 0, 0, 0)) for n in range(_COUNT)]
    assert packets_per_second(growing) == pytest.approx(100.0)
    assert packets_per_second([end(0)]) is None


def test_availability_counts_outages_beyond_a_second() -> None:
    """A gap of three seconds among ten is two seconds of outage."""
    away = range(800, 1400)  # flows due from 4 s to 7 s end at 7 s
    ends = [
        end(n, shares_us=(max(0, 7_000_000 - 5000 * n) if n in away else 0, 0, 0, 0))
        for n in range(2001)
    ]
    last_us = START_US + 2000 * 5000
    assert availability_percent(ends, START_US, last_us, 200.0) == pytest.approx(80.0, abs=0.1)
    steady = [end(n) for n in range(2001)]
    assert availability_percent(steady, START_US, last_us, 200.0) == 100.0


def test_availability_counts_a_pipeline_that_never_came_back() -> None:
    """Records due after the last end are an outage too."""
    ends = [end(n) for n in range(1000)]
    last_us = START_US + 2000 * 5000
    found = availability_percent(ends, START_US, last_us, 200.0)
    assert found == pytest.approx(60.0, abs=0.2)
    assert availability_percent([], START_US, last_us, 200.0) is None


def test_the_longest_recovery_counts() -> None:
    """Of several kills the slowest recovery is judged; one that never recovered fails."""
    kills = [KillSeen("risk", 2.0, 4.0, "record"), KillSeen("tactical", 3.0, 31.0, "record")]
    summary = summary_of(good_run(), kills=kills)
    assert (31.0, "fail") == (summary.recovery_seconds, summary.targets["recovery_seconds"].verdict)
    assert "pass" == summary_of(good_run(), kills=kills[:1]).targets["recovery_seconds"].verdict
    never = [*kills[:1], KillSeen("tactical", 3.0, None, None)]
    lost = summary_of(good_run(), kills=never)
    assert (None, "fail") == (lost.recovery_seconds, lost.targets["recovery_seconds"].verdict)


def test_a_fault_fails_the_run() -> None:
    """A flow that is unaccounted for fails the run, whatever the targets say."""
    assert summary_of([*good_run()[:-1], end(0)]).failed
