"""Whether the priority lane overtakes: its latency idle, and with the normal lane past capacity.

The same load of high priority comes twice, from a process of its own and on symbols of its own:
first while nothing else is under way, which is the strictest thing to be compared with, then
beside several times what the pipeline sustains in the normal lane. Both are open-loop, and every
packet is timed from the moment it was due until it stands in the execution log.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from pipeline.bench.driver import Load, Sent, Task
from pipeline.bench.lab import Check, Lab, at_least, at_most
from pipeline.bench.measurement import Latency, latency_of
from pipeline.bench.packets import URGENT, Kind
from pipeline.bench.reader import Checked, EndReader, check
from pipeline.bench.search import highest_sustained
from pipeline.bench.turn import LoadProcess, Turn
from pipeline.bench.waiting import wait_until
from pipeline.packets.lanes import INGEST_TOPIC, PRIORITY_TOPIC
from pipeline.packets.vocabulary import Priority
from pipeline.transport.clients import log_consumer, watermarks

__all__ = ["FACTOR", "Lanes", "lanes", "lanes_table"]

FACTOR = 5.0
MOST_RATIO = 2.0
_SYMBOLS = 4
_BARS = 70
"""More than the longest window of the policies has."""
_WARM_RATE = 200.0
_BUILD_UP_S = 2.0
_READY_S = 60.0
_DRAIN_S = 180.0
_POLL_S = 0.05
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Phase:
    """What became of the packets of one lane.

    Attributes:
        sent: Packets sent.
        lost: Packets that did not come out.
        duplicates: Packets that came out twice.
        misordered: Packets that came out after a later one of their symbol.
        errors: Packets that ended expired, shed or dead-lettered.
        out_per_s: Packets a second that came out, from the first to the last one sent.
        load_late_ms_p99: How late the load was sent.
        latency: From due to the execution log; None where nothing came out.
    """

    sent: int
    lost: int
    duplicates: int
    misordered: int
    errors: int
    out_per_s: float
    load_late_ms_p99: float
    latency: Latency | None

    @property
    def wrong(self) -> int:
        """Packets without exactly one end in their order."""
        return self.lost + self.duplicates + self.misordered


@dataclass(slots=True)
class Lanes:
    """What came of it.

    Attributes:
        capacity: Packets a second that the pipeline sustains.
        phases: The priority lane idle and loaded, and the normal lane beside it.
    """

    capacity: float = 0.0
    phases: dict[str, Phase] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def lanes(
    lab: Lab, mode: str, capacity: float | None, rate: float, seconds: float, found: Lanes
) -> list[Check]:
    """Measure the priority lane idle, and beside five times what is sustained in the normal one.

    Args:
        lab: The bench.
        mode: single, paired or processes.
        capacity: Packets a second; searched for where None.
        rate: Packets a second of the priority lane.
        seconds: How long each phase lasts.
        found: Where the figures go.
    """
    with lab.turn(mode) as turn, _Urgent(turn) as urgent:
        urgent.warm_up()
        found.capacity = capacity or _capacity(lab, turn) or 0.0
        lab.ground.say(f"lanes: {found.capacity:g}/s sustained; priority lane alone.")
        task = Task(round(rate * seconds), rate)
        alone = urgent.send(task)
        turn.reader.read()
        found.phases["idle"] = _phase(urgent.seen(alone), alone)
        lab.ground.say(f"lanes: {_sentence(found.phases['idle'])}")
        if found.capacity:
            _load(turn, urgent, found, task)
            for name in ("loaded", "normal"):
                lab.ground.say(f"lanes: {name}: {_sentence(found.phases[name])}")
    return _checks(found)


def _load(turn: Turn, urgent: "_Urgent", found: Lanes, task: Task) -> None:
    offered = FACTOR * found.capacity
    count = round(offered * (task.count / task.rate + 2 * _BUILD_UP_S))
    with closing(log_consumer(turn.settings, "bench-lanes")) as consumer:
        topic = turn.settings.topic(INGEST_TOPIC)

        def end() -> int:
            partitions = range(turn.ground.partitions)
            return sum(watermarks(consumer, topic, each, _READY_S)[1] for each in partitions)

        begun = end()
        turn.begin(count, offered, made_ahead=True)
        wait_until(lambda: end() - begun >= offered * _BUILD_UP_S, "the load", _READY_S)
        beside = urgent.send(task, arriving=False)
        normal = turn.end(count + task.count, _DRAIN_S)
    found.phases["loaded"] = _phase(urgent.seen(beside), beside)
    found.phases["normal"] = _phase(turn.seen(normal), normal)


def _capacity(lab: Lab, turn: Turn) -> float | None:
    def probe(rate: float) -> bool:
        return lab.measure(turn, rate, lab.pace.probe_s, {"probe": True}).sustained

    return highest_sustained(probe, probe, start=1200.0, precision=max(1.5, lab.pace.precision))


class _Urgent:
    """The load of the priority lane, and what comes out of it."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        turn, settings = self._turn, self._turn.settings
        load = Load(
            Kind.MARKET, settings.topic(PRIORITY_TOPIC), turn.ground.partitions, _SYMBOLS,
            settings.cascade_timeout_ms, Priority.HIGH,
        )  # fmt: skip
        self._process = self._stack.enter_context(LoadProcess(load, settings))
        self._reader = self._stack.enter_context(
            closing(EndReader(settings, turn.who.output, 1, _SYMBOLS, log=True, prefix=URGENT))
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def warm_up(self) -> None:
        """Send packets that do not count."""
        self.send(Task(_BARS * _SYMBOLS, _WARM_RATE))
        self._reader.read()
        self._turn.reader.read()

    def send(self, task: Task, *, arriving: bool = True) -> Sent:
        """Send packets, and wait until they came out where nothing else does.

        Raises:
            BrokerUnavailable: If they do not come out.
        """
        before = self._reader.end()
        self._process.begin(task)
        while (sent := self._process.poll()) is None:
            time.sleep(_POLL_S)
        if arriving:
            wait_until(
                lambda: self._reader.end() - before >= task.total,
                f"{task.total} packets of the priority lane to come out", _READY_S,
                was=lambda: f"{self._reader.end() - before}",
            )  # fmt: skip
        return sent

    def seen(self, sent: Sent) -> Checked:
        """Return what came out of the packets sent."""
        return check(self._reader.read(), sent.first, sent.count, _SYMBOLS)


def _phase(seen: Checked, sent: Sent) -> Phase:
    out_us = seen.due_us + seen.latency_us
    within = out_us[out_us <= int(seen.due_us.max())] if len(out_us) else out_us
    spent_us = int(np.ptp(seen.due_us)) if len(seen.due_us) else 0
    return Phase(
        sent.count, seen.lost + sent.failed, seen.duplicates + seen.strays, seen.misordered,
        seen.errors, len(within) * _SECOND_US / spent_us if spent_us else 0.0, sent.late_ms_p99,
        latency_of(seen.latency_us),
    )  # fmt: skip


def _checks(found: Lanes) -> list[Check]:
    idle, loaded, normal = (found.phases.get(name) for name in ("idle", "loaded", "normal"))
    if idle is None or loaded is None or normal is None:
        return [at_least("packets/s sustained", None, 1.0)]
    ratio = None
    if idle.latency is not None and loaded.latency is not None:
        ratio = loaded.latency.p99 / idle.latency.p99
    wrong = sum(each.wrong for each in found.phases.values())
    return [
        at_most(
            f"priority lane, p99 with the normal lane at {FACTOR:g} x capacity over idle",
            ratio, MOST_RATIO,
        ),
        at_least("normal packets that waited or ended late, of those sent",
                 normal.errors / normal.sent, 0.5),
        at_most("packets lost, repeated or out of order", float(wrong), 0.0),
    ]  # fmt: skip


def _sentence(phase: Phase) -> str:
    spread = "nothing came out"
    if (found := phase.latency) is not None:
        spread = f"p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms, longest {found.max:.1f} ms"
    return f"{phase.sent} sent, {spread}, {phase.out_per_s:.0f}/s out, {phase.wrong} wrong."


def lanes_table(found: Lanes) -> str:
    """Return the phases as text in columns."""
    head = (
        "lane", "sent", "out/s", "p50 ms", "p95 ms", "p99 ms", "longest", "expired", "lost",
        "twice", "misordered", "sent late",
    )  # fmt: skip
    lines: list[Sequence[str]] = [head]
    lines += [_cells(name, phase) for name, phase in found.phases.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cells(name: str, phase: Phase) -> tuple[str, ...]:
    times: tuple[str, ...] = ("-",) * 4
    if (found := phase.latency) is not None:
        times = tuple(f"{each:.1f}" for each in (found.p50, found.p95, found.p99, found.max))
    title = {"idle": "priority, idle", "loaded": "priority, loaded", "normal": "normal, loaded"}
    return (
        title[name], str(phase.sent), f"{phase.out_per_s:.0f}", *times, str(phase.errors),
        str(phase.lost), str(phase.duplicates), str(phase.misordered),
        f"{phase.load_late_ms_p99:.1f}",
    )  # fmt: skip
