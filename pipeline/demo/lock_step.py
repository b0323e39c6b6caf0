"""Lock-step: bars one at a time through real workers, against the same bars without Kafka."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from confluent_kafka import Message
from msgspec import Struct

from pipeline.demo.accounting import decisions_sha256
from pipeline.demo.collector import LogFollower
from pipeline.demo.plan import DemoPlan
from pipeline.demo.reference import Reference
from pipeline.demo.rig import Rig, rig
from pipeline.errors import BrokerUnavailable, ConfigurationError, UsageError
from pipeline.gateway.paper import PaperBehaviour, PaperVenue
from pipeline.market import MarketBar, Publisher, open_feed
from pipeline.market.feed import Rejections
from pipeline.packets.models import ExecutionPlan, OrderEvent, PortfolioUpdate
from pipeline.packets.vocabulary import FlowState
from pipeline.run import worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings
from pipeline.watch.observations import FillSeen, FlowEnd

__all__ = ["run_lock_step"]

_OWNED_S = 120.0
_FLOW_S = 30.0
_POLL_S = 0.02
_SAY_EVERY = 200


class _Outcome(NamedTuple):
    """What a lock-step run came to."""

    bars: int
    kafka: str
    reference: str
    plans: int
    difference: str
    seconds: float


def run_lock_step(
    plan: DemoPlan, settings: Settings, bars: int, round_cut: int, say: Callable[[str], None]
) -> bool:
    """Send bars one at a time, each when the last one's flow is through, and compare.

    Everything runs under the event clock, in which a bar's own time is now; so neither the moment
    of the run nor how rounds happen to be cut has a say in any decision.

    Args:
        plan: Source, symbols, seed, JSON file.
        settings: The user's settings.
        bars: How many bars.
        round_cut: Bars per round in the run without Kafka.
        say: Told in a sentence how it goes.

    Returns:
        Whether both came to the same decisions.

    Raises:
        PipelineError: If it cannot be carried out.
    """
    event = settings.model_copy(update={"clock": "event"})
    feed = open_feed(plan.source, symbols=plan.symbols, seed=plan.seed)
    chosen = list(islice(feed, bars))
    if len(chosen) < bars:
        raise UsageError(f"Expected {bars} bars of {plan.source}, was {len(chosen)}")
    with rig(event, say=say, keep=plan.keep, partitions=plan.partitions) as ready:
        started_s = time.monotonic()
        through = _through_kafka(ready, plan, chosen, say)
        seconds = time.monotonic() - started_s
    say(f"The same {bars} bars without Kafka, {round_cut} a round.")
    folded = _in_process(event, chosen, round_cut)
    outcome = _Outcome(
        bars,
        decisions_sha256(through),
        decisions_sha256(folded),
        sum(1 for end in through if end.orders),
        _difference(through, folded),
        seconds,
    )
    return _conclude(outcome, plan.json_file, round_cut, say)


def _through_kafka(
    ready: Rig, plan: DemoPlan, bars: Sequence[MarketBar], say: Callable[[str], None]
) -> list[FlowEnd]:
    settings = ready.settings
    specs = worker_specs(single=plan.single, paired=plan.paired, log_level=settings.log_level)
    gate = _Gate(settings)
    try:
        with LocalRun(settings, specs) as workers:
            say(f"Starting {len(specs)} workers in namespace {settings.namespace}.")
            workers.wait_owned(_OWNED_S)
            Publisher(settings).publish(_OneByOne(bars, gate, say), on_sent=gate.sent)
            gate.wait()
    finally:
        gate.close()
    return gate.ends


class _Gate:
    """Knows when the flow that was sent last is through."""

    def __init__(self, settings: Settings) -> None:
        self.ends: list[FlowEnd] = []
        self._flow = ""
        self._ended: set[str] = set()
        self._owing: set[str] = set()
        self._finished: set[str] = set()
        self._updated: set[str] = set()
        self._follower = LogFollower(
            settings,
            {
                "cascade.execution": self._take_end,
                "cascade.fills": self._take_fill,
                "cascade.risk": self._take_update,
            },
            client="demo-lock-step",
            prompt=True,
        )

    def sent(self, flow_id: str, intended_us: int, kind: str) -> None:
        """Note which flow goes out; see `Publisher.publish`."""
        del intended_us, kind
        self._flow = flow_id

    def wait(self) -> None:
        """Wait until the flow that was sent last is through.

        That is: its record in the execution log, and where it goes to the gateway, its last record
        in the fills log and what risk made of it.

        Raises:
            BrokerUnavailable: If that takes too long.
        """
        deadline_s = time.monotonic() + _FLOW_S
        while not self._through():
            self._follower.poll(_POLL_S)
            if time.monotonic() > deadline_s:
                raise BrokerUnavailable(
                    f"Expected flow {self._flow} to be through within {_FLOW_S:g} s, was not. See"
                    " the workers' logs."
                )

    def close(self) -> None:
        """Close the connection."""
        self._follower.close()

    def _through(self) -> bool:
        flow = self._flow
        if flow not in self._ended:
            return False
        return flow not in self._owing or (flow in self._finished and flow in self._updated)

    def _take_end(self, record: Struct, message: Message) -> None:
        if isinstance(record, ExecutionPlan):
            end = FlowEnd.of(record, int(message.timestamp()[1]))
            self.ends.append(end)
            self._ended.add(end.flow_id)
            if end.to_gateway:
                self._owing.add(end.flow_id)

    def _take_fill(self, record: Struct, message: Message) -> None:
        if isinstance(record, OrderEvent):
            seen = FillSeen.of(record, int(message.timestamp()[1]))
            if seen.final:
                self._finished.add(seen.flow_id)

    def _take_update(self, record: Struct, message: Message) -> None:
        del message
        if isinstance(record, PortfolioUpdate) and record.flow_state is not FlowState.OPEN:
            self._updated.add(record.flow_id)


class _OneByOne:
    """A feed that hands a bar out only when the flow of the one before is through."""

    def __init__(self, bars: Sequence[MarketBar], gate: _Gate, say: Callable[[str], None]) -> None:
        self._bars = bars
        self._gate = gate
        self._say = say

    @property
    def label(self) -> str:
        return "lock-step"

    @property
    def expected_bars(self) -> int | None:
        return len(self._bars)

    @property
    def rejections(self) -> Rejections:
        return Rejections()

    def __iter__(self) -> Iterator[MarketBar]:
        for number, bar in enumerate(self._bars):
            if number:
                self._gate.wait()
            if number and number % _SAY_EVERY == 0:
                self._say(f"{number} of {len(self._bars)} bars are through.")
            yield bar


def _in_process(settings: Settings, bars: Sequence[MarketBar], round_cut: int) -> list[FlowEnd]:
    with TemporaryDirectory() as folder:
        behaviour = PaperBehaviour.parse(settings.paper)
        with PaperVenue(Path(folder) / "paper.sqlite", behaviour) as venue:
            return Reference(settings, venue).run(bars, round_cut)


def _difference(first: Sequence[FlowEnd], second: Sequence[FlowEnd]) -> str:
    """Return where two runs first differ; empty where they do not."""
    ordered = [sorted(ends, key=lambda end: (end.symbol, end.sequence)) for ends in (first, second)]
    for one, other in zip(*ordered, strict=False):
        if decisions_sha256([one]) != decisions_sha256([other]):
            return (
                f"{one.symbol} {one.sequence}: {one.kind} {list(one.reasons)} {list(one.orders)}"
                f" through Kafka, {other.kind} {list(other.reasons)} {list(other.orders)} without"
            )
    return "" if len(first) == len(second) else f"{len(first)} flows, and {len(second)} without"


def _conclude(
    outcome: _Outcome, json_file: Path | None, round_cut: int, say: Callable[[str], None]
) -> bool:
    same = outcome.kafka == outcome.reference
    say(f"{outcome.bars} bars in {outcome.seconds:.1f} s, {outcome.plans} order plans")
    say(f"decisions_sha256 {outcome.kafka} through Kafka, one bar a round")
    say(f"decisions_sha256 {outcome.reference} without Kafka, {round_cut} bars a round")
    say("The same decisions." if same else f"DIFFERENT: {outcome.difference}")
    if json_file is not None:
        content = {
            "bars": outcome.bars,
            "order_plans": outcome.plans,
            "decisions_sha256": outcome.kafka,
            "reference_sha256": outcome.reference,
            "round_cut": round_cut,
            "verdict": "pass" if same else "fail",
            "seconds": round(outcome.seconds, 3),
        }
        try:
            json_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"Expected to write {json_file}, was: {error}") from error
    return same
