"""No duplicate order, no lost fill, no open end: over crashes, take-overs and zombies."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pipeline.gateway.fills import PaperBehaviour
from pipeline.gateway.paper import PaperVenue, Submission
from pipeline.gateway.venue import (
    DuplicateOrder,
    VenueOrder,
    VenueReport,
    VenueState,
)
from pipeline.packets.identity import flow_id
from pipeline.packets.models import ExecutionPlan, Outcome
from pipeline.packets.vocabulary import OutcomeKind
from tests.unit.gateway.factories import child, plan
from tests.unit.gateway.simulation import World

MISBEHAVIOUR = PaperBehaviour(partial=0.2, reject=0.15, slow_ms=15, slow=0.3, unknown=0.3, lost=0.3)
OWNERS = st.sampled_from([-1, 0, 1, 2])  # the newest, or one of the oldest


def _plans(sizes: list[int], salt: int = 0) -> list[ExecutionPlan]:
    """Return one plan per number, with that many child orders; 0 is a flow that expired."""
    plans = []
    for number, size in enumerate(sizes):
        flow = flow_id("simulation", "AAPL", salt * 1000 + number)
        orders = [child(index, flow=flow, delay_ms=10 * index) for index in range(size)]
        kind = OutcomeKind.EXECUTED if size else OutcomeKind.EXPIRED
        plans.append(plan(*orders, flow=flow, outcome=Outcome(kind, "execution", ())))
    return plans


class TakeOver(RuleBasedStateMachine):
    """Gateways come, crash, fall asleep and wake up in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.world: World

    @initialize(
        sizes=st.lists(st.integers(0, 3), min_size=1, max_size=2),
        salt=st.integers(0, 50),
        behaviour=st.sampled_from([PaperBehaviour(), MISBEHAVIOUR]),
    )
    def begin(self, sizes: list[int], salt: int, behaviour: PaperBehaviour) -> None:
        """Put plans into execution's log and start the first owner."""
        path = Path(self.directory.name) / "paper"
        self.world = World(path, _plans(sizes, salt), behaviour)
        self.world.start()

    @precondition(lambda self: len(self.world.owners) < 4)
    @rule()
    def take_over(self) -> None:
        """Start one more owner."""
        self.world.start()

    @precondition(lambda self: self.world.owners)
    @rule(index=OWNERS, actions=st.integers(1, 8))
    def advance(self, index: int, actions: int) -> None:
        """Let some owner, newest or zombie, go on."""
        self.world.advance(index, actions)

    @precondition(lambda self: self.world.owners)
    @rule(index=OWNERS)
    def advance_to_submit(self, index: int) -> None:
        """Let some owner fall asleep right before it sends an order."""
        self.world.advance_to_submit(index)

    @precondition(lambda self: self.world.owners)
    @rule(index=OWNERS)
    def crash(self, index: int) -> None:
        """Kill some owner."""
        self.world.crash(index)

    @rule(milliseconds=st.integers(1, 60))
    def wait(self, milliseconds: int) -> None:
        """Let time pass, beyond the deadline at some time."""
        self.world.clock.now += milliseconds * 1000

    @rule()
    def toggle_halt(self) -> None:
        """Halt trading, or resume it."""
        self.world.trading = not self.world.trading

    @invariant()
    def at_most_one_order_per_id(self) -> None:
        """Hold it at every instant, not only at the end."""
        if hasattr(self, "world"):
            calls = self.world.venue.submissions()
            accepted = [call.client_order_id for call in calls if call.outcome == "accepted"]
            assert len(accepted) == len(set(accepted))

    def teardown(self) -> None:
        """Work everything off, wake the zombies, and look at log and venue."""
        if hasattr(self, "world"):
            self.world.settle()
            found = self.world.violations()
            self.world.venue.close()
            assert [] == found
        self.directory.cleanup()


TestTakeOver = TakeOver.TestCase
TestTakeOver.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class ForgettingVenue(PaperVenue):
    """Answers the cancel of an unknown id, and forgets it."""

    def cancel(self, client_order_id: str) -> VenueReport:
        """Note nothing."""
        if self.query(client_order_id):
            return super().cancel(client_order_id)
        return VenueReport(client_order_id, "", VenueState.CANCELLED, 0.0, 0.0, 0.0)


class RepeatingVenue(PaperVenue):
    """Takes an order whose id it knows."""

    def submit(self, order: VenueOrder) -> VenueReport:
        """Accept whatever comes."""
        try:
            return super().submit(order)
        except DuplicateOrder:
            report = self.query(order.client_order_id)
            assert report is not None
            return report

    def submissions(self) -> list[Submission]:
        """Own up to it."""
        own_up = {"duplicate": "accepted"}
        return [
            Submission(call.client_order_id, own_up.get(call.outcome, call.outcome), call.at)
            for call in super().submissions()
        ]


def _run(path: Path, seed: int, venue: type[PaperVenue]) -> list[str]:
    """Return the violations of one seeded run."""
    chance = random.Random(seed)
    plans = _plans([chance.randint(0, 3) for _ in range(2)], seed)
    world = World(path / f"{venue.__name__}-{seed}", plans, MISBEHAVIOUR, venue)
    actions: list[Callable[[], None]] = [
        world.start,
        lambda: setattr(world, "trading", not world.trading),
        lambda: setattr(world.clock, "now", world.clock.now + 10_000),
        lambda: world.crash(chance.choice([-1, -1, 0, 1])),
        lambda: world.advance_to_submit(chance.choice([-1, -1, 0, 1])),
        # Short turns, so that owners fall asleep in the middle of what they do.
        lambda: world.advance(chance.choice([-1, -1, 0, 1]), chance.randint(1, 4)),
    ]
    for _ in range(40):
        chance.choices(actions, weights=[4, 2, 1, 1, 4, 12])[0]()
    world.settle()
    found = world.violations()
    world.venue.close()
    return found


@pytest.mark.parametrize("venue", [ForgettingVenue, RepeatingVenue])
def test_the_oracle_finds_a_broken_venue(tmp_path: Path, venue: type[PaperVenue]) -> None:
    """A venue that breaks a duty of adapters is caught within a few dozen runs."""
    assert any(_run(tmp_path, seed, venue) for seed in range(60))


def test_seeded_runs_are_clean(tmp_path: Path) -> None:
    """The same runs against the paper broker itself break nothing."""
    assert [] == [found for seed in range(60) for found in _run(tmp_path, seed, PaperVenue)]


def test_a_zombie_wakes_up_after_its_order_was_cancelled(tmp_path: Path) -> None:
    """Its late submit is refused, though it passed every check before it fell asleep."""
    world = World(tmp_path / "paper", _plans([1]), PaperBehaviour())
    world.start()
    # Marker, read, announce, read back, and stop right before the call to the venue.
    world.advance(0, 5)
    assert ["SUBMITTING"] == [event.kind for event in world.log.read()[1]]
    assert [] == world.venue.submissions()
    world.trading = False
    world.start()
    world.advance(1, 100)
    kinds = [event.kind for event in world.log.read()[1]]
    assert ["SUBMITTING", "HALTED"] == kinds
    world.trading = True
    world.advance(0, 100)
    assert ["duplicate"] == [call.outcome for call in world.venue.submissions()]
    assert [] == world.violations()
