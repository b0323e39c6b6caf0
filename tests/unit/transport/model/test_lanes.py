"""Two lanes of a stage, as the design words them, under crashes, zombies and lost batches."""

import os
from collections import Counter

import pytest

from tests.unit.transport.model.lane_oracle import lane_violations
from tests.unit.transport.model.lane_owner import LaneReader, LaneRules
from tests.unit.transport.model.lane_world import simulate_lanes

SEEDS = int(os.environ.get("MODEL_SEEDS", "40"))
MOST_SEEDS = 150


class _AnyMarker(LaneReader):
    """Weakened: the last marker counts, were it of an owner that was overtaken long ago."""

    def opened(self, epoch: int) -> None:
        """Note a marker."""
        self.epoch = epoch


WEAKENED = {
    "the last marker of the normal log counts, not the highest": (
        LaneRules(normal_reader=_AnyMarker),
        {"readers agree"},
    ),
    "no marker in the normal log": (LaneRules(mark_normal=False), {"decisions", "one sequence"}),
    "into the priority lane without waiting for acks": (
        LaneRules(wait_for_acks=False),
        {"one sequence"},
    ),
    "back to the normal lane without reading the priority log": (
        LaneRules(read_back_priority=False),
        {"one sequence"},
    ),
    "recovery of one log after the other": (
        LaneRules(merge=False),
        {"take-overs", "decisions"},
    ),
    "urgent packets change windows": (LaneRules(windows_of_normal_only=False), {"windows"}),
    "overtaken packets are decided": (LaneRules(supersede=False), {"newest wins"}),
    "the normal lane waits for as long as others come": (
        LaneRules(normal_gets_turns=False),
        {"turns"},
    ),
}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_two_lanes_are_one_log(seed: int) -> None:
    """One sequence over both, each input once, nothing decided on a state that does not count."""
    assert [] == lane_violations(simulate_lanes(seed, LaneRules()))


@pytest.mark.parametrize("weakness", WEAKENED)
def test_a_weaker_wording_is_caught(weakness: str) -> None:
    """Leaving a part of the wording out breaks the invariants that it is there for."""
    rules, expected = WEAKENED[weakness]
    for seed in range(MOST_SEEDS):
        broken = {invariant for invariant, _ in lane_violations(simulate_lanes(seed, rules))}
        if expected <= broken:
            return
    pytest.fail(f"Expected {sorted(expected)} broken within {MOST_SEEDS} seeds, was not")


def test_the_storm_reaches_what_it_is_for() -> None:
    """A handful of seeds sees every way to lose the lanes, between the two markers included."""
    seen: Counter[str] = Counter()
    for seed in range(30):
        seen += simulate_lanes(seed, LaneRules()).seen
    missing = [
        event
        for event in (
            "changed to normal",
            "changed to priority",
            "crash: between rounds",
            "crash: between the two markers",
            "crash: changing lanes",
            "crash: taking over",
            "landed after its owner ended",
            "lost batch",
            "lost: a delivery failed",
            "lost: a hole",
            "lost: a marker after the own one",
            "lost: no acks before the priority lane",
            "lost: no longer assigned",
            "lost: no marker came",
            "lost: no read-back before the normal lane",
            "lost: overtaken between the two markers",
            "repeated batch",
        )
        if not seen[event]
    ]
    assert [] == missing
