"""A worker of the bench: `python -m pipeline.bench.worker LOGIC GUARANTEE PADDING STAGE...`.

The Faust apps of some stages in one process, as `pipeline.run.single` runs them, with a choice of
what they decide and what they guarantee.
"""

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import faust

from pipeline.bench.forwarding import ForwardLogic
from pipeline.bench.guarantees import AtLeastOnceHost, TransactionalHost
from pipeline.cascade.manager.registered import RegisteredLogic
from pipeline.policies.risk.settings import RiskSettings
from pipeline.settings import Settings, load_settings
from pipeline.stages.app import LogApp, stage_app
from pipeline.stages.contract import StageLogic
from pipeline.stages.execution_logic import ExecutionLogic
from pipeline.stages.risk_logic import RiskLogic
from pipeline.stages.strategic_logic import StrategicLogic
from pipeline.stages.tactical_logic import TacticalLogic
from pipeline.transport.host import LogHost

__all__ = ["Decisions", "Guarantee", "bench_app", "main"]


class Decisions(StrEnum):
    """What the stages decide."""

    REAL = "real"
    FORWARD = "forward"
    BUSY = "busy"
    """Real, but tactical trades all the time, and risk's limits let it."""


class Guarantee(StrEnum):
    """How a record is written."""

    LOG = "log"
    """Exactly once by the output log: the product."""
    AT_LEAST_ONCE = "at-least-once"
    TRANSACTION = "transaction"


_EVERY = 5
_LONG_US = 3_600_000_000
_MUCH = 1000.0
_MANY = 1_000_000

_HOSTS: dict[Guarantee, type[LogHost]] = {
    Guarantee.LOG: LogHost,
    Guarantee.AT_LEAST_ONCE: AtLeastOnceHost,
    Guarantee.TRANSACTION: TransactionalHost,
}


def bench_app(
    stage: str, decisions: Decisions, guarantee: Guarantee, settings: Settings, padding: int = 0
) -> LogApp:
    """Return the Faust app of a stage, as the product makes it but for what is asked.

    Args:
        stage: Which stage.
        decisions: What it decides.
        guarantee: How it writes.
        settings: Settings.
        padding: Bytes that forwarding stages add to each packet.
    """
    logic = _logic(stage, decisions, settings, padding)
    return stage_app(stage, logic, settings, make_host=_HOSTS[guarantee])


def _logic(stage: str, decisions: Decisions, settings: Settings, padding: int) -> StageLogic[Any]:
    if decisions is Decisions.FORWARD:
        return ForwardLogic(stage, padding)
    trades = decisions is Decisions.BUSY
    made: dict[str, StageLogic[Any]] = {
        "strategic": StrategicLogic(),
        "tactical": _trading() if trades else TacticalLogic(),
        "risk": RiskLogic(_generous(settings)) if trades else RiskLogic.of(settings),
        "execution": ExecutionLogic(),
    }
    return made[stage]


def _trading() -> StageLogic[Any]:
    return RegisteredLogic(
        TacticalLogic(), _in_turns, name="bench.busy", version="1", timeout_s=1.0
    )


def _in_turns(packet: Any) -> Mapping[str, float]:
    """Buy and sell in turns, on every fifth packet of a symbol."""
    if packet.envelope.sequence % _EVERY:
        return {"HOLD": 1.0}
    buys = packet.envelope.sequence // _EVERY % 2 == 0
    return {"BUY" if buys else "SELL": 0.9, "HOLD": 0.1}


def _generous(settings: Settings) -> RiskSettings:
    """Return limits that are never reached: a backlog is old, and its orders are many."""
    return RiskSettings(
        accounts=((settings.account, settings.initial_equity),),
        maximum_event_age_us=_LONG_US, maximum_acceptance_age_us=_LONG_US,
        maximum_symbol=_MUCH, maximum_gross=_MUCH, maximum_net=_MUCH, maximum_value_at_risk=_MUCH,
        maximum_stop_risk=_MUCH, maximum_concentration=_MUCH, maximum_volume_share=_MUCH,
        maximum_open_orders=_MANY, throttle_orders=_MANY,
    )  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Run the worker until it is told to stop."""
    decisions, guarantee, padding, *stages = arguments
    settings = load_settings()
    apps = [
        bench_app(stage, Decisions(decisions), Guarantee(guarantee), settings, int(padding))
        for stage in stages
    ]
    for app in apps:
        app.finalize()
    first, *others = apps
    worker = faust.Worker(first, *others, loglevel=settings.log_level.lower(), quiet=True)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1:])
