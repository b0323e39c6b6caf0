"""How much of the normal lane may be under way."""

from pipeline.testing import ManualClock
from pipeline.transport.credit import Credit

CALM_S, URGENT_S = float("inf"), 1.0


class Pipeline:
    """Works records off one after another, each in the same time, and a round at a cost."""

    def __init__(self, record_us: int = 300, round_us: int = 5000) -> None:
        self.clock = ManualClock()
        self.credit = Credit(self.clock.now_us)
        self._record_us = record_us
        self._round_us = round_us

    def round(self, waiting: int, since_priority_s: float = CALM_S) -> tuple[int, int]:
        """Let a round go on and come out; return how many it had and how long it took."""
        room = self.credit.room(waiting, since_priority_s)
        at_us = self.clock.now_us()
        self.credit.let_in(at_us, room)
        took_us = self._round_us + room * self._record_us
        self.clock.advance(us=took_us)
        self.credit.came_out(at_us, self.clock.now_us(), None)
        return room, took_us


def test_while_little_waits_nothing_is_counted() -> None:
    """No record is held back, and nobody need follow what comes out."""
    credit = Pipeline().credit
    assert [1, 40, 64] == [credit.room(each, URGENT_S) for each in (1, 40, 64)]
    credit.let_in(1, 105)
    assert (0, False) == (credit.under_way, credit.needed.is_set())


def test_a_backlog_is_held_back() -> None:
    """Of many that wait one credit goes on; no more until some of it came out."""
    credit = Pipeline().credit
    room = credit.room(5000, CALM_S)
    assert 0 < room < 100
    assert credit.needed.is_set()
    credit.let_in(1, room)
    assert 0 == credit.room(5000, CALM_S)


def test_what_came_out_makes_room() -> None:
    """Rounds come out in the order in which they went on, and whoever waits is told."""
    pipeline = Pipeline()
    credit, told = pipeline.credit, []
    credit.room(5000, CALM_S)
    credit.freed = lambda: told.append(credit.under_way)
    for at_us in (10, 20, 30):
        credit.let_in(at_us, 20)
    credit.came_out(20, 40, None)
    assert (20, [20]) == (credit.under_way, told)
    credit.came_out(5, 50, None)
    assert (20, [20]) == (credit.under_way, told)
    assert credit.room(5000, CALM_S) > 0


def test_records_take_the_target_time() -> None:
    """By as much as they take longer or shorter, fewer or more are let in."""
    for since_s, target_us in ((CALM_S, 60_000), (URGENT_S, 12_000)):
        pipeline = Pipeline()
        took = [pipeline.round(5000, since_s)[1] for _ in range(50)][-20:]
        assert 0.7 * target_us < sum(took) / len(took) < 1.4 * target_us


def test_urgent_packets_make_it_smaller_and_their_absence_larger() -> None:
    """A minute after the last of them the stages have their best throughput again."""
    pipeline = Pipeline()
    sizes = [
        [pipeline.round(5000, since_s)[0] for _ in range(30)][-1] for since_s in (59.0, 61.0, 0.1)
    ]
    assert sizes[0] < sizes[1] / 2
    assert sizes[2] < sizes[1] / 2


def test_where_nothing_comes_out_ever_more_goes_on() -> None:
    """A stage that stands, or is gone, holds up nobody before it for long."""
    pipeline = Pipeline()
    credit = pipeline.credit
    gone = 0
    for _ in range(20):
        if room := credit.room(5000, CALM_S):
            credit.let_in(pipeline.clock.now_us(), room)
            gone += room
        pipeline.clock.advance(ms=100)
    assert gone > 50_000


def test_it_goes_on_when_a_stage_comes_back() -> None:
    """What went on meanwhile is worked off first; then records are held back as before."""
    pipeline = Pipeline()
    credit = pipeline.credit
    for _ in range(8):
        credit.let_in(pipeline.clock.now_us(), credit.room(5000, CALM_S))
        pipeline.clock.advance(ms=100)
    now_us = pipeline.clock.now_us()
    credit.came_out(0, now_us, None)  # from before
    assert credit.under_way > 1000
    credit.came_out(now_us, now_us + 1, None)
    assert 0 == credit.under_way
    assert credit.room(5000, CALM_S) < 200


def test_a_follower_that_loses_the_log_forgets() -> None:
    """What is unknown holds nobody back."""
    credit = Pipeline().credit
    credit.let_in(1, credit.room(5000, CALM_S))
    assert 0 == credit.room(5000, CALM_S)
    credit.forget()
    assert credit.room(5000, CALM_S) > 0


def test_it_rests_when_nothing_was_held_back_for_a_while() -> None:
    """Then nobody need follow any more."""
    pipeline = Pipeline()
    pipeline.round(5000)
    for _ in range(60):
        pipeline.round(3)
        pipeline.clock.advance(ms=50)
    assert not pipeline.credit.needed.is_set()
    assert 60 == pipeline.credit.room(60, CALM_S)


def test_a_limit_that_was_not_reached_does_not_grow() -> None:
    """Else the first burst after an easy time would go on whole."""
    pipeline = Pipeline()
    pipeline.round(5000)
    limit = pipeline.credit.limit
    for _ in range(20):
        pipeline.round(3)
    assert limit == pipeline.credit.limit
