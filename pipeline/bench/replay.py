"""Whether history comes out again: packets through the real stages, then replayed twice.

Once by the same code, where nothing may differ. Once with one limit changed, where exactly those
flows may differ that the limit bears on; which these are is worked out from the recorded packets
alone, by one line of arithmetic that shares nothing with the stage. Then a gateway that may trade
is let loose on what the replay wrote.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline import topics
from pipeline.bench.contenders import pipeline
from pipeline.bench.lab import Check, Lab, at_least, at_most
from pipeline.bench.waiting import wait_until
from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.gateway.application import paper_file
from pipeline.gateway.orders import needs_record
from pipeline.gateway.paper import PaperBehaviour, PaperVenue
from pipeline.gateway.worker import GATEWAY_LOG
from pipeline.packets.codec import decode
from pipeline.packets.events import ControlKind
from pipeline.packets.models import ExecutionPlan, OrderEvent, RiskAssessment
from pipeline.packets.vocabulary import FlowState
from pipeline.replay.progress import Tally
from pipeline.replay.reading import Entry, TopicReader
from pipeline.replay.run import Replay, ReplayOptions, question
from pipeline.replay.sandbox import sandbox_settings
from pipeline.replay.selection import Bounds, Selection, of_topic
from pipeline.replay.variants import Changes, LimitChange
from pipeline.run import worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings
from pipeline.topics import TopicFile
from pipeline.watch.offsets import OffsetWatch

__all__ = ["Replayed", "orders_of_wired_gateway", "replay", "replays", "submissions"]

LEAST_TIMES_REAL = 10.0
_TIMEOUT_MS = 1000
_LIMIT = "risk.price_band"
_TOUCHED = 80
_DRAIN_S = 150.0
_WIRED_S = 90.0
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Replayed:
    """What two replays of the same history came to.

    Attributes:
        flows: Flows replayed.
        same: By the same code.
        changed: With the limit changed.
        change: The limit.
        wrong: Flows that differ and should not, or the reverse.
        touched: Flows that the limit bears on, by the recorded packets.
        calls: Orders sent to the venue meanwhile.
        sandbox: Namespace that the first replay wrote to.
    """

    flows: int
    same: Tally
    changed: Tally
    change: LimitChange
    wrong: frozenset[str]
    touched: frozenset[str]
    calls: int
    sandbox: Settings

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {
            "flows": self.flows,
            "records": self.same.total.compared,
            "divergences": self.same.total.different,
            "snapshots_met": self.same.states_checked,
            "seconds": round(self.same.seconds, 3),
            "history_seconds": round((self.same.last_now - self.same.first_now) / 1e6, 3),
            "times_real": round(self.same.times_real, 2),
            "times_real_with_a_change": round(self.changed.times_real, 2),
            "change": str(self.change),
            "flows_touched": len(self.touched),
            "records_changed": self.changed.total.changed,
            "wrong": sorted(self.wrong),
            "venue_calls": self.calls,
        }


def replay(lab: Lab, packets: int, rate: float, found: list[Replayed]) -> list[Check]:
    """Send packets through the real stages, then replay them.

    Args:
        lab: The bench.
        packets: How many.
        rate: Packets a second, which is what real time is.
        found: Gets what came of it.
    """
    who = pipeline(
        "replay",
        "the pipeline, two processes for four stages",
        {"cascade_timeout_ms": _TIMEOUT_MS},
        paired=True,
    )
    with lab.turn(who) as turn:
        since_us = WallClock().now_us()
        lab.measure(turn, rate, packets / rate)
        lab.ground.say("Waiting until all orders have ended.")
        _wait_for_orders(turn.settings)
        lab.ground.say("Replaying, by the same code and with a limit changed.")
        mine = replays(turn.settings, since_us)
        found.append(mine)
        lab.ground.say("Letting a gateway loose on what was replayed.")
        orders = orders_of_wired_gateway(mine.sandbox)
        return _checks(mine, packets, orders)


def replays(settings: Settings, since_us: int) -> Replayed:
    """Replay all that was accepted since a moment, by the same code and with a limit changed."""
    before = submissions(settings)
    with TopicReader(settings, "bench-replay") as reader:
        selection = of_topic(reader, "cascade.market", (), Bounds(from_us=since_us))
        records = list(_judged(reader, selection))
    change = _change(settings, records)
    same = _replayed(settings, selection, Changes())
    changed = _replayed(settings, selection, Changes((change,)))
    touched = frozenset(
        record.envelope.flow_id for _, record in records if _distance(record) > change.after
    )
    differing = _differing(records, changed)
    return Replayed(
        len(selection.flows or ()),
        same.tally,
        changed.tally,
        change,
        touched ^ differing,
        touched,
        submissions(settings) - before,
        sandbox_settings(settings, same.checkpoint.replay_id),
    )


def submissions(settings: Settings) -> int:
    """Return how often an order was handed to the paper broker of a namespace."""
    file = paper_file(settings)
    if not file.exists():
        return 0
    with PaperVenue(file, PaperBehaviour.parse(settings.paper)) as venue:
        return len(venue.submissions())


def orders_of_wired_gateway(settings: Settings) -> int:
    """Return how many orders a gateway sends that may trade and reads a sandbox's topics.

    Raises:
        BrokerUnavailable: If it does not read them to their end in time.
    """
    topics.apply(settings, TopicFile.load())
    author = settings.control_authors[0]
    command = new_command(ControlKind.BOOTSTRAP, author=author, reason="bench", clock=WallClock())
    ControlWriter(settings).issue(command)
    with LocalRun(settings, worker_specs([GATEWAY_LOG.stage])) as run:
        run.wait_owned(_WIRED_S)
        _wait_until_read(settings)
    return submissions(settings)


def _wait_until_read(settings: Settings) -> None:
    """Wait until the gateway has passed all that stands in its input."""
    watch = OffsetWatch(settings)

    def waiting() -> int | None:
        return watch.look().systems[GATEWAY_LOG.stage].records

    wait_until(
        lambda: waiting() == 0, "the gateway to read its whole input", _WIRED_S, every_s=_POLL_S,
        was=lambda: f"{waiting()} records behind",
    )  # fmt: skip


def _replayed(settings: Settings, selection: Selection, changes: Changes) -> Replay:
    asked = question(settings, ["bench", selection.what], changes)
    made = Replay(settings, lambda: selection, ReplayOptions(changes), asked)
    made.run()
    return made


def _judged(reader: TopicReader, selection: Selection) -> Iterator[tuple[Entry, RiskAssessment]]:
    """Yield the recorded signals that risk judged."""
    for place in selection.ranges:
        if place.stage != "risk":
            continue
        for entry in reader.read(place.topic, place.partition, place.start, place.end):
            record = decode(entry.value)
            if (
                isinstance(record, RiskAssessment)
                and record.risk is not None
                and record.envelope.flow_id in (selection.flows or ())
            ):
                yield entry, record


def _distance(record: RiskAssessment) -> float:
    """Return how far a signal's entry is from the close of its bar, share of the close."""
    if record.tactical is None or record.bar is None:
        return 0.0
    return abs(record.tactical.entry - record.bar.close) / record.bar.close


def _change(settings: Settings, records: list[tuple[Entry, RiskAssessment]]) -> LimitChange:
    """Return a limit that about a fifth of the signals break."""
    distances = [_distance(record) for _, record in records]
    value = statistics.quantiles(distances, n=100)[_TOUCHED - 1]
    return LimitChange.parse(f"{_LIMIT}={value!r}", settings)


def _differing(records: list[tuple[Entry, RiskAssessment]], changed: Replay) -> frozenset[str]:
    """Return the flows that differ at risk, and the places of records before it that differ."""
    places = changed.checkpoint.changed
    by_place = {
        f"{entry.topic}:{entry.partition}:{entry.offset}": record.envelope.flow_id
        for entry, record in records
    }
    return frozenset(
        by_place.get(place, place) for place in places if not place.startswith("cascade.execution:")
    )


def _wait_for_orders(settings: Settings) -> None:
    """Wait until every flow that went to the gateway has ended there."""
    wait_until(
        lambda: not _open_flows(settings), "all orders to end", _DRAIN_S, every_s=1.0,
        was=lambda: f"{_open_flows(settings)} flows open",
    )  # fmt: skip


def _open_flows(settings: Settings) -> int:
    owing: set[str] = set()
    with TopicReader(settings, "bench-orders") as reader:
        for topic in ("cascade.execution", "cascade.fills"):
            for partition in reader.partitions(topic):
                for entry in reader.read(topic, partition, *reader.bounds(topic, partition)):
                    record = decode(entry.value)
                    if isinstance(record, ExecutionPlan) and needs_record(record):
                        owing.add(record.envelope.flow_id)
                    elif isinstance(record, OrderEvent) and record.flow_state is not FlowState.OPEN:
                        owing.discard(record.flow_id)
    return len(owing)


def _checks(mine: Replayed, packets: int, orders: int) -> list[Check]:
    same, changed = mine.same.total, mine.changed.total
    return [
        at_least("flows replayed", float(mine.flows), float(packets)),
        at_most("divergences by the same code", float(same.different + same.restamped), 0.0),
        at_most("records whose input is gone", float(same.gone), 0.0),
        at_most("snapshots that the state missed", float(len(mine.same.states_missed)), 0.0),
        at_least("times as fast as real time", mine.same.times_real, LEAST_TIMES_REAL),
        at_least("flows that the changed limit bears on", float(len(mine.touched)), 1.0),
        at_most("flows that differ otherwise than it explains", float(len(mine.wrong)), 0.0),
        at_most("differences without an explanation", float(changed.unexplained), 0.0),
        at_most("orders sent during the replays", float(mine.calls), 0.0),
        at_most("orders of a gateway wired to the sandbox", float(orders), 0.0),
    ]
