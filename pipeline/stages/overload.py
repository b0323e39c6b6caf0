"""Overload: which packets the first stage sheds, decided from what the pipeline is seen to carry.

The first stage notes how many packets it let in and when; the last stage's log tells how far they
have come (`pipeline.stages.progress`). From that it measures

- how many packets are under way: let in, not yet out;
- the rate at which they come out when they take long, that is what the pipeline carries now;
- by how much most of them come out later, at the most, than these two foretell.

A packet that is let in now comes out after those under way, at that rate. One whose deadline is
before that is shed. As packets come in order of acceptance that sheds the oldest, and what is let
in stays as little as can be worked off in time: so what is delivered keeps its deadline, and
nothing is worked on in vain. While packets come out early nobody is shed, whatever the rate.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.packets.lanes import is_urgent
from pipeline.packets.models import Outcome
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.contract import Input
from pipeline.stages.fates import Fate

__all__ = ["Forecast", "Throughput", "Verdict", "judge", "may_share"]

_SECOND_US = 1_000_000
# Twenty times as quick to reckon with more as with less: about one packet in twenty comes out later
# than foretold. With a word every 25 ms, half of it is forgotten in 1.4 s.
_GAIN_OF_MORE = 1 / 4
_GAIN_OF_LESS = 1 / 80
_GAIN_OF_RATE = 1 / 4
_MOST_TRIAL = 1.5
# Shorter spans tell more of how rounds fall than of what the pipeline carries.
_SPAN_US = 50_000
# Longer ones may have had nothing to do in between, unless packets have that long.
_LONGEST_SPAN_US = 4 * _SPAN_US


class Forecast(NamedTuple):
    """When packets that are let in now come out.

    Attributes:
        now_us: Now.
        ahead: Packets under way.
        rate: Packets a second that come out.
        extra_us: What comes on top of waiting for those ahead.
    """

    now_us: int
    ahead: float
    rate: float
    extra_us: float

    def out_us(self, place: int) -> float:
        """Return when the packet comes out that is let in behind `place` others."""
        return self.now_us + (self.ahead + place + 1) * _SECOND_US / self.rate + self.extra_us


@dataclass(frozen=True, slots=True)
class _LetIn:
    """Records of one round: when it began, how many of which kind there were until its end.

    `expected_us` is when the last of them is expected to come out.
    """

    at_us: int
    total: int
    decided: int
    expected_us: float | None


class Throughput:
    """Measures what the pipeline carries, as the first stage sees it. Two threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: deque[_LetIn] = deque()
        self._in = self._out = _LetIn(0, 0, 0, None)
        self._seen_us = 0
        self._span: tuple[int, _LetIn] | None = None
        self._limited = self._was_busy = False
        self._had_us = 0
        self._rate: float | None = None
        self._extra_us = 0.0

    @property
    def rate(self) -> float | None:
        """Packets a second that it carries; None until packets took long."""
        return self._rate

    def let_in(self, at_us: int, decided: int, marked: int = 0, *, shed: bool = False) -> None:
        """Note what was handed on of a round.

        Args:
            at_us: When it began, microseconds, as the trace of its records says.
            decided: Records of packets that the stages decide on.
            marked: Records that they only pass on.
            shed: Whether packets were shed for want of room.
        """
        with self._lock:
            self._limited |= shed
            if not decided + marked:
                return
            expected = None
            if self._rate is not None:
                places = self._ahead(at_us) + decided + marked
                expected = at_us + places * _SECOND_US / self._rate
            total, until = self._in.total + decided + marked, self._in.decided + decided
            self._in = _LetIn(at_us, total, until, expected)
            self._under_way.append(self._in)

    def came_out(self, at_us: int, out_us: int, deadline_us: int | None) -> None:
        """Note that all came out that were let in up to a moment.

        Args:
            at_us: That moment: when the round of the newest of them began at the first stage.
            out_us: When the newest was done.
            deadline_us: Its deadline; None where the first stage held it to be late already.
        """
        with self._lock:
            if out_us <= self._seen_us:
                return
            last: _LetIn | None = None
            while self._under_way and self._under_way[0].at_us <= at_us:
                last = self._under_way.popleft()
            if last is None:
                return
            self._out, self._seen_us = last, out_us
            if deadline_us is not None:
                self._had_us = max(0, deadline_us - at_us)
            self._measure_rate(max(1.0, 2.0 * (out_us - at_us)) / max(1.0, self._had_us))
            if last.expected_us is not None:
                # A standstill of seconds says no more than that nothing keeps its deadline.
                self._measure_extra(min(max(0.0, out_us - last.expected_us), self._had_us))

    def forget(self) -> None:
        """Forget all; for when nobody can tell how far packets have come."""
        with self._lock:
            self._under_way.clear()
            self._out = self._in
            self._span = self._rate = None
            self._extra_us = 0.0

    def forecast(self, now_us: int) -> Forecast | None:
        """Return what holds for packets that are let in now; None while that is not known."""
        with self._lock:
            if self._rate is None:
                return None
            return Forecast(now_us, self._ahead(now_us), self._rate, self._extra_us)

    def _ahead(self, now_us: int) -> float:
        """Return how many are under way, without those that came out since it was last told."""
        known = float(self._in.total - self._out.total)
        if not self._under_way or self._rate is None:
            return known
        working_us = now_us - max(self._seen_us, self._under_way[0].at_us)
        return max(0.0, known - self._rate * min(max(0, working_us), _SPAN_US) / _SECOND_US)

    def _measure_rate(self, load: float) -> None:
        """Measure how many came out since the span began.

        While packets take long, from a span's begin to its end, this is what the pipeline carries;
        a moment's standstill is none of it. While they come out early and some are shed all the
        same, it carries more than it was held to, and is tried with more, the earlier the more.

        Args:
            load: How long the newest packet took, over half the time that it had.
        """
        busy = load > 1.0
        start = self._span
        span_us = self._seen_us - start[0] if start is not None else 0
        if start is not None and span_us < _SPAN_US:
            return
        was_busy, self._was_busy = self._was_busy, busy
        limited, self._limited = self._limited, False
        self._span = (self._seen_us, self._out)
        if start is None or span_us > max(_LONGEST_SPAN_US, self._had_us):
            return
        decided = self._out.decided - start[1].decided
        # Records that are only passed on come out faster, and tell nothing of the others.
        telling = 2 * decided >= self._out.total - start[1].total
        if busy and was_busy and telling:
            found = decided * _SECOND_US / span_us
            known = found if self._rate is None else self._rate
            self._rate = known + _GAIN_OF_RATE * (found - known)
        elif limited and not busy and self._rate is not None:
            self._rate *= min(_MOST_TRIAL, 1.0 / load)

    def _measure_extra(self, extra_us: float) -> None:
        off_us = extra_us - self._extra_us
        self._extra_us += (_GAIN_OF_MORE if off_us > 0.0 else _GAIN_OF_LESS) * off_us


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a round's inputs.

    Attributes:
        late_us: For each that is shed, by how much it would miss its deadline; else None.
        in_runs: Whether packets that ended alike share records: one for each would be too slow.
    """

    late_us: tuple[float | None, ...]
    in_runs: bool


def judge(inputs: Sequence[Input], forecast: Forecast) -> Verdict:
    """Say which inputs can no longer make their deadline, and how they are recorded.

    Each gets a record of its own, unless these records would keep packets from their deadline that
    can make it, those that are accepted only now among them. Then neighbours share records, and a
    run takes one place. What is urgent, or sealed already, is let through.

    Args:
        inputs: In the order in which they are worked off.
        forecast: When packets come out.
    """
    alone = _late(inputs, forecast, in_runs=False)
    if not any(
        late_us is not None or may_share(each.fate)
        for each, late_us in zip(inputs, alone, strict=True)
    ):
        return Verdict(alone, in_runs=False)
    shared = _late(inputs, forecast, in_runs=True)
    in_runs = shared.count(None) > alone.count(None) or (
        forecast.out_us(len(inputs)) > forecast.now_us + _budget_us(inputs)
    )
    return Verdict(shared if in_runs else alone, in_runs)


def _budget_us(inputs: Sequence[Input]) -> int:
    """Return how long packets have from acceptance to deadline, by the newest one."""
    for each in reversed(inputs):
        envelope = getattr(each.packet, "envelope", None)
        if envelope is not None:
            return int(envelope.deadline - envelope.accepted_at)
    return 0


def may_share(outcome: Outcome | None) -> bool:
    """Say whether packets with this outcome may share a record: they were too late, no more."""
    if outcome is None:
        return False
    return outcome.kind is OutcomeKind.SHED or (
        outcome.kind is OutcomeKind.EXPIRED and outcome.reasons == (Fate.DEADLINE,)
    )


def _late(
    inputs: Sequence[Input], forecast: Forecast, *, in_runs: bool
) -> tuple[float | None, ...]:
    place = 0
    found: list[float | None] = []
    in_run = False
    for each in inputs:
        late_us = None
        if each.fate is None and not is_urgent(each.packet.envelope.priority):
            over_us = forecast.out_us(place) - each.packet.envelope.deadline
            late_us = over_us if over_us > 0.0 else None
        marked = late_us is not None or may_share(each.fate)
        place += not (in_runs and in_run and marked)
        in_run = marked
        found.append(late_us)
    return tuple(found)
