"""Runs a demo: broker, topics, workers, warm-up, market data, drain, figures.

1. Broker, a namespace of its own, topics, permission to trade; workers, until all own their logs.
2. A warm-up that does not count: cold interpreters, and a cold JVM above all, cost more than
   anything else. It ends when all its flows have ended.
3. Market data on a fixed schedule, whatever becomes of it; workers are killed as planned.
4. Drain: until every record is accounted for, or time is up.
5. Workers stop. Logs, venue and the publisher's own account are set against each other.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from pipeline.demo.collector import Collector
from pipeline.demo.ledger import LedgerReader, SentFlow
from pipeline.demo.live import LiveView
from pipeline.demo.log_ends import LogEnds
from pipeline.demo.plan import DemoPlan
from pipeline.demo.publishing import COUNTED, WARM_UP, Publication, PublisherProcess
from pipeline.demo.pulse import Pulse
from pipeline.demo.recovery import RecoveryWatch
from pipeline.demo.released import released_by_flow
from pipeline.demo.rig import Rig, rig
from pipeline.demo.summary import KillSeen
from pipeline.errors import BrokerUnavailable
from pipeline.market import PublishReport
from pipeline.run import worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings
from pipeline.watch.observations import FillSeen, FlowEnd

__all__ = ["DemoRun", "run_demo"]

_OWNED_S = 120.0
_WARM_DRAIN_S = 60.0
_DRAIN_S = 60.0
_RELEASED_S = 10.0
_TICK_S = 0.5
_POLL_S = 0.05


@dataclass(slots=True)
class DemoRun:
    """What a demo has seen, for the figures and the report.

    Attributes:
        plan: What it was to do.
        rig: Where it ran.
        sent: Counted records.
        warm_up: Flows that do not count.
        published: The publisher's report on the counted records.
        ends: All ends of flows, the warm-up's included.
        fills: All records of the fills log.
        released: What risk released, by flow.
        kills: Workers killed.
        restarts: How often workers were started again.
        exit_codes: How each worker's processes ended.
    """

    plan: DemoPlan
    rig: Rig
    sent: Sequence[SentFlow] = ()
    warm_up: frozenset[str] = frozenset()
    published: PublishReport | None = None
    ends: Sequence[FlowEnd] = ()
    fills: Sequence[FillSeen] = ()
    released: dict[str, float] = field(default_factory=dict)
    kills: list[KillSeen] = field(default_factory=list)
    restarts: int = 0
    exit_codes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def run_demo(
    plan: DemoPlan, settings: Settings, view: LiveView, finish: Callable[[DemoRun], None]
) -> None:
    """Run a demo, from nothing to nothing: whatever it started has ended when this returns.

    Args:
        plan: What to do.
        settings: The user's settings.
        view: Where to show it.
        finish: Called with what has been seen, workers stopped, the broker still up.

    Raises:
        PipelineError: If it cannot be carried out.
    """
    with rig(
        settings, say=view.say, keep=plan.keep, partitions=plan.partitions,
        namespace=plan.namespace,
    ) as ready:  # fmt: skip
        run = DemoRun(plan, ready)
        _carry_out(run, view)
        finish(run)


def _carry_out(run: DemoRun, view: LiveView) -> None:
    plan, settings = run.plan, run.rig.settings
    with ExitStack() as stack:
        collector = stack.enter_context(Collector(settings))
        publisher = PublisherProcess(settings, _publication(run))
        stack.callback(publisher.stop)
        specs = worker_specs(single=plan.single, paired=plan.paired, log_level=settings.log_level)
        workers = LocalRun(settings, specs)
        stack.callback(view.end)
        with workers:
            view.say(f"Starting {len(specs)} workers in namespace {settings.namespace}.")
            workers.wait_owned(_OWNED_S)
            _warm_up(run, collector, publisher, view)
            _measure(run, collector, publisher, workers, view)
            run.released = released_by_flow(settings, _owing(run), timeout_s=_RELEASED_S)
            run.restarts = workers.supervisor.restarts
            view.end()
            view.say("Stopping the workers.")
        run.exit_codes = {each.name: each.exit_codes for each in workers.supervisor.workers()}
        collector.check()


def _publication(run: DemoRun) -> Publication:
    plan = run.plan
    return Publication(
        source=plan.source,
        symbols=plan.symbols,
        seed=plan.seed,
        rate=plan.rate,
        seconds=plan.seconds,
        warm_up_s=plan.warm_up_s,
        faults=plan.faults,
        folder=str(run.rig.folder),
    )


def _warm_up(
    run: DemoRun, collector: Collector, publisher: PublisherProcess, view: LiveView
) -> None:
    """Step 2: send records that do not count, and wait until they are through."""
    if run.plan.warm_up_s <= 0.0:
        return
    view.say(f"Warming up for {run.plan.warm_up_s:g} s; these records do not count.")
    publisher.begin(WARM_UP)
    while publisher.report(WARM_UP) is None:
        collector.check()
        time.sleep(_POLL_S)
    run.warm_up = frozenset(flow.flow_id for flow in LedgerReader(publisher.ledger(WARM_UP)).read())
    deadline_s = time.monotonic() + _WARM_DRAIN_S
    while len(collector.ends) < len(run.warm_up) or _unfinished(collector):
        collector.check()
        if time.monotonic() > deadline_s:
            raise BrokerUnavailable(
                f"Expected the warm-up's {len(run.warm_up)} flows to end within"
                f" {_WARM_DRAIN_S:g} s, was {len(collector.ends)} of them. See the workers' logs."
            )
        time.sleep(_POLL_S)


def _measure(
    run: DemoRun,
    collector: Collector,
    publisher: PublisherProcess,
    workers: LocalRun,
    view: LiveView,
) -> None:
    """Steps 3 and 4."""
    ledger = publisher.ledger(COUNTED)
    pulse = Pulse(collector, LedgerReader(ledger), LogEnds(run.rig.settings).read)
    publisher.begin(COUNTED)
    started_s = time.monotonic()
    kills = sorted(run.plan.kills)
    next_tick_s = started_s
    with ExitStack() as stack:
        watches: list[RecoveryWatch] = []
        while run.published is None:
            run.published = publisher.report(COUNTED)
            collector.check()
            now_s = time.monotonic()
            while kills and now_s - started_s >= kills[0].at_s:
                kill = kills.pop(0)
                watch = RecoveryWatch(run.rig.settings, kill.stage, kill.at_s)
                watches.append(stack.enter_context(watch))
                watch.killed()
                event = workers.supervisor.kill(kill.stage)
                view.say(f"Killed {event.worker}, process {event.pid}, at {kill.at_s:g} s.")
            for watch in watches:
                watch.poll()
            if now_s >= next_tick_s:
                next_tick_s = now_s + _TICK_S
                view.show(pulse.take())
            time.sleep(_POLL_S)
        run.sent = LedgerReader(ledger).read()
        _drain(run, collector, pulse, watches, view)
        run.kills = [watch.seen() for watch in watches]
    run.ends, run.fills = tuple(collector.ends), tuple(collector.fills)


def _drain(
    run: DemoRun,
    collector: Collector,
    pulse: Pulse,
    watches: Sequence[RecoveryWatch],
    view: LiveView,
) -> None:
    """Step 4: wait until every record is accounted for, and every killed stage is back."""
    deadline_s = time.monotonic() + _DRAIN_S
    wanted = len(run.sent) + len(run.warm_up)
    while time.monotonic() < deadline_s:
        collector.check()
        for watch in watches:
            watch.poll()
        back = all(watch.seen().sign for watch in watches)
        through = len(collector.ends) >= wanted and not _unfinished(collector)
        view.show(pulse.take())
        if back and through:
            return
        time.sleep(_POLL_S)


def _unfinished(collector: Collector) -> bool:
    owed = {end.flow_id for end in collector.ends if end.to_gateway}
    return not owed <= {each.flow_id for each in collector.fills if each.final}


def _owing(run: DemoRun) -> dict[str, float]:
    """Return what was reserved for each flow that has ended at the gateway."""
    finals = {each.flow_id for each in run.fills if each.final}
    return {
        end.flow_id: end.reserved
        for end in run.ends
        if end.reserved > 0.0 and end.flow_id in finals
    }
