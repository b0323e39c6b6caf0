"""Signed plans: without a signature that counts nothing goes to the venue."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pipeline.gateway.plan_check import PlanCheck
from pipeline.gateway.reasons import GatewayReason
from pipeline.keys import Purpose
from pipeline.keys.signing import Headers
from pipeline.packets.codec import encode
from pipeline.packets.identity import flow_id
from pipeline.packets.models import ExecutionPlan, Marker, OrderEvent, Outcome
from pipeline.packets.vocabulary import FlowState, OrderEventKind, OutcomeKind
from pipeline.stages.plans import PlanSigner
from tests.unit.gateway.factories import PLANNED_AT, child, plan
from tests.unit.gateway.test_worker import PLANS, FakeVenue, Owner, closed, until
from tests.unit.keys.key_factories import Keys
from tests.unit.stages.engine_factories import FakeMessage

_TOPIC = PLANS[0]


class _Desk:
    """Keys, a gateway that checks signatures, and what it says of those that do not count."""

    def __init__(self, keys: Keys) -> None:
        keys.clock.us = PLANNED_AT
        self.keys = keys
        self.desk = keys.new("desk", Purpose.PLANS)
        self.ops = keys.new("ops", Purpose.CONTROL, "operator")
        self.refused: list[tuple[str, str]] = []
        self.log: list[OrderEvent] = []
        self.venue = FakeVenue()
        self.owner = self.take_over(1)

    def take_over(self, epoch: int) -> Owner:
        """Return another owner of the same log."""
        check = PlanCheck(
            self.keys.verifier(),
            self.keys.clock,
            lambda plan, why: self.refused.append((plan.envelope.flow_id, why)),
        )
        self.owner = Owner(self.log, self.venue, epoch, check)
        return self.owner

    def signed(self, value: bytes, topic: str = _TOPIC) -> Headers:
        """Return the header of a proper signature."""
        return self.desk.sign(topic, value, Purpose.PLANS)

    async def read(self, *records: tuple[bytes, Headers | None]) -> None:
        """Take the execution log: a marker, then records with their headers."""
        marker = encode(Marker("token", "execution", 0, "owner", "build", PLANNED_AT))
        found = [FakeMessage(marker, 0, _TOPIC)]
        found += [
            FakeMessage(value, n, _TOPIC, headers_=headers)
            for n, (value, headers) in enumerate(records, 1)
        ]
        await self.owner.take(*found)


def _value(sequence: int = 0, log_sequence: int = 0) -> bytes:
    flow = flow_id("market", "AAPL", sequence)
    made = plan(child(0, flow=flow), flow=flow)
    return encode(replace(made, journal=replace(made.journal, epoch=0, log_sequence=log_sequence)))


@pytest.fixture
def desk(tmp_path: Path) -> _Desk:
    """A gateway with keys."""
    return _Desk(Keys(tmp_path))


async def test_a_signed_plan_is_sent(desk: _Desk) -> None:
    """As without keys."""
    value = _value()
    await desk.read((value, desk.signed(value)))
    await desk.owner.settle()
    assert len(desk.venue.submitted) == 1
    assert desk.log[-1].flow_state is FlowState.FILLED
    assert desk.refused == []


@pytest.mark.parametrize("forgery", ["unsigned", "other bytes", "other topic", "other purpose"])
async def test_any_other_plan_ends_unsent(desk: _Desk, forgery: str) -> None:
    """It ends as rejected, so that risk gets its reservation back, and is told of."""
    value = _value()
    headers = {
        "unsigned": None,
        "other bytes": desk.signed(value + b"x"),
        "other topic": desk.signed(value, "x.cascade.execution"),
        "other purpose": desk.ops.sign(_TOPIC, value, Purpose.CONTROL),
    }[forgery]
    await desk.read((value, headers))
    await desk.owner.settle()
    assert desk.venue.submitted == []
    (event,) = desk.log
    assert (event.kind, event.reasons) == (OrderEventKind.REJECTED, (GatewayReason.UNSIGNED,))
    assert event.flow_state is not FlowState.OPEN
    assert [flow for flow, _ in desk.refused] == [event.flow_id]
    assert desk.owner.resume == 2


async def test_what_a_revoked_key_signed_is_not_sent(desk: _Desk) -> None:
    """Its signature must count when the order would go, not only when the plan was made."""
    value = _value()
    headers = desk.signed(value)
    desk.keys.maker.revoke("desk")
    await desk.read((value, headers))
    await desk.owner.settle()
    assert desk.venue.submitted == []
    assert "revoked" in desk.refused[0][1]


async def test_a_forgery_ends_no_flow_that_is_under_way(desk: _Desk) -> None:
    """The true plan's order is filled, recorded once, and the forgery is passed over."""
    value = _value()
    with closed(desk.venue):
        await desk.read((value, desk.signed(value)), (_value(log_sequence=1), None))
        await until(lambda: desk.venue.submitted)
    await desk.owner.settle()
    assert [event.kind for event in desk.log] == [OrderEventKind.SUBMITTING, OrderEventKind.FILLED]
    assert desk.owner.resume == 3


async def test_an_announced_order_is_settled_though_its_key_was_revoked(desk: _Desk) -> None:
    """The next owner asks the venue what became of it; nothing else is sent."""
    value = _value()
    headers = desk.signed(value)
    with closed(desk.venue):
        await desk.read((value, headers))
        await until(lambda: desk.venue.submitted)
        await desk.owner.end()
    await until(lambda: desk.venue.orders)
    desk.keys.maker.revoke("desk")
    desk.take_over(epoch=2)
    await desk.read((value, headers))
    await desk.owner.settle()
    assert len(desk.venue.submitted) == 1
    assert desk.log[-1].kind is OrderEventKind.FILLED


async def test_a_plan_without_orders_needs_no_signature(desk: _Desk) -> None:
    """It moves no money; what risk reserved for it is given back."""
    flow = flow_id("market", "AAPL", 0)
    held = plan(flow=flow, outcome=Outcome(OutcomeKind.HELD, "execution", ()))
    value = encode(replace(held, journal=replace(held.journal, epoch=0, log_sequence=0)))
    await desk.read((value, None))
    await desk.owner.settle()
    assert len(desk.log) == 1
    assert desk.refused == []


def test_only_plans_with_orders_are_signed(desk: _Desk) -> None:
    """A signature costs time, and what ends without an order needs none."""
    signer = PlanSigner(desk.desk, _TOPIC)
    made = plan(child())
    assert signer.headers(made, encode(made)) == desk.signed(encode(made))
    held = plan(outcome=Outcome(OutcomeKind.HELD, "execution", ()))
    assert signer.headers(held, encode(held)) is None


def test_a_plan_that_cannot_be_signed_is_written_unsigned(desk: _Desk) -> None:
    """The gateway refuses it; the stage goes on with what needs no signature."""
    made: ExecutionPlan = plan(child())
    desk.keys.maker.revoke("desk")
    assert PlanSigner(desk.desk, _TOPIC).headers(made, encode(made)) is None
