import os
from collections import Counter

import pytest

from tests.unit.transport.model.oracle import ignored, violations
from tests.unit.transport.model.owner import Rules
from tests.unit.transport.model.simulation import simulate
from tests.unit.transport.model.weakened import Guessing, WithoutEpochs, WithoutSequences

SEEDS = int(os.environ.get("MODEL_SEEDS", "150"))
MOST_SEEDS = 150

WEAKENED = {
    "no epoch check": (Rules(reader=WithoutEpochs), {"epochs", "decisions"}),
    "no sequence check": (Rules(reader=WithoutSequences), {"each input once", "decisions"}),
    "read to the end of the log, not to the token": (
        Rules(read_until_token=False),
        {"take-overs", "decisions"},
    ),
    "the same token for every attempt": (Rules(fresh_token=False), {"take-overs", "snapshots"}),
    "snapshot without read-back": (
        Rules(read_back_before_snapshot=False),
        {"snapshots", "readers agree"},
    ),
    "resume after the offset, whatever the order": (
        Rules(resume_by_cursor=False),
        {"resume", "each input once"},
    ),
    "forget what is done past the position": (
        Rules(keep_done=False),
        {"snapshots", "each input once"},
    ),
    "one position, whatever inputs there are": (
        Rules(all_positions=False),
        {"take-overs", "each input once"},
    ),
    "begin at the first marker, without a position": (
        Rules(newcomer=Guessing),
        {"readers agree"},
    ),
}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_doubled_or_decided_on_a_wrong_state(seed: int) -> None:
    """Whatever owners, crashes and late writes do, all invariants of the log hold."""
    found = violations(simulate(seed, Rules()))
    assert [] == found


@pytest.mark.parametrize("weakness", WEAKENED)
def test_a_weaker_protocol_is_caught(weakness: str) -> None:
    """Leaving a part of the protocol out breaks the invariants that it is there for."""
    rules, expected = WEAKENED[weakness]
    for seed in range(MOST_SEEDS):
        broken = {invariant for invariant, _ in violations(simulate(seed, rules))}
        if expected <= broken:
            return
    pytest.fail(f"Expected {sorted(expected)} broken within {MOST_SEEDS} seeds, was not")


def test_the_storm_reaches_what_it_is_for() -> None:
    """A handful of seeds sees every fault, every way to lose a log, and every kind of record."""
    seen: Counter[str] = Counter()
    for seed in range(30):
        world = simulate(seed, Rules())
        seen += world.seen
        seen["input of the priority lane"] += len(world.ingest_p.entries) if world.ingest_p else 0
        for stage in world.stages:
            late, behind = ignored(stage.log)
            seen["record of an old epoch"] += late
            seen["record behind a hole"] += behind
            seen["partial snapshot"] += stage.snapshots.partial()
            for _, memory in stage.snapshots.complete():
                seen["snapshot in mid-round"] += any(at.done for at in memory.positions.values())
    missing = [
        event
        for event in (
            "crash: between rounds",
            "crash: in a round",
            "crash: taken over",
            "crash: taking over",
            "crash: writing a snapshot",
            "input of the priority lane",
            "landed after its owner ended",
            "log that starts late",
            "lost batch",
            "lost: a delivery failed",
            "lost: a hole",
            "lost: a marker after the own one",
            "lost: a record was not read back for long",
            "lost: no longer assigned",
            "lost: no marker came",
            "lost: retention overtook a sleeper",
            "observer overtaken by retention",
            "partial snapshot",
            "record behind a hole",
            "record of an old epoch",
            "recovery from a snapshot",
            "reordered batch",
            "repeated batch",
            "snapshot in mid-round",
        )
        if not seen[event]
    ]
    assert [] == missing


def test_a_seed_always_tells_the_same_story() -> None:
    """A violation can be looked into, since its seed brings it back."""
    first, second = simulate(7, Rules()), simulate(7, Rules())
    assert first.down.log.entries == second.down.log.entries
    assert first.seen == second.seen
