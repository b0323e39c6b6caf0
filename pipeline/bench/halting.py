"""How fast a halt is under load, and whether it holds when everything is killed.

1. Halts: at twice the rate that the pipeline works off, with a backlog, a HALT is written to the
   control log. What counts is the last new order plan that the broker appended and the last order
   that the venue was sent, both since the command was given. Then it is resumed, and again.
2. Kill -9 of broker and all workers while HALTED: they come back halted, until a RESUME.
3. A halt of this machine while the broker is gone: every worker says that it obeys; when the broker
   is back, the halt stands in the control log, and still holds, until a RESUME.
"""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from pipeline import broker
from pipeline.bench.busy import busy
from pipeline.bench.lab import Check, Lab, at_least, at_most
from pipeline.bench.orders import Planned, plans_of, round_ms, submissions_of, within
from pipeline.bench.turn import Turn
from pipeline.bench.waiting import wait_until
from pipeline.clock import WallClock
from pipeline.control.latch import Latch
from pipeline.control.log import fold
from pipeline.control.out_of_band import halt_here
from pipeline.emergency.commands import Commander, CommandResult
from pipeline.errors import BrokerUnavailable, PipelineError
from pipeline.events import EventBus
from pipeline.packets.events import ControlKind
from pipeline.transport.clients import log_consumer, watermarks

__all__ = ["Halted", "Halting", "halt", "halt_table"]

_ALLOWANCE_MS = 100.0
_AUTHOR = "operator"
_PROBE = 3000
_PROBE_RATE = 6000.0
_BEFORE_US = 1_000_000
_DRAIN_S = 180.0
_LIMIT_S = 90.0
_ANSWER_S = 30.0
_WARM_S = 10.0
_WATCH_S = 4.0
_TRIES = 5
_LOOK_S = 0.05
_AFTER_KILL = 200
_AFTER_KILL_RATE = 100.0


@dataclass(frozen=True, slots=True)
class Halted:
    """One halt, times in milliseconds since the command was given.

    Attributes:
        backlog: Packets sent and not at their end when it was given.
        plans_before: Order plans in the second before.
        last_plan_ms: Until the last new order plan; 0 where there was none after it.
        last_submit_ms: Until the last order was sent; 0 likewise.
        obeyed_ms: Until the last worker acknowledged it.
        missing: Workers that did not.
    """

    backlog: int
    plans_before: int
    last_plan_ms: float
    last_submit_ms: float
    obeyed_ms: float
    missing: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


@dataclass(slots=True)
class _Given:
    result: CommandResult
    backlog: int
    until_us: int


@dataclass(slots=True)
class Halting:
    """What came of it.

    Attributes:
        rate: Packets a second that the pipeline works off, measured.
        round_ms: Length of a round in the same run, 99th percentile, milliseconds.
        halts: The halts.
        figures: The other parts, by name.
    """

    rate: float = 0.0
    round_ms: float = 0.0
    halts: list[Halted] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def halt(lab: Lab, rounds: int, burst_s: float, found: Halting) -> list[Check]:
    """Halt under load again and again, then with everything killed, then without a broker.

    Args:
        lab: The bench, on a broker of its own.
        rounds: How many halts.
        burst_s: Seconds of load before each, and after it.
        found: Where the figures go.
    """
    with lab.turn(busy()) as turn, _Desk(lab, turn, found) as desk:
        desk.measure_rate()
        given = [desk.halt_under_load(number, rounds, burst_s) for number in range(rounds)]
        desk.judge(given)
        desk.kill_everything()
        desk.lose_the_broker()
    return _checks(found)


def halt_table(found: Halting) -> str:
    """Return the halts as text in columns."""
    head = "halt  backlog  plans/s before  last plan ms  last submit ms  obeyed ms"
    lines = [
        f"{number:>4} {each.backlog:>8} {each.plans_before:>15} {each.last_plan_ms:>13.1f}"
        f" {each.last_submit_ms:>15.1f} {each.obeyed_ms:>10.1f}"
        for number, each in enumerate(found.halts, 1)
    ]
    facts = (
        f"worked off {found.rate:.0f}/s, offered {2 * found.rate:.0f}/s;"
        f" a round takes up to {found.round_ms:.1f} ms (p99)"
    )
    return "\n".join([head, *lines, facts])


def _checks(found: Halting) -> list[Check]:
    limit = _ALLOWANCE_MS + found.round_ms
    what = f"p99 of {len(found.halts)}, 100 ms more than a round"
    figures = found.figures
    return [
        at_most(f"last new order plan after the halt, ms, {what}",
                _p99([each.last_plan_ms for each in found.halts]), limit),
        at_most(f"last order sent after the halt, ms, {what}",
                _p99([each.last_submit_ms for each in found.halts]), limit),
        at_least("order plans in the second before a halt, fewest",
                 min((each.plans_before for each in found.halts), default=None), 1),
        at_least("backlog at a halt, packets, smallest",
                 min((each.backlog for each in found.halts), default=None), 1),
        at_most("workers that did not acknowledge a halt, most",
                max((each.missing for each in found.halts), default=None), 0),
        at_most("plans and orders after kill -9 of broker and workers",
                figures.get("plans_and_orders_after_kill"), 0),
        at_least("plans after the resume from that", figures.get("plans_after_kill_resume"), 1),
        at_least("workers that halted without a broker, of all",
                 figures.get("share_halted_without_broker"), 1),
        at_most("orders sent after the halt without a broker",
                figures.get("orders_after_local_halt"), 0),
        at_least("that halt stands in the control log", figures.get("local_halt_published"), 1),
        at_most("plans and orders until the resume from that",
                figures.get("plans_and_orders_after_outage"), 0),
        at_least("plans after that resume", figures.get("plans_after_outage_resume"), 1),
    ]  # fmt: skip


def _p99(values: list[float]) -> float | None:
    return float(np.percentile(values, 99, method="higher")) if values else None


class _Desk:
    """Where halts are given and the outcome is looked up."""

    def __init__(self, lab: Lab, turn: Turn, found: Halting) -> None:
        self._lab, self._turn, self._found = lab, turn, found
        self._clock = WallClock()
        self._market = log_consumer(turn.settings, "bench-backlog")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._market.close()

    # -- 1. halts under load -----------------------------------------------------------------------

    def measure_rate(self) -> None:
        """Measure what the pipeline works off when there is always more."""
        self._turn.begin(_PROBE, _PROBE_RATE)
        began_s = time.monotonic()
        self._turn.end(_PROBE, _DRAIN_S, "to work off a burst")
        self._found.rate = _PROBE / (time.monotonic() - began_s)
        self._say(f"works off {self._found.rate:.0f} packets/s")

    def halt_under_load(self, number: int, rounds: int, burst_s: float) -> _Given:
        """Load, halt, let it drain, resume."""
        turn, rate = self._turn, 2.0 * self._found.rate
        count = round(rate * 2 * burst_s)
        before, sent = self._in_flight(), len(submissions_of(turn.settings))
        turn.begin(count, rate)
        _pause(burst_s)
        # On a busy machine it takes a while until orders go out; a halt of nothing shows nothing.
        ends_s = time.monotonic() + _WARM_S
        while len(submissions_of(turn.settings)) == sent and time.monotonic() < ends_s:
            _pause(_LOOK_S)
        with self._commander() as commander:
            backlog = self._in_flight() - before
            result = _give(commander, ControlKind.HALT, f"halt {number + 1} of {rounds}")
            turn.end(count, _DRAIN_S, "to work off its backlog")
            until_us = self._clock.now_us()
            _give(commander, ControlKind.RESUME, "on it goes", lifts_epoch=result.epoch)
        self._say(f"halt {number + 1} of {rounds}: backlog {backlog}, {result}")
        return _Given(result, backlog, until_us)

    def judge(self, given: list[_Given]) -> None:
        """Look up what went out after each halt."""
        plans = plans_of(self._turn.settings)
        ordered = [each.appended_us for each in plans if each.orders]
        sent = submissions_of(self._turn.settings)
        self._found.round_ms = round_ms(plans, ("risk", "execution"))
        for each in given:
            at = each.result.command.time
            later = within(ordered, at, each.until_us)
            submitted = within(sent, at, each.until_us)
            self._found.halts.append(
                Halted(
                    backlog=each.backlog,
                    plans_before=len(within(ordered, at - _BEFORE_US, at)),
                    last_plan_ms=(later[-1] - at) / 1000 if later else 0.0,
                    last_submit_ms=(submitted[-1] - at) / 1000 if submitted else 0.0,
                    obeyed_ms=each.result.latency_ms or 0.0,
                    missing=sum(each.result.missing.values()),
                )
            )

    # -- 2. everything killed ----------------------------------------------------------------------

    def kill_everything(self) -> None:
        """Kill broker and workers while halted, and look whether they come back halted."""
        with self._commander() as commander:
            epoch = _give(commander, ControlKind.HALT, "before the kill").epoch
        since_us = self._clock.now_us()
        self._say("kill -9 of the broker and all workers")
        self._kill_broker()
        for each in self._turn.supervisor.workers():
            with contextlib.suppress(PipelineError):  # it fell over by itself
                self._turn.supervisor.kill(each.stages[0])
        self._start_broker()
        self._load("after the kill")
        figures = self._found.figures
        figures["plans_and_orders_after_kill"] = self._went_out(since_us, self._clock.now_us())
        figures["plans_after_kill_resume"] = self._resumed(epoch)

    # -- 3. no broker ------------------------------------------------------------------------------

    def lose_the_broker(self) -> None:
        """Halt this machine while the broker is gone, and look what becomes of it."""
        turn, figures = self._turn, self._found.figures
        turn.begin(_AFTER_KILL, _AFTER_KILL_RATE)
        _pause(_AFTER_KILL / _AFTER_KILL_RATE / 2)
        self._say("kill -9 of the broker; a halt of this machine alone")
        self._kill_broker()
        answers = halt_here(turn.settings, _AUTHOR, "the broker is gone")
        # The command has returned: nothing may go out any more.
        since_us = self._clock.now_us()
        halt_id = Latch.of(turn.settings).read().halt_id
        processes = len(turn.supervisor.workers())
        obeyed = sum(each.trading_state == "HALTED" for each in answers)
        figures["share_halted_without_broker"] = obeyed / processes
        _pause(_WATCH_S)
        figures["orders_after_local_halt"] = len(
            within(submissions_of(turn.settings), since_us, self._clock.now_us())
        )
        self._start_broker()
        wait_until(
            lambda: not Latch.of(turn.settings).read().local, "the halt in the control log",
            _LIMIT_S, every_s=_LOOK_S,
        )  # fmt: skip
        epoch = fold(turn.settings).halts.get(halt_id, -1)
        figures["local_halt_published"] = float(epoch >= 0)
        self._settle()
        turn.end(_AFTER_KILL, _DRAIN_S, "to work off what was sent meanwhile")
        self._load("after the outage")
        out = self._went_out(since_us, self._clock.now_us())
        figures["plans_and_orders_after_outage"] = out
        figures["plans_after_outage_resume"] = self._resumed(epoch)

    # -- pieces ------------------------------------------------------------------------------------

    def _load(self, what: str) -> None:
        """Send some packets and wait until they are at their end: so the workers work."""
        self._settle()
        self._turn.begin(_AFTER_KILL, _AFTER_KILL_RATE)
        self._turn.end(_AFTER_KILL, _DRAIN_S, f"to work {what}")

    def _resumed(self, epoch: int) -> int:
        """Lift a halt, send some packets, and return how many order plans came of them."""
        since_us = self._clock.now_us()
        with self._commander() as commander:
            _give(commander, ControlKind.RESUME, "all is well", lifts_epoch=epoch)
        for _ in range(_TRIES):  # a worker that has lost the control log for a moment is halted
            self._load("after the resume")
            plans = [each.appended_us for each in self._plans() if each.orders]
            if went_out := within(plans, since_us, self._clock.now_us()):
                return len(went_out)
        return 0

    def _went_out(self, since_us: int, until_us: int) -> int:
        plans = [each.appended_us for each in self._plans() if each.orders]
        sent = submissions_of(self._turn.settings)
        return len(within(plans, since_us, until_us)) + len(within(sent, since_us, until_us))

    def _plans(self) -> list[Planned]:
        return plans_of(self._turn.settings)

    def _in_flight(self) -> int:
        """Return market records less records of execution's log."""
        settings = self._turn.settings
        market = sum(
            watermarks(self._market, settings.topic("cascade.market"), each, _LIMIT_S)[1]
            for each in range(self._turn.ground.partitions)
        )
        return market - self._turn.reader.end()

    @contextmanager
    def _commander(self) -> Iterator[Commander]:
        """Lend what gives commands, its connections open."""
        with EventBus(settings=self._turn.settings) as bus, Commander(bus) as commander:
            commander.connect()
            yield commander

    def _kill_broker(self) -> None:
        # Its clients say again and again that it is gone.
        logging.getLogger("pipeline.transport").setLevel(logging.CRITICAL)
        found = self._lab.ground.broker
        if found.pid is not None:
            os.kill(found.pid, signal.SIGKILL)
        elif found.container is not None:
            command = ["docker", "kill", found.container]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        else:
            raise BrokerUnavailable("Expected a broker of the bench's own to kill, was another's")

    def _start_broker(self) -> None:
        ground = self._lab.ground
        found = broker.up(ground.settings.model_copy(update={"broker": None}), notice=ground.say)
        if found.bootstrap != ground.settings.broker:
            raise BrokerUnavailable(
                f"Expected the broker at {ground.settings.broker} again, was {found.bootstrap}"
            )
        self._lab.replace_broker(found)

    def _settle(self) -> None:
        """Wait until the end of the last log can be asked for again."""

        def answers() -> bool:
            try:
                return self._turn.reader.end() >= 0
            except BrokerUnavailable:
                return False

        wait_until(answers, "the broker to answer", _LIMIT_S, every_s=_LOOK_S)

    def _say(self, text: str) -> None:
        self._lab.ground.say(f"halt: {text}.")


def _give(
    commander: Commander, kind: ControlKind, reason: str, lifts_epoch: int = -1
) -> CommandResult:
    return commander.give(
        kind, author=_AUTHOR, reason=reason, lifts_epoch=lifts_epoch, timeout_s=_ANSWER_S
    )


def _pause(seconds: float) -> None:
    time.sleep(seconds)
