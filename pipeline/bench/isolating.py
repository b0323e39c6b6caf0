"""What the isolation of a stage does to the others, and to what it held back.

Market data comes at a steady rate before, during and after the isolation of tactical. Strategic is
judged by the latency of its packets. Execution gets none meanwhile, for they wait before tactical;
it is judged by how fast it takes commands, as strategic is too: fences around a symbol that does
not exist, put up and taken down each second. What waited ends with an outcome, most of it expired.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np
from confluent_kafka import TopicPartition

from pipeline.bench.lab import Check, Lab, at_least, at_most
from pipeline.bench.orders import Planned, plans_of, submissions_of
from pipeline.bench.packets import seen_of
from pipeline.bench.turn import Turn
from pipeline.clock import WallClock
from pipeline.emergency.commands import Commander, CommandResult
from pipeline.events import EventBus
from pipeline.packets.codec import decode, is_marker
from pipeline.packets.events import ControlKind
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, offset_of, watermarks

__all__ = ["Isolated", "isolate", "isolate_table"]

_STAGE = "tactical"
_AUTHOR = "operator"
_MOST_RATIO = 1.5
_LEAST_LATENCY_MS = 10.0
_SETTLE_US = 2_000_000
_STALE_US = 100_000
_DRAIN_S = 120.0
_TIMEOUT_S = 10.0
_EVERY_S = 1.0
_ANSWER_S = 30.0


@dataclass(slots=True)
class Isolated:
    """What came of it; times in milliseconds.

    Attributes:
        strategic: p50 and p99 of strategic's packets, before and during.
        takes: Median time to take a command by stage, before and during.
        sent: Packets sent.
        outcomes: How they ended.
        held: Packets that waited.
        worked_off: Records that the isolated stage wrote meanwhile.
        lost: Packets without an outcome.
        duplicates: Packets with two.
        misordered: Packets that ended after a later one of their symbol.
        stale: Orders sent later than their deadline.
    """

    strategic: dict[str, tuple[float, float]] = field(default_factory=dict)
    takes: dict[str, tuple[float, float]] = field(default_factory=dict)
    sent: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    held: int = 0
    worked_off: int = 0
    lost: int = 0
    duplicates: int = 0
    misordered: int = 0
    stale: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def isolate(lab: Lab, mode: str, rate: float, seconds: float, found: Isolated) -> list[Check]:
    """Isolate tactical in the middle of a steady load, release it, and look at what came of it.

    Args:
        lab: The bench.
        mode: single, paired or processes.
        rate: Packets a second.
        seconds: Of isolation; as long before, and after.
        found: Where the figures go.
    """
    with (
        lab.turn(mode) as turn,
        EventBus(settings=turn.settings) as bus,
        Commander(bus) as commander,
    ):
        commander.connect()
        clock = WallClock()
        count = round(rate * 3 * seconds)
        turn.begin(count, rate)
        began_us = clock.now_us()
        before = _probe(commander, seconds)
        lab.ground.say(f"isolate: isolating {_STAGE}.")
        up = _give(commander, ControlKind.ISOLATE, f"stage:{_STAGE}")
        isolated_us = clock.now_us()
        during = _probe(commander, seconds)
        released_us = clock.now_us()
        down = _give(commander, ControlKind.RELEASE, f"stage:{_STAGE}")
        lab.ground.say(f"isolate: released; {down}.")
        sent = turn.end(count, _DRAIN_S)
        checked = turn.seen(sent)
        found.lost, found.duplicates = checked.lost, checked.duplicates
        found.misordered, found.sent = checked.misordered, sent.count - sent.failed
        _fold_latencies(found, turn, (began_us, isolated_us, released_us))
        found.takes = {stage: (before[stage], during[stage]) for stage in sorted(before)}
        plans = [
            each for each in plans_of(turn.settings)
            if each.plan.envelope.event_time >= sent.start_us
        ]  # fmt: skip
        _fold_outcomes(found, turn, plans, (isolated_us, released_us))
        missing = sum(up.missing.values()) + sum(down.missing.values())
    return _checks(found, missing)


def isolate_table(found: Isolated) -> str:
    """Return what came of it as text."""
    lines = [
        f"strategic, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        for name, (p50, p99) in found.strategic.items()
    ]
    lines += [
        f"{stage} takes a command: {before:.1f} ms before, {during:.1f} ms during"
        for stage, (before, during) in found.takes.items()
    ]
    ends = ", ".join(f"{count} {kind}" for kind, count in sorted(found.outcomes.items()))
    lines.append(f"{found.sent} packets in: {ends}; {found.held} of them had to wait")
    return "\n".join(lines)


def _checks(found: Isolated, missing: int) -> list[Check]:
    ratios = [_ratio(*(found.strategic[name][1] for name in ("before", "during")))]
    takes = [_ratio(*found.takes[stage]) for stage in ("strategic", "execution")]
    return [
        at_most("workers that did not acknowledge isolation or release", missing, 0),
        at_most("strategic, p99 during over before", ratios[0], _MOST_RATIO),
        at_most("strategic, time to take a command, during over before", takes[0], _MOST_RATIO),
        at_most("execution, time to take a command, during over before", takes[1], _MOST_RATIO),
        at_most("records of tactical while it was isolated", found.worked_off, 0),
        at_least("packets that waited", found.held, 1),
        at_most("packets lost", found.lost, 0),
        at_most("packets with two outcomes", found.duplicates, 0),
        at_most("packets in less the sum of outcomes",
                abs(found.sent - sum(found.outcomes.values())), 0),
        at_most("packets out of order", found.misordered, 0),
        at_most("orders sent after their deadline", found.stale, 0),
    ]  # fmt: skip


def _ratio(before: float, during: float) -> float:
    """Return during over before; what is under 10 ms is jitter on a busy machine."""
    return max(during, _LEAST_LATENCY_MS) / max(before, _LEAST_LATENCY_MS)


def _give(commander: Commander, kind: ControlKind, scope: str) -> CommandResult:
    return commander.give(
        kind, scope, author=_AUTHOR, reason="bench of isolation", timeout_s=_ANSWER_S
    )


def _probe(commander: Commander, seconds: float) -> dict[str, float]:
    """Give commands for some time; return each stage's median time to take one, ms."""
    took: dict[str, list[float]] = {}
    ends_s = time.monotonic() + seconds
    waiting = threading.Event()
    while time.monotonic() < ends_s:
        for kind in (ControlKind.ISOLATE, ControlKind.RELEASE):
            result = _give(commander, kind, "symbol:bench-nobody")
            for each in result.acknowledgements:
                took.setdefault(each.stage, []).append((each.time - result.command.time) / 1000)
        waiting.wait(_EVERY_S)
    return {stage: median(times) for stage, times in took.items()}


def _fold_latencies(found: Isolated, turn: Turn, times: tuple[int, int, int]) -> None:
    began_us, isolated_us, released_us = times
    arrived = _appended(turn.settings, "cascade.strategic", turn.ground.partitions)
    phases = {
        "before": (began_us + _SETTLE_US, isolated_us - _SETTLE_US),
        "during": (isolated_us, released_us),
    }
    for name, (since_us, until_us) in phases.items():
        late = [at - due for due, at in arrived if since_us <= due < until_us]
        if late:
            p50, p99 = np.percentile(late, [50, 99]) / 1000
            found.strategic[name] = (float(p50), float(p99))
        else:
            found.strategic[name] = (float("inf"), float("inf"))
    written = _appended(turn.settings, f"cascade.{_STAGE}", turn.ground.partitions)
    found.worked_off = sum(isolated_us <= at < released_us for _, at in written)


def _appended(settings: Settings, topic: str, partitions: int) -> list[tuple[int, int]]:
    """Return (event time, time of appending) of all packets in a log, microseconds."""
    real = settings.topic(topic)
    with closing(log_consumer(settings, "bench-isolate")) as consumer:
        found: list[tuple[int, int]] = []
        for partition in range(partitions):
            at, end = watermarks(consumer, real, partition, _TIMEOUT_S)
            consumer.assign([TopicPartition(real, partition, at)])
            while at < end:
                for message in drain(consumer, 5000, 0.2):
                    at, value = offset_of(message) + 1, message.value()
                    if is_marker(value):
                        continue
                    envelope = getattr(decode(value), "envelope", None)
                    if envelope is not None:
                        found.append((envelope.event_time, int(message.timestamp()[1]) * 1000))
        return found


def _fold_outcomes(
    found: Isolated, turn: Turn, plans: Sequence[Planned], times: tuple[int, int]
) -> None:
    isolated_us, released_us = times
    kinds: Counter[str] = Counter()
    deadlines: dict[str, int] = {}
    is_ours: Callable[[Planned], bool] = lambda each: (  # noqa: E731  # one question
        seen_of(each.plan, turn.ground.symbols) is not None
    )
    for each in filter(is_ours, plans):
        envelope = each.plan.envelope
        kinds[str(envelope.outcome.kind) if envelope.outcome else "none"] += 1
        found.held += isolated_us <= envelope.accepted_at < released_us
        for child in each.plan.execution.orders if each.plan.execution else ():
            deadlines[child.client_order_id] = envelope.deadline
    found.outcomes = dict(kinds)
    sent = submissions_of(turn.settings)
    # The venue notes when an order arrived, and a call takes its time.
    found.stale = sum(
        at > deadlines[name] + _STALE_US for name, at in sent.items() if name in deadlines
    )
