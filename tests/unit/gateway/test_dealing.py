from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.gateway.dealing import (
    Answer,
    CancelCall,
    Dealing,
    QueryCall,
    SubmitCall,
    deal,
    reconcile,
    submit,
)
from pipeline.gateway.fills import PaperBehaviour
from pipeline.gateway.orders import Result
from pipeline.gateway.paper import PaperVenue
from pipeline.gateway.venue import (
    DuplicateOrder,
    VenueRejected,
    VenueReport,
    VenueState,
    VenueUnknown,
)
from pipeline.packets.vocabulary import OrderEventKind
from tests.unit.gateway.factories import Clock, venue_order

ORDER = venue_order()
NAME = ORDER.client_order_id
SUBMIT, QUERY, CANCEL = SubmitCall(ORDER), QueryCall(NAME), CancelCall(NAME)
HALT = Result(OrderEventKind.HALTED, ("TRADING_HALTED",))
DUPLICATE = DuplicateOrder("known")
UNKNOWN = VenueUnknown("no answer")


def _report(state: VenueState, filled: float = 0.0, reason: str = "") -> VenueReport:
    price = 100.5 if filled else 0.0
    return VenueReport(NAME, "paper-1", state, filled, price, filled * 0.005, reason)


DONE = _report(VenueState.FILLED, 10.0)
WORKING = _report(VenueState.WORKING)
CANCELLED = _report(VenueState.CANCELLED, reason="CANCELLED_ON_REQUEST")
FILLED = Result(OrderEventKind.FILLED, (), 10.0, 100.5, 0.05, "paper-1")
HALTED = Result(
    OrderEventKind.HALTED, ("TRADING_HALTED", "CANCELLED_ON_REQUEST"), venue_order_id="paper-1"
)


def _free() -> None:
    return None


def _halted() -> Result:
    return HALT


def _halted_after(checks: int) -> Iterator[Result | None]:
    yield from [None] * checks
    while True:
        yield HALT


def _play(dealing: Dealing, *answers: Answer) -> tuple[list[object], Result | None]:
    """Return the calls that a dealing makes, given these answers, and what it comes to."""
    calls: list[object] = []
    pending = iter(answers)
    try:
        calls.append(next(dealing))
        while True:
            calls.append(dealing.send(next(pending)))
    except StopIteration as end:
        assert [] == list(pending)
        return calls, end.value


@pytest.mark.parametrize(
    ("answers", "calls", "result"),
    [
        ((DONE,), [SUBMIT], FILLED),
        (
            (VenueRejected("NO_MARGIN", NAME, "paper-1"),),
            [SUBMIT],
            Result(OrderEventKind.REJECTED, ("NO_MARGIN",), venue_order_id="paper-1"),
        ),
        # No answer: the venue is asked, not sent to again under another id.
        ((UNKNOWN, DONE), [SUBMIT, QUERY], FILLED),
        ((UNKNOWN, UNKNOWN), [SUBMIT, QUERY], None),
        # It never arrived: the same order again.
        ((UNKNOWN, None, DONE), [SUBMIT, QUERY, SUBMIT], FILLED),
        ((UNKNOWN, None, UNKNOWN), [SUBMIT, QUERY, SUBMIT], None),
        # A known id: somebody else sent it.
        ((DUPLICATE, DONE), [SUBMIT, QUERY], FILLED),
        ((WORKING, WORKING), [SUBMIT, QUERY], None),
    ],
)
def test_submit(answers: tuple[Answer, ...], calls: list[object], result: Result | None) -> None:
    """A submit ends by the venue's word alone; without it the order stays in flight."""
    assert (calls, result) == _play(submit(ORDER, _free), *answers)


def test_a_halt_at_the_last_moment_stops_the_submit() -> None:
    """The barrier is checked right before the call: nothing is sent."""
    assert ([], HALT) == _play(submit(ORDER, _halted))


@pytest.mark.parametrize(
    ("answers", "calls", "result"),
    [
        ((DONE,), [QUERY], FILLED),
        ((WORKING,), [QUERY], None),
        ((UNKNOWN,), [QUERY], None),
        ((None, DONE), [QUERY, SUBMIT], FILLED),
        ((None, DUPLICATE, DONE), [QUERY, SUBMIT, QUERY], FILLED),
        ((None, DUPLICATE, None), [QUERY, SUBMIT, QUERY], None),
        ((None, UNKNOWN), [QUERY, SUBMIT], None),
    ],
)
def test_reconcile_while_orders_may_be_sent(
    answers: tuple[Answer, ...], calls: list[object], result: Result | None
) -> None:
    """An order that the venue does not know is sent under the same id."""
    assert (calls, result) == _play(reconcile(ORDER, _free), *answers)


@pytest.mark.parametrize(
    ("answers", "calls", "result"),
    [
        ((DONE,), [QUERY], FILLED),
        ((UNKNOWN,), [QUERY], None),
        ((None, CANCELLED), [QUERY, CANCEL], HALTED),
        ((WORKING, CANCELLED), [QUERY, CANCEL], HALTED),
        # Filled between query and cancel: the fill counts.
        ((None, DONE), [QUERY, CANCEL], FILLED),
        ((WORKING, UNKNOWN), [QUERY, CANCEL], None),
        ((WORKING, WORKING), [QUERY, CANCEL], None),
    ],
)
def test_reconcile_while_orders_may_not_be_sent(
    answers: tuple[Answer, ...], calls: list[object], result: Result | None
) -> None:
    """An order that the venue does not know, or still works, is cancelled there, never sent."""
    assert (calls, result) == _play(reconcile(ORDER, _halted), *answers)


def test_a_halt_during_reconciliation_cancels() -> None:
    """An order that a submit left working is cancelled where trading was halted meanwhile."""
    checks = _halted_after(1)
    played = _play(reconcile(ORDER, lambda: next(checks)), None, WORKING, CANCELLED)
    assert ([QUERY, SUBMIT, CANCEL], HALTED) == played


@pytest.mark.parametrize(
    ("report", "kind", "reasons"),
    [
        (_report(VenueState.FILLED, 10.0), OrderEventKind.FILLED, ()),
        (_report(VenueState.CANCELLED, 4.0, "DRY"), OrderEventKind.PARTIALLY_FILLED, ("DRY",)),
        (_report(VenueState.CANCELLED, 0.0, "DRY"), OrderEventKind.CANCELLED, ("DRY",)),
        (_report(VenueState.REJECTED, 0.0, "NO"), OrderEventKind.REJECTED, ("NO",)),
    ],
)
def test_a_report_becomes_a_result(
    report: VenueReport, kind: OrderEventKind, reasons: tuple[str, ...]
) -> None:
    """Figures are taken over as the venue gives them."""
    _, result = _play(reconcile(ORDER, _free), report)
    expected = Result(kind, reasons, report.filled, report.price, report.fee, "paper-1")
    assert expected == result


def test_a_partial_fill_before_the_cancel_is_kept() -> None:
    """A cancel that finds some quantity filled reports it, not the halt."""
    part = _report(VenueState.CANCELLED, 4.0, "CANCELLED_ON_REQUEST")
    _, result = _play(reconcile(ORDER, _halted), WORKING, part)
    assert result is not None
    assert (OrderEventKind.PARTIALLY_FILLED, 4.0) == (result.kind, result.filled)


def test_dealing_with_the_paper_broker(tmp_path: Path) -> None:
    """`deal` carries calls and errors between a dealing and a venue."""
    clock = Clock()
    behaviour = PaperBehaviour(unknown=1.0)
    with PaperVenue(tmp_path / "paper", behaviour, now_us=clock, sleep=clock.sleep) as venue:
        result = deal(venue, submit(ORDER, _free))
        assert result is not None
        assert (OrderEventKind.FILLED, 10.0) == (result.kind, result.filled)
        assert result == deal(venue, submit(ORDER, _free))
        unsent = venue_order("order-2")
        cancelled = deal(venue, reconcile(unsent, _halted))
        assert cancelled is not None
        assert (OrderEventKind.HALTED, 0.0) == (cancelled.kind, cancelled.filled)
        late = deal(venue, submit(unsent, _free))
        assert late is not None
        assert OrderEventKind.CANCELLED is late.kind
        outcomes = [each.outcome for each in venue.submissions()]
        assert ["accepted", "duplicate", "duplicate"] == outcomes
