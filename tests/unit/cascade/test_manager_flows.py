"""Flows in flight: room, outcomes, waiting."""

import threading
import time

import pytest

from pipeline.cascade.manager.flows import FlowBook, FlowOutcome
from pipeline.errors import FlowLimitReached, OutcomePending, UsageError
from pipeline.packets.identity import flow_id, packet_id
from pipeline.packets.models import Envelope, ExecutionPlan, Journal, Outcome, Trace
from pipeline.packets.vocabulary import OutcomeKind, SuperpositionType

NOW = 1_700_000_000_000_000


def plan(number: int, kind: OutcomeKind = OutcomeKind.HELD) -> ExecutionPlan:
    """Return the end of flow `number`, 20 ms after its acceptance."""
    flow = flow_id("market_data", "A", number)
    envelope = Envelope(
        flow, packet_id(flow, "execution"), "", SuperpositionType.EXECUTION_PLAN, "execution",
        "gateway", "A", "main", number, 1, NOW, NOW, NOW + 100_000, 0, 2,
        (Trace("execution", NOW, NOW, NOW + 20_000),), None,
        Outcome(kind, "tactical", ("NEUTRAL",)),
    )  # fmt: skip
    return ExecutionPlan(Journal(0, 0, "t", 0, 0, 0, 0, 0, 0, 0, NOW, 0, "o", "b"), envelope)


def admit(book: FlowBook, number: int, **more: object) -> str:
    """Let flow `number` in and return its packet's id."""
    flow = flow_id("market_data", "A", number)
    book.admit(on_limit="refuse", timeout_s=0.0)
    book.enter(flow, packet_id(flow, "market"), **more)  # type: ignore[arg-type]  # one option
    return packet_id(flow, "market")


def end(book: FlowBook, number: int) -> None:
    """End flow `number`."""
    found = plan(number)
    book.ended(found.envelope.flow_id, found)


def test_an_outcome_is_found_by_the_packet_that_began_the_flow() -> None:
    """The outcome has the record's fate, its times and the packet that was injected."""
    book = FlowBook(2)
    packet = admit(book, 1)
    end(book, 1)

    actual = book.wait_for(packet, 0.0)

    assert (packet, OutcomeKind.HELD, "tactical", ("NEUTRAL",), 20.0) == (
        actual.packet_id, actual.kind, actual.stage, actual.reasons, actual.latency_ms,
    )  # fmt: skip
    assert not actual.executed
    assert 0 == book.in_flight


def test_a_flow_that_has_not_ended_is_pending() -> None:
    """Waiting for it ends in an error of its own; for an unknown packet in another one."""
    book = FlowBook(2)
    packet = admit(book, 1)

    with pytest.raises(OutcomePending, match=packet):
        book.wait_for(packet, 0.01)
    with pytest.raises(UsageError, match="nobody"):
        book.wait_for("nobody", 0.01)
    assert (packet,) == book.unfinished()


def test_waiting_ends_with_the_flow() -> None:
    """Whoever waits is woken by the end."""
    book = FlowBook(2)
    packet = admit(book, 1)
    timer = threading.Timer(0.05, end, (book, 1))
    timer.start()

    assert OutcomeKind.HELD is book.wait_for(packet, 30.0).kind
    timer.join()


def test_at_the_limit_flows_are_refused() -> None:
    """No more than the limit are let in; an end, a withdrawal or a retreat makes room."""
    book = FlowBook(1)
    admit(book, 1)
    with pytest.raises(FlowLimitReached, match="max_concurrent_flows"):
        admit(book, 2)
    end(book, 1)
    admit(book, 2)
    with pytest.raises(FlowLimitReached):
        admit(book, 3)
    book.withdraw(flow_id("market_data", "A", 2))
    book.admit(on_limit="refuse", timeout_s=0.0)
    with pytest.raises(FlowLimitReached):
        admit(book, 3)
    book.turn_away()
    admit(book, 3)
    assert 1 == book.in_flight


def test_at_the_limit_flows_wait_for_room() -> None:
    """Blocking ends with room, or with the error once the time is over."""
    book = FlowBook(1)
    admit(book, 1)
    started = time.monotonic()
    with pytest.raises(FlowLimitReached, match=r"0\.05 s"):
        book.admit(on_limit="block", timeout_s=0.05)
    assert time.monotonic() - started >= 0.05
    timer = threading.Timer(0.05, end, (book, 1))
    timer.start()
    book.admit(on_limit="block", timeout_s=30.0)
    timer.join()


def test_a_flow_callback_is_called_once_and_may_fail() -> None:
    """It gets the outcome; what it raises changes nothing."""
    told: list[FlowOutcome] = []

    def callback(outcome: FlowOutcome) -> None:
        told.append(outcome)
        raise RuntimeError("on purpose")

    book = FlowBook(2)
    packet = admit(book, 1, on_outcome=callback)
    end(book, 1)
    end(book, 1)

    assert [packet] == [each.packet_id for each in told]
    assert told == [book.wait_for(packet, 0.0)]


def test_the_same_flow_is_not_in_flight_twice() -> None:
    """A second injection of a flow that is in flight is refused; after its end it is a new one."""
    book = FlowBook(3)
    packet = admit(book, 1)
    with pytest.raises(UsageError, match="in flight"):
        admit(book, 1)
    book.turn_away()
    end(book, 1)
    assert packet == admit(book, 1)
    with pytest.raises(OutcomePending):
        book.wait_for(packet, 0.0)


def test_draining_takes_no_more_and_names_what_is_left() -> None:
    """After it nobody gets in; what did not end in time is returned."""
    book = FlowBook(3)
    admit(book, 1)
    second = admit(book, 2)
    end(book, 1)

    assert (second,) == book.drain(0.01)
    with pytest.raises(UsageError, match="shut down"):
        admit(book, 3)


def test_foreign_flows_are_not_ours() -> None:
    """The end of a flow that was not injected here leaves nothing behind."""
    book = FlowBook(1)
    found = plan(7)

    assert book.ended(found.envelope.flow_id, found) is None
    assert 0 == book.in_flight
