"""kill -9 of each worker at each instant at which it could matter: nothing lost, none doubled."""

import pytest

from tests.faults.points import POINTS, Strike
from tests.faults.rig import STAGES, Rig
from tests.faults.verdict import Verdict

pytestmark = pytest.mark.timeout(600)

_KILLS = [
    pytest.param(stage, point, id=f"kill-{stage}-{point}")
    for stage in STAGES
    for point in POINTS
    if point != "result" or stage == "gateway"
]


@pytest.mark.parametrize(("stage", "point"), _KILLS)
def test_a_killed_worker_is_replaced(rig: Rig, verdict: Verdict, stage: str, point: str) -> None:
    """Its successor goes on where the log ends, within the limit."""
    with rig.load():
        rig.flows()
        killed_ms = Strike(rig, stage, POINTS[point]).carry_out()
        rig.restart(stage)
        recovery_s = rig.recovered_s(stage, killed_ms)
    verdict.give(recovery_s)
