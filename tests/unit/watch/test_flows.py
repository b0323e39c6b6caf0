import numpy as np
import pytest

from pipeline.packets.identity import packet_id
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.fates import Fate
from pipeline.watch.flows import DECIDED, END_TO_END, Flows, part
from pipeline.watch.traces import PacketTrace, TraceSource, trace_of
from pipeline.watch.tracking import Tracker
from tests.unit.watch.factories import BEGIN_US, STAGES, flow, flow_end, seconds


def _flows(history_size: int = 1000) -> Flows:
    return Flows(history_size, BEGIN_US)


def _take(flows: Flows, trace: PacketTrace) -> bool:
    return flows.take(trace, seconds(1_000_000.0))


def test_waiting_working_and_broker_are_kept_apart() -> None:
    """Each part of each stage is its own figure, and together they are the whole latency."""
    flows = _flows()
    _take(flows, trace_of(flow_end(1, 1.0, broker_ms=1.5, wait_ms=20.0, work_ms=3.25)))

    now_us = seconds(2.0)
    for name, expected in (("broker", 1.5), ("queue_wait", 20.0), ("processing", 3.25)):
        for stage in STAGES:
            assert [expected] == flows.values(part(stage, name), now_us, 10.0).tolist()
    assert [23.25] == flows.values(part("risk", "total"), now_us, 10.0).tolist()
    assert [4 * 24.75] == flows.values(END_TO_END, now_us, 10.0).tolist()
    assert [6.0] == flows.values("network", now_us, 10.0).tolist()


def test_stages_after_a_sealed_fate_have_no_figures() -> None:
    """A stage that only passed a sealed packet on did not decide in no time: it has no value."""
    flows = _flows()
    expired = flow_end(1, 1.0, kind=OutcomeKind.EXPIRED, sealed_by="tactical")
    _take(flows, trace_of(expired))

    now_us = seconds(2.0)
    assert 1 == len(flows.values(part("tactical", "processing"), now_us, 10.0))
    assert 0 == len(flows.values(part("risk", "processing"), now_us, 10.0))
    assert 1 == len(flows.values(END_TO_END, now_us, 10.0))
    assert 0 == len(flows.values(DECIDED, now_us, 10.0))
    counts = flows.counts(seconds(3.0), 10.0)
    assert {"strategic": 1, "tactical": 1} == dict(counts.worked)
    assert {"tactical": 1} == dict(counts.failed_at)


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        (OutcomeKind.HELD, 0),
        (OutcomeKind.REJECTED, 0),
        (OutcomeKind.EXECUTED, 0),
        (OutcomeKind.EXPIRED, 1),
        (OutcomeKind.SHED, 1),
        (OutcomeKind.DEAD_LETTERED, 1),
    ],
)
def test_no_trade_is_no_failure(kind: OutcomeKind, failed: int) -> None:
    """Only packets that got no decision in time, or none at all, count as failed."""
    flows = _flows()
    _take(flows, trace_of(flow_end(1, 1.0, kind=kind)))
    assert (1, failed) == (flows.ended, flows.failed)


def test_percentiles_of_a_window_are_those_of_its_values() -> None:
    """What ended before the window does not count, what ended in it counts exactly."""
    flows = _flows(100)
    for number in range(1000):
        work_ms = 100.0 if number < 500 else 1.0
        _take(flows, trace_of(flow_end(number, number / 100, work_ms=work_ms)))

    now_us = seconds(10.0)

    assert 4.0 * 4 == np.median(flows.values(END_TO_END, now_us, 4.0))
    whole = flows.figures(END_TO_END)
    assert whole is not None
    assert 1000 == whole.count
    assert 4 * 103.0 == pytest.approx(whole.p99, rel=0.002)


def test_a_rate_counts_full_seconds() -> None:
    """100 packets a second are a rate of 100, at whatever fraction of a second one looks."""
    flows = _flows()
    for number in range(500):
        _take(flows, trace_of(flow_end(number, 1.0 + number / 100)))
    for look_s in (5.6, 5.9, 6.1, 6.4):
        rate = flows.per_second(seconds(look_s), 3.0)
        assert [100.0] * 3 == rate.tolist()


def test_nothing_watched_yet_is_no_rate() -> None:
    """In the first second there is no full one, so there is no rate, rather than 0."""
    flows = _flows()
    assert 0 == len(flows.per_second(seconds(0.4), 10.0))
    assert 0 == flows.counts(seconds(0.4), 10.0).ended


def test_packets_of_the_second_in_which_watching_began_count() -> None:
    """Whoever begins within a second and sees packets end in it counts them, but as no rate."""
    flows = Flows(1000, seconds(0.7))
    _take(flows, trace_of(flow_end(1, 0.8)))
    _take(flows, trace_of(flow_end(2, 0.9, kind=OutcomeKind.EXPIRED, sealed_by="risk")))
    _take(flows, trace_of(flow_end(3, 1.1)))

    assert 0 == flows.counts(seconds(1.4), 3600.0).ended
    for look_s, ended in ((1.5, 2), (2.4, 2), (2.5, 3)):
        assert ended == flows.counts(seconds(look_s), 3600.0).ended
        assert (1, ended) == flows.failures(seconds(look_s), 3600.0)
    assert {"held": 2, "expired": 1} == dict(flows.counts(seconds(3.0), 3600.0).outcomes)
    assert [1.0] == flows.per_second(seconds(2.5), 3600.0).tolist()


def test_packets_that_ended_before_the_monitor_began_count_from_the_first() -> None:
    """Of a log that is read from earlier on, the second of the first record counts too."""
    flows = Flows(1000, seconds(100.0))
    for number in range(30):
        _take(flows, trace_of(flow_end(number, 90.5 + number / 10)))
    assert 30 == flows.counts(seconds(101.0), 3600.0).ended
    assert 25.0 == flows.per_second(seconds(101.0), 3600.0).sum()


def test_mean_waiting_follows_littles_law() -> None:
    """50 packets a second that wait 100 ms each are 5 that wait, on average."""
    flows = _flows()
    for number in range(500):
        _take(flows, trace_of(flow_end(number, 10.0 + number / 50, wait_ms=100.0)))
    assert 5.0 == pytest.approx(flows.mean_waiting("risk", seconds(20.0), 5.0) or 0.0, rel=0.02)
    assert flows.mean_waiting("unknown", seconds(20.0), 5.0) is None


def test_a_round_is_busy_once() -> None:
    """Ten packets decided together in 20 ms, ten times a second, are busy for a fifth."""
    flows = _flows()
    for number in range(1000):
        _take(flows, trace_of(flow_end(number, 1.0 + (number // 10) / 10, work_ms=20.0)))
    share = flows.busy_share("risk", seconds(10.95), 5.0)
    assert share is not None
    assert 0.2 == pytest.approx(share, rel=0.03)


def test_a_stage_is_never_more_than_busy() -> None:
    """Intervals that overlap do not add up beyond all of the time."""
    flows = _flows()
    for number in range(500):
        _take(flows, trace_of(flow_end(number, 1.0 + number / 50, work_ms=500.0)))
    share = flows.busy_share("risk", seconds(10.9), 5.0)
    assert share is not None
    assert 0.9 < share <= 1.0


def test_a_packet_counts_once() -> None:
    """However often a packet's end is told, it is one packet."""
    flows = _flows()
    assert _take(flows, trace_of(flow_end(1, 1.0)))
    assert not _take(flows, trace_of(flow_end(1, 1.0)))
    assert (1, 1) == (flows.ended, flows.repeated)


def test_a_repeated_sequence_number_is_one_more_packet() -> None:
    """A duplicate that the source sent is dead-lettered: it counts, the first one's trace stays."""
    flows = _flows()
    _take(flows, trace_of(flow_end(1, 1.0)))
    again = flow_end(
        1, 1.1, kind=OutcomeKind.DEAD_LETTERED, sealed_by="strategic", reasons=(Fate.DUPLICATE,)
    )
    assert _take(flows, trace_of(again))
    assert (2, 1) == (flows.ended, flows.failed)
    trace = flows.trace(flow(1))
    assert trace is not None
    assert trace.outcome == "held"


def test_the_cascades_own_trace_replaces_a_reported_one() -> None:
    """Packets reported by hand that the cascade tells of too count once, with the better trace."""
    flows, tracker = _flows(), Tracker(10)
    tracker.start(packet_id(flow(1), "market"), seconds(0.5))
    _take(flows, tracker.complete(packet_id(flow(1), "market"), seconds(1.5), success=True))
    assert not _take(flows, trace_of(flow_end(1, 1.0)))
    trace = flows.trace(packet_id(flow(1), "risk"))
    assert trace is not None
    assert (TraceSource.CASCADE, 4) == (trace.source, len(trace.systems))
    assert 1 == flows.ended


def test_traces_are_kept_up_to_the_history_size() -> None:
    """The oldest trace makes room; counts go on."""
    flows = _flows(10)
    for number in range(25):
        _take(flows, trace_of(flow_end(number, number / 10)))
    assert flows.trace(flow(14)) is None
    assert flows.trace(flow(15)) is not None
    assert 25 == flows.ended
    assert [flow(24), flow(23)] == [each.flow_id for each in flows.latest(2)]


def test_a_clock_that_runs_ahead_does_not_reach_beyond_now() -> None:
    """A packet that ends in the future, by a wrong clock, ends now, and hides none after it."""
    flows = _flows()
    flows.take(trace_of(flow_end(1, 500.0)), seconds(1.0))
    flows.take(trace_of(flow_end(2, 3.0)), seconds(3.0))
    assert 1 == len(flows.values(END_TO_END, seconds(4.0), 2.0))
