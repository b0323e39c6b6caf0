"""What the page shows of flows, stages, alerts and emergencies."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from pipeline.control.fences import NO_FENCES, Fences
from pipeline.control.latch import Latched
from pipeline.control.state import TradingStateMachine
from pipeline.dashboard.board import FlowBoard
from pipeline.dashboard.notices import AlertBoard, emergency_view
from pipeline.dashboard.recalling import sample_of
from pipeline.dashboard.stages import Condition, condition_of, control_view, stage_view
from pipeline.emergency.ledger import Emergency
from pipeline.packets.events import (
    Alert,
    ControlCommand,
    ControlKind,
    EmergencyCourse,
    EmergencyEvent,
    EmergencyLevel,
    EmergencyType,
    MetricsSnapshot,
    PerformanceAlert,
    TradingState,
)
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.watch.lag import LagState, SystemLag
from pipeline.watch.observations import FlowEnd, Hop
from pipeline.watch.offsets import Backlog

US = 1_000_000
NOW = 1_800_000_000 * US


def end(
    number: int, at_us: int, kind: OutcomeKind = OutcomeKind.HELD, took_ms: int = 20
) -> FlowEnd:
    """Return the end of a flow that took so long, a quarter of it in each stage."""
    began = at_us - took_ms * 1000
    quarter = took_ms * 250
    hops = tuple(
        Hop(stage, began + i * quarter, began + i * quarter, began + (i + 1) * quarter)
        for i, stage in enumerate(("strategic", "tactical", "risk", "execution"))
    )
    return FlowEnd(
        f"{number:032x}", "ACME", number, kind, "execution", ("WHY",), (), hops, began,
        at_us // 1000, 100.0, None, 0.0, kind is OutcomeKind.EXECUTED,
    )  # fmt: skip


def test_a_thousand_packets_a_second_make_a_picture_of_one_size() -> None:
    """The picture of 30,000 flows is no larger than that of a few, within a tenth."""
    sizes = []
    for per_second in (10, 1000):
        board = FlowBoard(100.0, NOW)
        for second in range(30):
            now = NOW + second * US
            board.take_ends(
                [
                    end(second * per_second + i, now + i * US // per_second, kind)
                    for i in range(per_second)
                    for kind in [list(OutcomeKind)[i % 6]]
                ],
                now + US,
            )
            board.tick(now + US)
        picture = [board.history(), board.newest(), board.figures(NOW + 30 * US)]
        sizes.append(len(msgspec.json.encode(picture)))
    assert sizes[1] < sizes[0] * 1.1
    assert sizes[1] < 40_000


def test_figures_are_those_of_the_last_ten_seconds() -> None:
    """What ended earlier counts in the total alone."""
    board = FlowBoard(100.0, NOW)
    board.take_ends([end(i, NOW + i * US // 10, took_ms=500) for i in range(100)], NOW + 10 * US)
    later = NOW + 60 * US
    ends = [end(1000 + i, later + i * US // 10) for i in range(100)]
    ends[0] = end(1000, later, OutcomeKind.EXPIRED)
    board.take_ends(ends, later + 10 * US)
    found = board.figures(later + 10 * US + US // 2)
    assert 200 == found["ended"]
    assert 10.0 == found["ended_per_s"]
    assert 20.0 == pytest.approx(found["latency_ms"]["p99"])
    assert 0.01 == pytest.approx(found["failure_rate"])
    assert (1, 99) == (found["outcomes"]["expired"], found["outcomes"]["held"])


def test_what_was_not_measured_is_none() -> None:
    """Before the first packet there are no figures, and no zeros that look like some."""
    board = FlowBoard(100.0, NOW)
    board.tick(NOW)
    found = board.figures(NOW)
    assert found["latency_ms"] is found["failure_rate"] is found["offered_per_s"] is None
    assert [None] == board.history()["p99"]
    assert board.stage_latency("gateway", NOW) is None


def test_a_flow_is_listed_by_its_outcome_however_many_others_there_are() -> None:
    """A rare failure stays in sight beside a thousand that were held."""
    board = FlowBoard(100.0, NOW)
    ends = [end(0, NOW, OutcomeKind.DEAD_LETTERED), *(end(i, NOW + i) for i in range(1, 1000))]
    board.take_ends(ends, NOW + US)
    found = board.newest()
    assert 13 == len(found)
    assert "dead_lettered" in {each["outcome"] for each in found}
    known = board.known(f"{999:032x}")
    assert known is not None
    assert "ACME" == known["symbol"]
    assert board.known(f"{5:032x}") is None


def test_what_is_offered_comes_from_the_ends_of_the_ingest_topic() -> None:
    """Its growth over ten seconds, by the clock of whoever asked."""
    board = FlowBoard(100.0, NOW)
    for second in range(12):
        board.take_backlog(Backlog(500 * second, {}), NOW + second * US)
    assert 500.0 == board.figures(NOW + 11 * US)["offered_per_s"]


def test_samples_of_before_come_in_front_of_those_taken_here() -> None:
    """What the monitor wrote down fills the charts of a page that was just opened, once."""
    board = FlowBoard(100.0, NOW)
    board.tick(NOW)
    board.recall([{"at": NOW / US, "p99": 9.0}, {"at": NOW / US - 2, "p99": 7.0}])
    board.recall([{"at": NOW / US - 4, "p99": 5.0}])
    history = board.history()
    assert [5.0, 7.0, None] == history["p99"]
    assert [None, None, 0.0] == history["rate"]


def test_a_snapshot_of_the_monitor_becomes_a_sample() -> None:
    """In milliseconds and packets a second, those that failed among them."""
    figures = {
        "cascade_throughput_packets_per_second": 90.0,
        "cascade_failure_ratio": 0.1,
        'cascade_end_to_end_latency_quantile_seconds{path="any",quantile="0.99"}': 0.08,
        'cascade_stage_latency_quantile_seconds{quantile="0.99",stage="risk"}': 0.002,
    }
    snapshot = MetricsSnapshot(NOW, "monitor", 1.0, json.dumps(figures))
    found = sample_of(snapshot)
    assert (NOW / US, 100.0, 10.0) == pytest.approx((found["at"], found["rate"], found["failed"]))
    assert (80.0, 2.0, None) == (found["p99"], found["risk"], found["tactical"])


# -- stages ----------------------------------------------------------------------------------------

_WORKS = SystemLag(0, 0.0, LagState.OK, 50.0)


@pytest.mark.parametrize(
    ("workers", "fences", "lag", "condition"),
    [
        (None, NO_FENCES, _WORKS, Condition.UNKNOWN),
        ({}, NO_FENCES, _WORKS, Condition.DOWN),
        ({"risk": 1}, Fences(stages=frozenset({"risk"})), _WORKS, Condition.ISOLATED),
        ({}, Fences(stages=frozenset({"risk"})), _WORKS, Condition.ISOLATED),
        ({"risk": 1}, Fences(policies=frozenset({"risk"})), _WORKS, Condition.RESTRICTED),
        ({"risk": 1}, Fences(breakers=frozenset({"risk"})), _WORKS, Condition.RESTRICTED),
        ({"risk": 1}, Fences(stages=frozenset({"tactical"})), _WORKS, Condition.WORKING),
        ({"risk": 1}, NO_FENCES, SystemLag(90, 9.0, LagState.STALL, 0.0), Condition.BEHIND),
        ({"risk": 1}, NO_FENCES, SystemLag(90, 1.0, LagState.STALL, 5.0), Condition.WORKING),
        ({"risk": 1}, NO_FENCES, SystemLag(0, 0.0, LagState.OK, 0.0), Condition.IDLE),
        ({"risk": 1}, NO_FENCES, None, Condition.IDLE),
    ],
)
def test_a_stage_s_condition(
    workers: Mapping[str, int] | None, fences: Fences, lag: SystemLag | None, condition: Condition
) -> None:
    """What control says comes before what the figures say; nobody's answer is no good news."""
    found, why = condition_of("risk", workers, fences, lag)
    assert condition is found
    assert why or condition is Condition.WORKING
    view = stage_view("risk", workers, fences, lag, None, None)
    assert condition.value == view["condition"]


def command(kind: ControlKind, scope: str = "*", lifts: int = -1) -> ControlCommand:
    """Return a command of the operator."""
    return ControlCommand(f"{kind}-{scope}-{lifts}", kind, scope, "operator", "why", 1, 0, lifts)


def test_the_trading_state_says_what_lifts_it() -> None:
    """Before the bootstrap, while active, after a halt: state, reason and the epoch to name."""
    machine = TradingStateMachine(("operator",))
    unlatched = Latched(TradingState.ACTIVE, -1)
    assert not control_view(machine, unlatched)["bootstrapped"]
    machine.apply(command(ControlKind.BOOTSTRAP), 0)
    found = control_view(machine, unlatched)
    assert (True, "ACTIVE", -1) == (found["bootstrapped"], found["state"], found["halt_epoch"])
    machine.apply(command(ControlKind.HALT), 1)
    machine.apply(command(ControlKind.ISOLATE, "stage:risk"), 2)
    machine.apply(command(ControlKind.TRIP, "throttle:ACME"), 3)
    found = control_view(machine, unlatched)
    assert ("HALTED", 1) == (found["state"], found["halt_epoch"])
    assert ["risk"] == found["isolated"]
    assert [("stage:risk", 2)] == [(each["scope"], each["epoch"]) for each in found["fences"]]
    assert [("throttle:ACME", 3)] == [(each["scope"], each["epoch"]) for each in found["trips"]]


def test_a_halt_of_this_machine_alone_is_shown() -> None:
    """The log says ACTIVE, the latch does not."""
    machine = TradingStateMachine(("operator",))
    machine.apply(command(ControlKind.BOOTSTRAP), 0)
    latched = Latched(TradingState.HALTED, -1, local=True, reason="no broker", halt_id="h1")
    found = control_view(machine, latched)["latch"]
    assert (True, True, "h1") == (found["holds"], found["local"], found["halt_id"])


# -- alerts and emergencies ------------------------------------------------------------------------


def alert(name: str, level: str, at_us: int, **context: Any) -> Alert:
    """Return an alert."""
    return Alert(name, PerformanceAlert(level), name, json.dumps(context), at_us, False)


def test_alerts_stand_until_they_are_resolved() -> None:
    """Records of one id are one alert; the most urgent comes first."""
    board = AlertBoard()
    board.take(alert("a", "WARNING", NOW, state="raised"))
    board.take(alert("b", "CRITICAL", NOW, state="raised"))
    board.take(alert("a", "CRITICAL", NOW + 1, state="changed"))
    assert ["a", "b"] == [each["id"] for each in board.active(NOW)]
    board.take(alert("a", "INFO", NOW + 2, state="resolved"))
    assert ["b"] == [each["id"] for each in board.active(NOW)]
    assert ["a"] == [each["id"] for each in board.ended()]
    assert board.find("a") is None
    board.take(alert("a", "INFO", NOW + 3, state="told", ended_us=NOW + 2))
    assert ["b"] == [each["id"] for each in board.active(NOW)]


def test_a_notice_that_nobody_ends_goes_after_an_hour() -> None:
    """And what is no JSON object is a notice, too."""
    board = AlertBoard()
    board.take(Alert("a", PerformanceAlert.INFO, "m", "[]", NOW, False))
    board.take(Alert("b", PerformanceAlert.INFO, "m", "no json", NOW, False))
    assert 2 == len(board.active(NOW + 3_599 * US))
    assert [] == board.active(NOW + 3_601 * US)


def test_alerts_are_bounded() -> None:
    """Ten thousand alerts are no larger a picture than fifty."""
    board = AlertBoard()
    for number in range(10_000):
        board.take(alert(f"a{number}", "WARNING", NOW + number, state="raised"))
    assert 50 == len(board.active(NOW))


def test_an_emergency_says_who_has_taken_it_on() -> None:
    """Its whole course is there, newest state first in sight."""
    first = EmergencyEvent(
        "e1", EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CRITICAL, NOW, "emergency",
        ("tactical",), "gone", "{}", (), "", 0.0,
    )  # fmt: skip
    taken = msgspec.structs.replace(
        first, course=EmergencyCourse.ACKNOWLEDGED, author="mary", updated_at=NOW + US
    )
    found = emergency_view(Emergency(taken, (first, taken)))
    assert ("CRITICAL", "mary", True) == (found["level"], found["acknowledged"], found["active"])
    assert ["DECLARED", "ACKNOWLEDGED"] == [each["course"] for each in found["history"]]
