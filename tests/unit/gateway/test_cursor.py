"""Where order plans are resumed while several are worked on at once."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.gateway.cursor import PlanCursor
from pipeline.transport.log import START, Position


def _cursor(*offsets: int) -> PlanCursor:
    """Return a cursor with plans at offsets; the rule's sequence before each is its offset."""
    cursor = PlanCursor(START)
    for offset in offsets:
        cursor.add(offset, (0, offset), (0, offset + 1))
    return cursor


def test_a_fresh_cursor_resumes_where_reading_starts() -> None:
    """Nothing was read, nothing is through."""
    assert Position(9, 3, 4) == PlanCursor(Position(9, 3, 4)).resume


def test_the_first_open_plan_is_resumed() -> None:
    """Its offset, with the reading rule's position just before it."""
    cursor = _cursor(1, 2, 3)
    cursor.finish(2)
    assert Position(1, 0, 1) == cursor.resume
    cursor.finish(1)
    assert Position(3, 0, 3) == cursor.resume


def test_when_all_are_through_reading_goes_on_behind_them() -> None:
    """In whatever order they ended."""
    cursor = _cursor(1, 2)
    cursor.finish(2)
    cursor.finish(1)
    assert Position(3, 0, 3) == cursor.resume


def test_what_needs_nothing_moves_the_end_alone() -> None:
    """Markers and void records are passed once all plans before them are through."""
    cursor = _cursor(1)
    cursor.skip(Position(5, 4, 2))
    assert Position(1, 0, 1) == cursor.resume
    cursor.finish(1)
    assert Position(5, 4, 2) == cursor.resume


@given(st.permutations(range(8)))
def test_no_open_plan_is_ever_passed(order: list[int]) -> None:
    """Resuming there reads every plan that is not through, and never goes back."""
    cursor = _cursor(*range(8))
    open_plans, last = set(range(8)), -1
    for offset in order:
        cursor.finish(offset)
        open_plans.remove(offset)
        resume = cursor.resume.offset
        assert min(open_plans, default=8) == resume
        assert resume >= last
        last = resume
