import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from pipeline.gateway.fills import PaperBehaviour, fill
from pipeline.gateway.paper import PaperVenue
from pipeline.gateway.venue import (
    DuplicateOrder,
    Venue,
    VenueRejected,
    VenueReport,
    VenueState,
    VenueUnknown,
)
from tests.unit.gateway.factories import Clock, venue_order


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the paper broker keeps its file, in a directory that does not exist yet."""
    return tmp_path / "venue" / "paper.sqlite"


@pytest.fixture
def clock() -> Clock:
    """Return a clock that moves only when told."""
    return Clock()


@pytest.fixture
def venue(path: Path, clock: Clock) -> Iterator[PaperVenue]:
    """Return a paper broker that fills at once."""
    with PaperVenue(path, now_us=clock, sleep=clock.sleep) as venue:
        yield venue


def _misbehaving(path: Path, clock: Clock, setting: str) -> PaperVenue:
    return PaperVenue(path, PaperBehaviour.parse(setting), now_us=clock, sleep=clock.sleep)


def _state(report: VenueReport | None) -> VenueState | None:
    return report.state if report else None


def test_it_is_a_venue(venue: PaperVenue) -> None:
    """The paper broker has the four calls of the protocol."""
    seam: Venue = venue
    assert [] == seam.open_orders()


def test_a_submitted_order_is_reported_and_found_again(venue: PaperVenue) -> None:
    """Submit gives the fill of the pure model, and a query gives the same."""
    order = venue_order()
    expected = fill(order, PaperBehaviour())
    assert expected == venue.submit(order)
    assert expected == venue.query(order.client_order_id)


def test_an_unknown_id_is_none(venue: PaperVenue) -> None:
    """A query for an id never seen gives None."""
    assert venue.query("never") is None


def test_a_known_id_is_refused_and_the_first_order_stands(venue: PaperVenue) -> None:
    """A second submit under an id is a duplicate, whatever it asks for."""
    first = venue.submit(venue_order())
    with pytest.raises(DuplicateOrder, match="order-1"):
        venue.submit(venue_order(quantity=99.0))
    assert first == venue.query("order-1")


def test_orders_survive_the_venue(path: Path, clock: Clock) -> None:
    """What one process stored another finds, and refuses as known."""
    with _misbehaving(path, clock, "") as venue:
        first = venue.submit(venue_order())
    with _misbehaving(path, clock, "") as venue:
        assert first == venue.query("order-1")
        with pytest.raises(DuplicateOrder):
            venue.submit(venue_order())


def test_a_rejection_is_definite_and_keeps_the_id(path: Path, clock: Clock) -> None:
    """A rejected order is reported as such later, and its id is never accepted again."""
    with _misbehaving(path, clock, "reject=1") as venue, pytest.raises(VenueRejected) as caught:
        venue.submit(venue_order())
    with _misbehaving(path, clock, "") as venue:
        assert VenueState.REJECTED is _state(venue.query("order-1"))
        with pytest.raises(DuplicateOrder):
            venue.submit(venue_order())
    assert "REFUSED_ON_REQUEST" == caught.value.reason


def test_nonsense_is_stored_as_rejected(venue: PaperVenue) -> None:
    """An order with a NaN is refused and its id noted."""
    with pytest.raises(VenueRejected):
        venue.submit(venue_order(quantity=float("nan")))
    assert VenueState.REJECTED is _state(venue.query("order-1"))


def test_cancelling_an_unknown_id_has_a_late_order_refused(venue: PaperVenue) -> None:
    """A cancel makes the venue know the id: nothing under it is accepted afterwards."""
    report = venue.cancel("order-1")
    assert (VenueState.CANCELLED, 0.0) == (report.state, report.filled)
    with pytest.raises(DuplicateOrder):
        venue.submit(venue_order())
    assert report == venue.query("order-1") == venue.cancel("order-1")


def test_cancelling_a_filled_order_changes_nothing(venue: PaperVenue) -> None:
    """A cancel that comes too late returns the fill."""
    filled = venue.submit(venue_order())
    assert filled == venue.cancel("order-1") == venue.query("order-1")


def test_a_lost_answer_leaves_a_filled_order(path: Path, clock: Clock) -> None:
    """With `unknown` the order is accepted though the submit does not say so."""
    with _misbehaving(path, clock, "unknown=1") as venue:
        with pytest.raises(VenueUnknown):
            venue.submit(venue_order())
        assert VenueState.FILLED is _state(venue.query("order-1"))


def test_a_lost_request_leaves_nothing_and_may_get_through_later(path: Path, clock: Clock) -> None:
    """With `lost` a submit may never arrive; each attempt is drawn anew."""
    with _misbehaving(path, clock, "lost=0.5") as venue:
        arrived = []
        for number in range(40):
            order = venue_order(f"order-{number}")
            try:
                venue.submit(order)
                arrived.append(1)
            except VenueUnknown:
                assert venue.query(order.client_order_id) is None
                arrived.append(_attempts_until_it_arrives(venue, f"order-{number}") + 1)
        assert {1, 2, 3} <= set(arrived)


def _attempts_until_it_arrives(venue: PaperVenue, name: str) -> int:
    for attempt in range(1, 60):
        try:
            venue.submit(venue_order(name))
        except VenueUnknown:
            continue
        return attempt
    raise AssertionError(f"{name} never arrived")


def test_a_slow_venue_answers_late(path: Path, clock: Clock) -> None:
    """With `slow_ms` a submit returns the fill after that time."""
    before = clock.now
    with _misbehaving(path, clock, "slow_ms=200") as venue:
        report = venue.submit(venue_order())
    assert (VenueState.FILLED, 200_000) == (report.state, clock.now - before)


def test_only_the_requested_share_is_slow(path: Path, clock: Clock) -> None:
    """With `slow` below 1 some orders end at once."""
    before = clock.now
    with _misbehaving(path, clock, "slow_ms=1,slow=0.5") as venue:
        for number in range(200):
            venue.submit(venue_order(f"order-{number}"))
    assert pytest.approx(100, abs=25) == (clock.now - before) / 1000


def test_a_slow_order_works_until_its_time(path: Path, clock: Clock) -> None:
    """A slow order without an answer is open, then filled, even by a clock that is set back."""
    with _misbehaving(path, clock, "slow_ms=200,unknown=1") as venue:
        with pytest.raises(VenueUnknown):
            venue.submit(venue_order())
        working = venue.query("order-1")
        assert [working] == venue.open_orders()
        clock.now += 200_000
        filled = venue.query("order-1")
        clock.now -= 200_000
        assert filled == venue.query("order-1")
    expected = [(VenueState.WORKING, 0.0), (VenueState.FILLED, 10.0)]
    assert expected == [(each.state, each.filled) for each in (working, filled) if each]


def test_a_working_order_can_be_cancelled(path: Path, clock: Clock) -> None:
    """A cancel in time leaves nothing filled, for good."""
    with _misbehaving(path, clock, "slow_ms=200,unknown=1") as venue:
        with pytest.raises(VenueUnknown):
            venue.submit(venue_order())
        report = venue.cancel("order-1")
        clock.now += 300_000
        assert report == venue.query("order-1")
        assert (VenueState.CANCELLED, 0.0) == (report.state, report.filled)
        assert [] == venue.open_orders()


def test_every_submit_is_on_record(venue: PaperVenue, clock: Clock) -> None:
    """The record counts refused duplicates too, and names ids cancelled before arrival."""
    venue.submit(venue_order("order-1"))
    venue.cancel("order-2")
    for name in ("order-1", "order-2", "order-1"):
        clock.now += 1
        with pytest.raises(DuplicateOrder):
            venue.submit(venue_order(name))
    known = [(each.report.client_order_id, each.attempts, each.order) for each in venue.orders()]
    assert [("order-1", 3, venue_order("order-1")), ("order-2", 1, None)] == known
    calls = [(each.client_order_id, each.outcome) for each in venue.submissions()]
    assert [
        ("order-1", "accepted"),
        ("order-1", "duplicate"),
        ("order-2", "duplicate"),
        ("order-1", "duplicate"),
    ] == calls


def test_threads_and_venues_race_for_an_id_and_one_wins(path: Path) -> None:
    """Of many submits under one id, over several connections, exactly one is accepted."""
    won: Counter[str] = Counter()

    def race(venue: PaperVenue) -> None:
        for number in range(25):
            try:
                venue.submit(venue_order(f"order-{number}"))
            except DuplicateOrder:
                continue
            won[f"order-{number}"] += 1

    venues = [PaperVenue(path) for _ in range(2)]
    threads = [threading.Thread(target=race, args=(venue,)) for venue in venues for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = Counter(each.outcome for each in venues[0].submissions())
    for venue in venues:
        venue.close()
    assert {f"order-{number}": 1 for number in range(25)} == dict(won)
    assert {"accepted": 25, "duplicate": 75} == dict(outcomes)


_SLOW_SUBMIT = """
import sys
from pathlib import Path
from pipeline.gateway.fills import PaperBehaviour
from pipeline.gateway.paper import PaperVenue
from tests.unit.gateway.factories import venue_order
PaperVenue(Path(sys.argv[1]), PaperBehaviour(slow_ms=60_000)).submit(venue_order())
"""


def test_a_killed_gateway_loses_no_order(path: Path) -> None:
    """After a kill -9 between submit and answer the venue still has the order at work."""
    gateway = subprocess.Popen([sys.executable, "-c", _SLOW_SUBMIT, str(path)])
    try:
        with PaperVenue(path) as venue:
            deadline = time.monotonic() + 30.0
            while not venue.open_orders() and time.monotonic() < deadline:
                time.sleep(0.02)
            gateway.send_signal(signal.SIGKILL)
            gateway.wait()
            assert ["order-1"] == [each.client_order_id for each in venue.open_orders()]
            with pytest.raises(DuplicateOrder):
                venue.submit(venue_order())
    finally:
        gateway.kill()
        gateway.wait()


def test_a_locked_file_is_no_definite_answer(venue: PaperVenue, path: Path) -> None:
    """A venue that cannot answer says that the outcome is unknown, and goes on afterwards."""
    venue._database.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(VenueUnknown, match="locked"):
        venue.submit(venue_order())
    other.execute("ROLLBACK")
    other.close()
    assert venue.query("order-1") is None
    assert VenueState.FILLED is venue.submit(venue_order()).state


def test_a_file_of_something_else_is_refused(path: Path) -> None:
    """A file that is no paper broker's is named, with what to do."""
    path.parent.mkdir()
    path.write_text("something else " * 100)
    with pytest.raises(ConfigurationError, match=r"paper\.sqlite"):
        PaperVenue(path)


def test_a_file_of_another_format_is_refused(venue: PaperVenue, path: Path) -> None:
    """A file of an unknown format is not touched."""
    venue._database.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="format 99"):
        PaperVenue(path)
