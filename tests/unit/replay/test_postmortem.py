"""The page of a post-mortem."""

import pytest

from pipeline.errors import UsageError
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.replay.postmortem import stretch, write_postmortem
from pipeline.replay.progress import Finding, Tally
from pipeline.replay.timeline import EventKind, Timeline, TimelineEvent
from pipeline.watch.observations import FlowEnd, Hop

US = 1_000_000
START = 1_700_000_000 * US


def _end(second: float, kind: OutcomeKind) -> FlowEnd:
    at = START + int(second * US)
    trace = (Hop("execution", at, at, at + 5000),)
    return FlowEnd("f", "IBM", 1, kind, "risk", ("WHY",), (), trace, at, 0, None, None, 0.0, False)


def _timeline(*events: TimelineEvent) -> Timeline:
    ends = (_end(1, OutcomeKind.EXECUTED), _end(1.1, OutcomeKind.HELD), _end(7, OutcomeKind.HELD))
    return Timeline(START, START + 10 * US, events, ends, "ACTIVE at epoch 4")


def _tally() -> Tally:
    tally = Tally(seconds=1.0)
    tally.of("risk").identical = 3
    tally.span(START + US)
    tally.span(START + 7 * US)
    return tally


def _finding(cause: str, detail: str) -> Finding:
    return Finding(
        "cascade.risk", 0, 12, "risk", "f", "IBM", START + 2 * US, "APPROVE", "<REJECT>",
        (("risk.verdict", "APPROVE", "REJECT"),), cause, detail,
    )  # fmt: skip


def test_what_happened_stands_in_order() -> None:
    """Commands, alerts, orders and packets are one timeline, whatever topic they came from."""
    page = write_postmortem(
        "flow f",
        _tally(),
        _timeline(
            TimelineEvent(START + 2 * US, EventKind.CONTROL, "epoch 5: HALT by me"),
            TimelineEvent(START + 3 * US, EventKind.ALERT, "WARNING: late"),
            TimelineEvent(START + 4 * US, EventKind.ORDER, "f-000: FILLED"),
        ),
    )
    parts = ("2 flows ended: 1 executed, 1 held; the slowest took 5.0 ms", "HALT by me", "WARNING",
             "f-000", "1 flows ended: 1 held")  # fmt: skip
    body = page[page.index("<h2>Timeline</h2>") :]
    places = [body.index(part) for part in parts]
    assert sorted(places) == places
    assert "History comes out again, record for record" in page
    assert "ACTIVE at epoch 4" in page


def test_a_divergence_stands_on_top_with_its_cause() -> None:
    """Nobody has to look for it, and nothing in it is taken for HTML."""
    tally = _tally()
    tally.of("risk").different = 1
    tally.diverged(_finding("policy", "was a, is b"))
    page = write_postmortem("flow f", tally, _timeline())
    assert "First divergence at cascade.risk[0]@12, policy: was a, is b" in page
    assert "&lt;REJECT&gt;" in page
    assert "<REJECT>" not in page


def test_a_what_if_lists_what_explains_each_difference() -> None:
    """With its own heading, beside the check that history comes out again."""
    tally = _tally()
    tally.of("risk").changed = 1
    tally.differed(_finding("change", "risk.maximum_order: 0.04 to 0.02"))
    page = write_postmortem("flow f", tally, _timeline(), "risk.maximum_order: 0.04 to 0.02")
    assert "<h2>What if: risk.maximum_order: 0.04 to 0.02</h2>" in page
    assert "<h2>What if" not in write_postmortem("flow f", tally, _timeline())


def test_without_a_record_there_is_nothing_to_tell() -> None:
    """An empty page would look like a quiet day."""
    with pytest.raises(UsageError, match="Expected a replay of some records"):
        write_postmortem("flow f", Tally(), _timeline())


def test_no_command_is_left_out_among_many_orders() -> None:
    """Orders are left out where there are very many, and the page says how many."""
    orders = [TimelineEvent(n, EventKind.ORDER, f"order {n}") for n in range(3000)]
    halt = TimelineEvent(5000, EventKind.CONTROL, "epoch 7: HALT by operator")
    page = write_postmortem("flow f", _tally(), _timeline(*orders, halt))
    assert ("HALT by operator" in page, "2,001 more events are not shown" in page) == (True, True)


def test_the_page_tells_of_all_of_the_time_that_was_replayed() -> None:
    """A command given long before the next packet is not left out."""
    first, last = START - US, START + 17 * US
    assert (first, last) == stretch(_tally(), None)
    assert (first - 9, last + 9) == stretch(_tally(), (first - 9, last + 9))
    assert (first, last) == stretch(_tally(), (START, START + US))
