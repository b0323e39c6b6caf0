"""Two owners of one log at once, workers frozen and woken: log and venue know one owner."""

import signal
import threading

import pytest

from tests.faults.frames import Api, Fate, Frame, kinds_in, prefix
from tests.faults.points import held
from tests.faults.proxy import FaultProxy
from tests.faults.rig import RECORDS, Rig, now_ms
from tests.faults.verdict import Verdict

pytestmark = pytest.mark.timeout(600)

_ROUNDS = 6
_LIMIT_S = 60.0


def _writes(stage: str, frame: Frame) -> bool:
    return frame.asks(Api.PRODUCE, *(prefix(name) for name in RECORDS[stage]))


def _announces(frame: Frame) -> bool:
    return _writes("gateway", frame) and "SUBMITTING" in kinds_in(frame.request)


def _hold_from_announcement(proxy: FaultProxy) -> threading.Event:
    """Have the proxy hold all that tells the gateway of an announcement: receipt and record."""
    announced, unread = threading.Event(), threading.Event()

    def rule(frame: Frame) -> Fate:
        if _announces(frame):
            announced.set()
        elif announced.is_set():
            opening = prefix("OrderEvent")
            if frame.acknowledges(opening) or frame.brings(opening):
                unread.set()
                return Fate.HOLD
        return Fate.PASS

    proxy.rule = rule
    return unread


def _named(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("named", [pytest.param(None, id=name)])


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, id=f"race-{stage}") for stage in ("strategic", "risk", "gateway")]
)
def test_two_owners_race(rig: Rig, verdict: Verdict, stage: str) -> None:
    """Each takes over from the other again and again; whoever writes, each input has one record."""
    with rig.load():
        rig.flows()
        before = rig.seen.markers(stage)
        rival, _ = rig.rival(stage)
        rig.taken_over(stage, before + _ROUNDS)
        rival.kill()
        killed_ms = now_ms()
        recovery_s = rig.recovered_s(stage, killed_ms, new_owner=False)
    verdict.give(recovery_s, note=f"{rig.seen.markers(stage) - before} take-overs")


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, id=f"zombie-{stage}") for stage in ("strategic", "risk")]
)
def test_what_a_zombie_writes_is_not_used(rig: Rig, verdict: Verdict, stage: str) -> None:
    """Its records arrive right behind the marker of its successor, before any record of that.

    They would fit: their sequence is the next one. Only their epoch tells.
    """
    with rig.load():
        rig.flows()
        zombie, void = rig.workers[stage], len(rig.seen.void(stage))
        late = held(rig.proxies[stage], lambda frame: _writes(stage, frame))
        rig.seen.wait(late.is_set, "records on their way", _LIMIT_S)
        zombie.signal(signal.SIGSTOP)
        frozen_ms = now_ms()
        try:
            successor, proxy = rig.add(stage)
            first = held(proxy, lambda frame: _writes(stage, frame))
            rig.seen.wait(first.is_set, f"a successor in {stage}", _LIMIT_S)
            rig.proxies[stage].release()
            rig.seen.wait(
                lambda: len(rig.seen.void(stage)) > void, "the zombie's records", _LIMIT_S
            )
            proxy.reset()
            rig.exchange(stage, successor)
            recovery_s = rig.recovered_s(stage, frozen_ms)
        finally:
            zombie.signal(signal.SIGCONT)
        rig.flows()
        zombie.kill()
        rig.flows(stage)
    verdict.give(recovery_s, note=f"{len(rig.seen.void(stage)) - void} records in vain")


@_named("zombie-gateway-unsent")
def test_a_zombie_gateway_announces_in_vain(rig: Rig, verdict: Verdict, named: None) -> None:
    """An announcement that arrives after its marker binds nobody: it sends no order under it."""
    with rig.load():
        rig.flows()
        zombie, void = rig.workers["gateway"], len(rig.seen.void("gateway"))
        late = held(rig.proxies["gateway"], _announces)
        rig.seen.wait(late.is_set, "an announcement on its way", _LIMIT_S)
        zombie.signal(signal.SIGSTOP)
        frozen_ms = now_ms()
        try:
            successor, _ = rig.add("gateway")
            recovery_s = rig.recovered_s("gateway", frozen_ms)
            rig.proxies["gateway"].release()
            rig.seen.wait(
                lambda: len(rig.seen.void("gateway")) > void, "the zombie's announcement", _LIMIT_S
            )
            rig.exchange("gateway", successor)
            refused = rig.refused()
        finally:
            zombie.signal(signal.SIGCONT)
        rig.flows("gateway", records=10)
        refused_since = rig.refused() - refused
        zombie.kill()
        rig.flows("gateway")
    verdict.give(recovery_s, note=f"{refused_since} orders sent in vain")
    assert refused_since == 0


@_named("zombie-gateway-unread")
def test_a_zombie_gateway_that_believes_itself_the_owner(
    rig: Rig, verdict: Verdict, named: None
) -> None:
    """It fell asleep right before its order, all its checks behind it: the venue has it already."""
    with rig.load():
        rig.flows()
        zombie, proxy = rig.workers["gateway"], rig.proxies["gateway"]
        refused = rig.refused()
        unread = _hold_from_announcement(proxy)
        rig.seen.wait(unread.is_set, "an announcement in the log", _LIMIT_S)
        zombie.signal(signal.SIGSTOP)
        frozen_ms = now_ms()
        try:
            proxy.reset()  # all that it waited for lies ready for it now, the marker behind it
            successor, _ = rig.add("gateway")
            recovery_s = rig.recovered_s("gateway", frozen_ms)
            rig.exchange("gateway", successor)
        finally:
            zombie.signal(signal.SIGCONT)
        rig.flows("gateway", records=10)
        zombie.kill()
        rig.flows("gateway")
    verdict.give(recovery_s, note=f"{rig.refused() - refused} orders refused as known")
