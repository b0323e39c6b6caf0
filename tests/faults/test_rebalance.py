"""Workers come and go under load, in order and by kill: nothing lost, none doubled."""

import pytest

from tests.faults.rig import Rig, now_ms
from tests.faults.verdict import Verdict

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("stage", [pytest.param("strategic", id="rebalance-strategic")])
def test_workers_join_leave_and_die(rig: Rig, verdict: Verdict, stage: str) -> None:
    """Two more join one after the other, one leaves, one is killed: partitions find their owner."""
    with rig.load():
        rig.flows()
        began_ms, before = now_ms(), rig.seen.markers(stage)
        second, _ = rig.add(stage)
        second.wait_for("took_over")
        rig.flows()
        third, _ = rig.add(stage)
        third.wait_for("took_over")
        rig.flows()
        assert second.stop() == 0
        rig.flows()
        third.kill()
        killed_ms = now_ms()
        recovery_s = rig.recovered_s(stage, killed_ms)
        rig.flows(records=50)
        gap_s = rig.seen.longest_gap_s(stage, began_ms)
        moves = rig.seen.markers(stage) - before
    verdict.give(recovery_s, note=f"{moves} moves of partition 0, longest pause {gap_s:.1f} s")
