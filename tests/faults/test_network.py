"""The network between a worker and the broker fails, or the broker does: what was sent is kept."""

import pytest

from tests.faults.conftest import BrokerUnderTest
from tests.faults.frames import Fate, Frame, prefix
from tests.faults.points import held
from tests.faults.rig import RECORDS, STAGES, Rig, now_ms
from tests.faults.verdict import NETWORK_LIMIT_S, Verdict

pytestmark = pytest.mark.timeout(600)

_LIMIT_S = 60.0
_WAYS = ("stop", "kill")


def _stages(fault: str, *stages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "stage", [pytest.param(stage, id=f"{fault}-{stage}") for stage in stages]
    )


@_stages("cut", "tactical", "risk", "gateway")
def test_connections_cut_again_and_again(rig: Rig, verdict: Verdict, stage: str) -> None:
    """Whatever was on its way when they broke arrives once, or is decided anew."""
    proxy = rig.proxies[stage]
    with rig.load():
        rig.flows()
        for _ in range(8):
            proxy.cut()
            rig.seen.pass_time(0.4)
        recovery_s = rig.recovered_s(stage, now_ms(), new_owner=False)
    verdict.give(recovery_s, NETWORK_LIMIT_S)


@_stages("partition", "risk")
def test_a_worker_cut_off_for_longer_than_its_session(
    rig: Rig, verdict: Verdict, stage: str
) -> None:
    """Another takes its place; when it comes back, it is one of two members of its group."""
    proxy = rig.proxies[stage]
    with rig.load():
        rig.flows()
        proxy.refusing = True
        proxy.cut()
        lost_ms = now_ms()
        other, _ = rig.add(stage)
        recovery_s = rig.recovered_s(stage, lost_ms)
        proxy.refusing = False
        rig.flows()
        rig.exchange(stage, other).kill()
        rig.flows(stage)
    verdict.give(recovery_s, NETWORK_LIMIT_S)


@_stages("slow", "tactical", "risk")
def test_a_slow_connection(rig: Rig, verdict: Verdict, stage: str) -> None:
    """With 150 ms on each frame all goes on, only later."""
    proxy = rig.proxies[stage]
    with rig.load():
        rig.flows()
        slowed_ms = now_ms()
        proxy.delay_s = 0.15
        rig.flows(stage, records=100)
        proxy.delay_s = 0.0
        gap_s = rig.seen.longest_gap_s(stage, slowed_ms)
        recovery_s = rig.recovered_s(stage, now_ms(), new_owner=False)
    verdict.give(recovery_s, NETWORK_LIMIT_S, note=f"longest pause {gap_s:.1f} s")


@_stages("lost-ack", "tactical", "risk", "gateway")
def test_an_acknowledgement_lost_with_its_connection(
    rig: Rig, verdict: Verdict, stage: str
) -> None:
    """The producer sends once more what stands in the log already; it stands there once."""
    with rig.load():
        rig.flows()
        lost_ms = _lose(rig, stage, Fate.CUT)
        recovery_s = rig.recovered_s(stage, lost_ms, new_owner=False)
    verdict.give(recovery_s, NETWORK_LIMIT_S)


@_stages("silent-ack", "risk")
def test_an_acknowledgement_that_never_comes(rig: Rig, verdict: Verdict, stage: str) -> None:
    """The connection stays open and says nothing: the owner gives up in time, and goes on."""
    with rig.load():
        rig.flows()
        lost_ms = _lose(rig, stage, Fate.DROP)
        recovery_s = rig.recovered_s(stage, lost_ms, new_owner=False)
    verdict.give(recovery_s, NETWORK_LIMIT_S)


def _lose(rig: Rig, stage: str, fate: Fate) -> int:
    """Lose the next acknowledgement of a stage's records; return when, milliseconds."""
    lost: list[int] = []

    def rule(frame: Frame) -> Fate:
        if lost or not frame.acknowledges(*(prefix(name) for name in RECORDS[stage])):
            return Fate.PASS
        lost.append(now_ms())
        return fate

    rig.proxies[stage].rule = rule
    rig.seen.wait(lambda: lost, "an acknowledgement to lose", _LIMIT_S)
    return lost[0]


@_stages("late-plans", "gateway")
def test_plans_that_come_too_late_are_not_sent(rig: Rig, verdict: Verdict, stage: str) -> None:
    """Control goes on and the session lives, only the plans are held up: they expire unsent."""
    proxy = rig.proxies[stage]

    def expired() -> int:
        return sum(each.record.kind == "EXPIRED" for each in rig.seen.records(stage))

    with rig.load(timeout_ms=2000):
        rig.flows(stage)
        before = expired()
        holding = held(proxy, lambda frame: frame.brings(prefix("ExecutionPlan")))
        rig.seen.wait(holding.is_set, "plans to hold up", _LIMIT_S)
        rig.seen.pass_time(3.5)
        released_ms = now_ms()
        proxy.reset()
        recovery_s = rig.recovered_s(stage, released_ms, new_owner=False)
        rig.flows(stage)
    verdict.give(recovery_s, NETWORK_LIMIT_S, note=f"{expired() - before} orders expired")
    assert expired() > before


@pytest.mark.parametrize("way", [pytest.param(each, id=f"broker-{each}") for each in _WAYS])
def test_the_broker_stops_and_starts(
    rig: Rig, verdict: Verdict, broker_under_test: BrokerUnderTest, way: str
) -> None:
    """All workers live through it; recovery counts from when it answers again."""
    with rig.load():
        rig.flows()
        ended_ms = now_ms()
        if way == "kill":
            broker_under_test.kill()
        else:
            broker_under_test.stop()
        broker_under_test.start()
        rig.moved_to(broker_under_test.own.bootstrap)
        back_ms = now_ms()
        times = [rig.recovered_s(stage, back_ms, new_owner=False) for stage in STAGES]
    alive = [rig.workers[stage].process.poll() for stage in STAGES]
    without_s = (back_ms - ended_ms) / 1000
    verdict.give(max(times), NETWORK_LIMIT_S, note=f"after {without_s:.1f} s without a broker")
    assert [None] * len(STAGES) == alive
