"""What is remembered of packets, standstills and worker processes."""

import pytest

from pipeline.emergency.supervising import WorkerSeen
from pipeline.emergency.tallies import ExitTally, PacketTally, Standstill, writer_before
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.watch.observations import FlowEnd, Hop

WINDOW_S = 10.0


def _end(
    kind: str = "executed", stage: str = "execution", *reasons: str, symbol: str = "A", ms: int = 40
) -> FlowEnd:
    hops = (Hop("strategic", 0, 0, 10_000), Hop("tactical", 0, 0, ms * 1000))
    return FlowEnd(
        "flow", symbol, 0, OutcomeKind(kind), stage, reasons, (), hops, 0, 0, 1.0, None, 0.0, False
    )


@pytest.mark.parametrize(
    ("end", "name", "expected"),
    [
        (_end("dead_lettered", "strategic", "MALFORMED"), "malformed", {"source:market": 1}),
        (_end("dead_lettered", "risk", "MALFORMED"), "malformed", {"tactical": 1}),
        (_end("dead_lettered", "risk", "VALIDATION"), "invalid", {"tactical": 1}),
        (_end("dead_lettered", "strategic", "ROUTING"), "invalid", {"source:market": 1}),
        (_end("dead_lettered", "tactical", "POLICY_FAILED"), "failed", {"tactical": 1}),
        (_end("held", "tactical", "BREAKER_OPEN"), "failed", {"tactical": 1}),
    ],
)
def test_who_is_to_blame(end: FlowEnd, name: str, expected: dict[str, int]) -> None:
    """What a stage cannot use was written by the one before it; a policy's failure is its own."""
    tally = PacketTally(WINDOW_S)
    tally.take(end, 1.0)
    tally.take(_end(), 1.0)
    figures = tally.figures(1.0, WINDOW_S)
    assert (2, expected) == (figures.ended, dict(getattr(figures, name)))
    others = {"malformed", "invalid", "failed"} - {name}
    assert all(not getattr(figures, each) for each in others)


def test_a_breaker_that_is_open_by_command_is_no_failure() -> None:
    """Its policy is not asked because somebody said so."""
    tally = PacketTally(WINDOW_S)
    tally.take(_end("held", "tactical", "BREAKER_OPEN"), 1.0)
    assert {} == dict(tally.figures(1.0, WINDOW_S, ["tactical"]).failed)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """Only what ended within the window counts, but the total goes on."""
    tally = PacketTally(WINDOW_S)
    tally.take(_end(ms=500), 0.0)
    tally.take(_end(ms=40), 9.0)
    assert (2, 1, 0) == tuple(tally.figures(at, WINDOW_S).ended for at in (9.0, 12.0, 20.0))
    assert 40.0 == tally.figures(12.0, WINDOW_S).p95_ms
    assert 2 == tally.ended


def test_the_slowest_stage_is_where_the_time_goes_by() -> None:
    """Time counts from the end of the stage before, transport included."""
    tally = PacketTally(WINDOW_S)
    tally.take(_end(ms=200), 0.0)
    assert "tactical" == tally.figures(0.0, WINDOW_S).slowest


def test_a_standstill_begins_when_something_enters_after_the_last_end() -> None:
    """Nothing entering is none, and one end is the end of it."""
    still = Standstill()
    looks = [(5, 5, 0.0), (5, 5, 9.0), (6, 5, 10.0), (9, 5, 14.0), (9, 6, 15.0), (9, 6, 19.0)]
    assert [0.0, 0.0, 0.0, 4.0, 0.0, 0.0] == [still.take(*each) for each in looks]


def test_exits_count_from_when_a_supervisor_is_known() -> None:
    """What happened before is old news; a minute later it is, too."""
    exits = ExitTally()
    exits.take([WorkerSeen("risk", ("risk",), 1, exits=7)], 0.0)
    assert {} == exits.lately(0.0)
    exits.take([WorkerSeen("risk", ("risk",), 2, exits=9)], 10.0)
    assert {"risk": (2, ("risk",))} == exits.lately(10.0)
    assert {} == exits.lately(71.0)


def test_a_worker_is_starting_for_some_seconds_after_its_process_is_new() -> None:
    """One that was there from the first is not."""
    exits = ExitTally()
    exits.take([WorkerSeen("risk", ("risk",), 1)], 0.0)
    assert not exits.starting("risk", 0.0, 15.0)
    exits.take([WorkerSeen("risk", ("risk",), 2)], 5.0)
    assert [True, False] == [exits.starting("risk", at, 15.0) for at in (19.0, 21.0)]
    assert not exits.starting("tactical", 6.0, 15.0)
    standby = [WorkerSeen("risk", ("risk",), 2), WorkerSeen("tactical-2", ("tactical",), 3)]
    exits.take(standby, 7.0)
    assert exits.starting("tactical", 8.0, 15.0)


def test_who_writes_what_a_stage_reads() -> None:
    """The market, then each stage for the next."""
    names = ["source:market", "strategic", "tactical", "risk", "execution"]
    stages = ["strategic", "tactical", "risk", "execution", "gateway"]
    assert names == [writer_before(each) for each in stages]
