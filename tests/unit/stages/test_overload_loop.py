"""Shedding in a closed loop: a simulated pipeline of known capacity, offered more than it carries.

Time is simulated, so that the figures are those of the rule and not of the machine.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.contract import Draft, Input, seal
from pipeline.stages.fates import Fate
from pipeline.stages.overload import Throughput, may_share
from pipeline.stages.shedding import runs, shed
from tests.unit.stages.engine_factories import MARKET, NOW, market_data

MS = 1000
CAPACITY = 1000.0
BUDGET_US = 100 * MS
WAY_US = 8 * MS
ROUND_US = 5 * MS
WORD_US = 25 * MS
MARKED_SHARE = 0.4
"""What a record costs that is only passed on, of one that is decided."""


@dataclass
class Pipeline:
    """One server in order of arrival; the first stage lets in, the last one is heard of late."""

    capacity: float = CAPACITY
    throughput: Throughput | None = field(default_factory=Throughput)
    at_us: int = NOW
    free_us: float = float(NOW)
    under_way: deque[tuple[int, float, int | None, int]] = field(default_factory=deque)
    heard_us: int = NOW
    arrived: float = 0.0
    delivered: list[tuple[int, float]] = field(default_factory=list)
    stall_us: int = 0
    stall_every_us: int = 300 * MS
    stall_at_us: float = 0.0
    random: Random = field(default_factory=lambda: Random(3))
    late: int = 0
    shed: int = 0
    records: int = 0
    most_under_way: int = 0

    def run(self, rate: float, seconds: float) -> "Pipeline":
        """Offer a rate for some time, and return what that came to."""
        self.delivered, self.late, self.shed, self.records = [], 0, 0, 0
        end_us = self.at_us + round(seconds * 1e6)
        while self.at_us < end_us:
            self.at_us += ROUND_US
            self._hear()
            self.arrived += rate * ROUND_US / 1e6
            count, self.arrived = int(self.arrived), self.arrived % 1.0
            self._round([self._input(n, count) for n in range(count)])
        return self

    def _input(self, number: int, count: int) -> Input:
        accepted = self.at_us - ROUND_US + round((number + 1) * ROUND_US / count)
        packet = market_data(accepted_at=accepted, deadline=accepted + BUDGET_US)
        return Input(
            MARKET, 0, number, -1, -1, (-1, -1), 0, self.at_us, self.at_us, None, None, packet,
            None, None,
        )  # fmt: skip

    def _round(self, inputs: list[Input]) -> None:
        short = in_runs = False
        if self.throughput is not None and (found := self.throughput.forecast(self.at_us)):
            inputs, short, in_runs = shed(inputs, found, "strategic")
        lost = [each for each in inputs if may_share(each.fate)]
        drafts = [Draft(outcome=each.fate) for each in lost]
        marked = len(list(runs(lost, drafts, 500 if in_runs else 1)))
        for _ in range(marked):
            self._work(None, MARKED_SHARE)
        for each in inputs:
            if each.fate is None:
                self._work(each.packet.envelope, 1.0)
        self.shed += len(lost)
        self.records += marked + len(inputs) - len(lost)
        if self.throughput is not None:
            self.throughput.let_in(self.at_us, len(inputs) - len(lost), marked, shed=short)
        self.most_under_way = max(self.most_under_way, len(self.under_way))

    def _work(self, envelope: Any, share: float) -> None:
        self.free_us = max(self.free_us, self.at_us) + share * 1e6 / self.capacity
        if self.free_us > self.stall_at_us:
            self.free_us += self.stall_us
            self.stall_at_us = self.free_us + self.random.expovariate(1.0) * self.stall_every_us
        out_us = self.free_us + WAY_US
        deadline = None if envelope is None else envelope.deadline
        self.under_way.append((self.at_us, out_us, deadline, 0))
        if envelope is not None and out_us <= envelope.deadline:
            self.delivered.append((envelope.accepted_at, out_us))
        elif envelope is not None:
            self.late += 1

    def _hear(self) -> None:
        if self.at_us < self.heard_us + WORD_US:
            return
        self.heard_us = self.at_us
        newest = None
        while self.under_way and self.under_way[0][1] <= self.at_us:
            newest = self.under_way.popleft()
        if newest is not None and self.throughput is not None:
            self.throughput.came_out(newest[0], round(newest[1]), newest[2])


@pytest.mark.parametrize("factor", [1.2, 2.0, 5.0, 10.0])
def test_past_capacity_it_goes_on_at_nearly_its_best(factor: float) -> None:
    """Most of what is carried is delivered in time, and little is worked on in vain."""
    pipeline = Pipeline()
    pipeline.run(factor * CAPACITY, 2.0)  # it learns what is carried
    found = pipeline.run(factor * CAPACITY, 3.0)
    assert len(found.delivered) >= 0.8 * CAPACITY * 3.0
    assert found.late <= 0.1 * len(found.delivered)
    assert found.shed + found.late + len(found.delivered) == pytest.approx(
        factor * CAPACITY * 3.0, rel=0.01
    )


def test_without_shedding_it_collapses() -> None:
    """The same pipeline that lets all in delivers next to nothing: what shedding is for."""
    found = Pipeline(throughput=None).run(2.0 * CAPACITY, 5.0)
    assert len(found.delivered) <= 0.1 * CAPACITY * 5.0


def test_what_is_under_way_stays_bounded() -> None:
    """However long the overload lasts, and few records are written for what is shed."""
    pipeline = Pipeline()
    pipeline.run(5.0 * CAPACITY, 2.0)
    pipeline.most_under_way = 0
    found = pipeline.run(5.0 * CAPACITY, 6.0)
    assert found.most_under_way <= 2 * CAPACITY * BUDGET_US / 1e6
    assert found.records <= 1.5 * len(found.delivered)


def test_below_capacity_nothing_is_shed_before_or_after() -> None:
    """An overload leaves no trace once it is over."""
    pipeline = Pipeline()
    for _ in range(2):
        calm = pipeline.run(0.7 * CAPACITY, 2.0)
        assert (0, 0) == (calm.shed, calm.late)
        pipeline.run(5.0 * CAPACITY, 3.0)
        pipeline.run(0.7 * CAPACITY, 1.0)  # what it takes to be over


@pytest.mark.parametrize("change", [0.5, 2.0])
def test_it_follows_what_the_pipeline_carries(change: float) -> None:
    """When the machine gets slower or faster, what is let in follows within two seconds."""
    pipeline = Pipeline()
    pipeline.run(5.0 * CAPACITY, 3.0)
    pipeline.capacity = change * CAPACITY
    pipeline.run(5.0 * CAPACITY, 2.0)
    found = pipeline.run(5.0 * CAPACITY, 5.0)
    assert len(found.delivered) >= 0.8 * change * CAPACITY * 5.0
    assert found.late <= 0.1 * len(found.delivered)


def test_the_expired_of_a_standstill_are_told_in_runs() -> None:
    """A backlog that is too late altogether is marked with few records, and all goes on."""
    pipeline = Pipeline()
    pipeline.run(2.0 * CAPACITY, 2.0)
    expired = seal(OutcomeKind.EXPIRED, "strategic", Fate.DEADLINE)
    backlog = [
        Input(
            MARKET, 0, n, -1, -1, (-1, -1), 0, pipeline.at_us, pipeline.at_us, None, None,
            market_data(accepted_at=pipeline.at_us - 10 * BUDGET_US), None, expired,
        )
        for n in range(500)
    ]  # fmt: skip
    forecast = pipeline.throughput.forecast(pipeline.at_us) if pipeline.throughput else None
    assert forecast is not None
    assert shed(backlog, forecast, "strategic")[2]
