"""Each metric of the monitor moves when its cause is provoked, as one table."""

from collections.abc import Callable

import pytest

from pipeline.coordination.answers import Answer
from pipeline.coordination.messages import ReplyBody, RequestBody, SyncBody, compose
from pipeline.coordination.vocabulary import ReplyStatus, SyncProtocol
from pipeline.metrics.vitals import LOOP_LAG, MEMORY
from pipeline.packets.events import ControlKind, MessageType
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.fates import Fate
from pipeline.stages.tally import OPEN, RETRIES, TRIPS
from pipeline.watch.catalogue import CATALOGUE, figures, spelled
from pipeline.watch.exposition import families
from pipeline.watch.host import HostFigures
from tests.unit.watch.monitor_rig import NAMES, MonitorRig

Provoke = Callable[[MonitorRig], None]


def _slow_decisions(rig: MonitorRig) -> None:
    rig.second(work_ms=30.0)


def _waiting_in_workers(rig: MonitorRig) -> None:
    rig.second(wait_ms=40.0)


def _slow_broker(rig: MonitorRig) -> None:
    rig.second(broker_ms=25.0)


def _more_packets(rig: MonitorRig) -> None:
    for _ in range(5):
        rig.second(packets=60)


def _stages_stand_still(rig: MonitorRig) -> None:
    for _ in range(6):
        rig.second(packets=0, offered=40, committed=0)


def _failures(rig: MonitorRig) -> None:
    for _ in range(3):
        rig.second(kind=OutcomeKind.DEAD_LETTERED, sealed_by="risk", reasons=("POLICY_FAILED",))  # type: ignore[arg-type]  # as `flow_end` takes them


def _retries(rig: MonitorRig) -> None:
    for _ in range(3):
        rig.second(retries=2)


def _breaker_opens(rig: MonitorRig) -> None:
    rig.flow(rig.now_s, kind=OutcomeKind.HELD, sealed_by="risk", reasons=(Fate.BREAKER_OPEN,))


def _unreadable(rig: MonitorRig) -> None:
    rig.undecodable += 1


def _request(rig: MonitorRig, *, answered: bool) -> str:
    body = RequestBody(decision_type="entry", decision_data={}, affected_systems=("risk",))
    asked = compose(
        MessageType.COORDINATION_REQUEST, "strategic", body, rig, response_timeout_s=1.0
    )
    rig.say(asked)
    rig.now_s += 0.4
    if answered:
        reply = ReplyBody(
            instance="risk-1",
            status=ReplyStatus.ANSWERED,
            answer=Answer(decision="HOLD", confidence=0.9),
        )
        rig.say(
            compose(
                MessageType.COORDINATION_RESPONSE, "risk", reply, rig,
                correlation_id=asked.message_id,
            )
        )  # fmt: skip
    return asked.message_id


def _answered(rig: MonitorRig) -> None:
    _request(rig, answered=True)


def _conflict(rig: MonitorRig) -> None:
    asked = _request(rig, answered=True)
    rig.say(compose(MessageType.CONFLICT_RESOLUTION, "risk", {}, rig, correlation_id=asked))


def _synchronisation(rig: MonitorRig) -> None:
    body = SyncBody(instance="a", protocol=SyncProtocol.FAST_SYNC, epoch=1, complete=True)
    rig.say(compose(MessageType.SYNC_RESPONSE, "strategic", body, rig))


def _late_messages(rig: MonitorRig) -> None:
    for _ in range(100):
        rig.say(compose(MessageType.STATE_UPDATE, "a", {"instance": "a"}, rig), late_ms=80)


def _busy_workers(rig: MonitorRig) -> None:
    vitals = {MEMORY: 5e8, LOOP_LAG: 0.2, RETRIES: 7.0, TRIPS: 2.0, OPEN: 1.0}
    rig.second(load=0.9, vitals=vitals)


def _a_worker_is_gone(rig: MonitorRig) -> None:
    for _ in range(6):
        rig.second(workers=("strategic", "tactical", "execution"))


def _busy_machine(rig: MonitorRig) -> None:
    rig.host = HostFigures(0.9, 0.8, 0.9, {})
    rig.second()


def _halt(rig: MonitorRig) -> None:
    rig.command(ControlKind.HALT)


def _isolation(rig: MonitorRig) -> None:
    rig.command(ControlKind.ISOLATE, "symbol:ACME")


def _retention(rig: MonitorRig) -> None:
    rig.earliest = 50
    rig.second()


def _time_passes(rig: MonitorRig) -> None:
    rig.second()


UP, DOWN = 1, -1
P99 = 'quantile="0.99"'
TABLE: dict[Provoke, dict[str, int]] = {
    _slow_decisions: {
        f'cascade_end_to_end_latency_quantile_seconds{{path="any",{P99}}}': UP,
        f'cascade_end_to_end_latency_quantile_seconds{{path="decided",{P99}}}': UP,
        f'cascade_end_to_end_latency_quantile_seconds{{path="recorded",{P99}}}': UP,
        f'cascade_stage_processing_quantile_seconds{{{P99},stage="risk"}}': UP,
        f'cascade_stage_latency_quantile_seconds{{{P99},stage="risk"}}': UP,
        "cascade_stage_utilisation_ratio": UP,
    },
    _waiting_in_workers: {
        f'cascade_stage_queue_wait_quantile_seconds{{{P99},stage="tactical"}}': UP,
        "cascade_queue_depth_packets": UP,
    },
    _slow_broker: {
        f'cascade_stage_broker_quantile_seconds{{{P99},stage="tactical"}}': UP,
        f"cascade_network_latency_quantile_seconds{{{P99}}}": UP,
    },
    _more_packets: {
        "cascade_throughput_packets_per_second": UP,
        "cascade_offered_packets_per_second": UP,
        'cascade_packets_total{outcome="held",stage="execution"}': UP,
        "kafka_partition_latest_offset": UP,
        "kafka_consumergroup_group_offset": UP,
    },
    _stages_stand_still: {
        'cascade_backlog_records{stage="risk"}': UP,
        'cascade_backlog_age_seconds{stage="risk"}': UP,
        'cascade_backlog_state{stage="risk",state="stall"}': UP,
        'cascade_backlog_state{stage="risk",state="ok"}': DOWN,
        "cascade_oldest_open_flow_seconds": UP,
        "cascade_throughput_packets_per_second": DOWN,
        "kafka_consumergroup_group_lag": UP,
        "kafka_consumergroup_group_lag_seconds": UP,
        "kafka_consumergroup_group_max_lag": UP,
        "kafka_consumergroup_group_max_lag_seconds": UP,
        "kafka_consumergroup_group_sum_lag": UP,
        "kafka_consumergroup_group_topic_sum_lag": UP,
    },
    _failures: {
        "cascade_failure_ratio": UP,
        'cascade_stage_failure_ratio{stage="risk"}': UP,
        'cascade_packets_total{outcome="dead_lettered",stage="risk"}': UP,
    },
    _retries: {"cascade_retries_per_packet_ratio": UP, "cascade_retries_total": UP},
    _breaker_opens: {'cascade_breaker_trips_total{stage="risk"}': UP},
    _unreadable: {"cascade_undecodable_records_total": UP},
    _answered: {
        "cascade_coordination_success_ratio": UP,
        "cascade_coordination_requests": UP,
        f"cascade_coordination_response_quantile_seconds{{{P99}}}": UP,
    },
    _conflict: {f"cascade_conflict_resolution_quantile_seconds{{{P99}}}": UP},
    _synchronisation: {"cascade_synchronisations_per_minute": UP},
    _late_messages: {
        f"cascade_coordination_message_latency_quantile_seconds{{{P99}}}": UP,
        "cascade_coordination_messages_per_second": UP,
    },
    _busy_workers: {
        'cascade_worker_cpu_ratio{system="risk"}': UP,
        'cascade_worker_memory_bytes{system="risk"}': UP,
        'cascade_worker_event_loop_lag_seconds{system="risk"}': UP,
        'cascade_worker_retries{system="risk"}': UP,
        'cascade_worker_breaker_trips{system="risk"}': UP,
        'cascade_worker_open_breakers{system="risk"}': UP,
        'cascade_system_load_ratio{system="risk"}': UP,
    },
    _a_worker_is_gone: {'cascade_live_workers{system="risk"}': DOWN},
    _busy_machine: {"cascade_host_cpu_ratio": UP, "cascade_host_memory_ratio": UP},
    _halt: {
        'cascade_trading_state{state="HALTED"}': UP,
        'cascade_trading_state{state="ACTIVE"}': DOWN,
    },
    _isolation: {'cascade_fences{kind="symbol"}': UP},
    _retention: {"kafka_partition_earliest_offset": UP},
    _time_passes: {
        "cascade_watched_seconds_total": UP,
        "cascade_available_seconds_total": UP,
        "cascade_offering_seconds_total": UP,
        "cascade_carrying_seconds_total": UP,
    },
}
MOVES = [
    pytest.param(provoke, series, sign, id=f"{provoke.__name__.strip('_')}: {series}")
    for provoke, moves in TABLE.items()
    for series, sign in moves.items()
]


@pytest.mark.parametrize(("provoke", "series", "sign"), MOVES)
def test_a_metric_moves_with_its_cause(provoke: Provoke, series: str, sign: int) -> None:
    """After ten quiet seconds the cause is provoked, and the series goes where it should."""
    rig = MonitorRig()
    before = rig.level(series)
    provoke(rig)
    assert (rig.level(series) - before) * sign > 0.0


def test_the_table_has_every_metric() -> None:
    """No metric is without a cause; the target of latency is a setting."""
    moved = {series.partition("{")[0] for moves in TABLE.values() for series in moves}
    assert {"cascade_latency_target_seconds"} == set(NAMES) - moved
    assert set() == moved - set(NAMES)


def test_the_target_is_the_setting() -> None:
    """The target of latency is what the monitor was told, in seconds."""
    assert pytest.approx(0.05) == MonitorRig(50.0).level("cascade_latency_target_seconds")


@pytest.mark.parametrize(
    ("provoke", "whole", "good"),
    [
        (_a_worker_is_gone, "cascade_watched_seconds_total", "cascade_available_seconds_total"),
        (_stages_stand_still, "cascade_watched_seconds_total", "cascade_available_seconds_total"),
        (_stages_stand_still, "cascade_offering_seconds_total", "cascade_carrying_seconds_total"),
    ],
)
def test_seconds_without_service_are_not_good(provoke: Provoke, whole: str, good: str) -> None:
    """A stage without worker, or one that stands still, is an outage; a shortfall counts too."""
    rig = MonitorRig()
    before = rig.level(whole) - rig.level(good)
    provoke(rig)
    assert rig.level(whole) - rig.level(good) > before


def test_a_halt_is_no_outage() -> None:
    """The path does as it was told: all seconds of a halt are available ones."""
    rig = MonitorRig()
    _halt(rig)
    before = rig.level("cascade_available_seconds_total")
    rig.second()
    assert pytest.approx(1.0) == rig.level("cascade_available_seconds_total") - before


def test_what_was_not_measured_has_no_sample() -> None:
    """Nobody asked for a decision, so there is no success rate, rather than 0 or 1."""
    assert "cascade_coordination_success_ratio" not in figures(MonitorRig().view())


def test_labels_are_spelled_as_prometheus_does() -> None:
    """Labels stand in alphabetical order, with quotes and backslashes escaped."""
    assert 'm{a="1",b="x\\"\\\\"}' == spelled("m", {"b": 'x"\\', "a": "1"})
    assert "m" == spelled("m", {})
    assert all(list(metric.labels) == sorted(metric.labels) for metric in CATALOGUE)


def test_all_that_is_known_is_exposed() -> None:
    """Prometheus is told each metric of the catalogue, and histograms that add up."""
    rig = MonitorRig()
    found = {family.name: family for family in families(rig.view())}
    assert {name.removesuffix("_total") for name in NAMES} <= found.keys()
    latency = found["cascade_end_to_end_latency_seconds"].samples
    buckets = [each for each in latency if each.name.endswith("_bucket")]
    assert 200.0 == buckets[-1].value
    assert sorted(each.value for each in buckets) == [each.value for each in buckets]
    # Four stages of 6 ms each: above 20 ms, up to 30 ms.
    by_bound = {each.labels["le"]: each.value for each in buckets}
    assert (0.0, 200.0) == (by_bound["0.02"], by_bound["0.03"])


def test_a_monitor_that_stands_by_says_so_and_no_more() -> None:
    """What a monitor without the log's partition knew once is not told."""
    (family,) = families(None)
    assert "cascade_monitor_active" == family.name
    assert 0.0 == family.samples[0].value
