"""A worker of the bench: `python -m pipeline.bench.worker LOGIC GUARANTEE PADDING STAGE...`.

The Faust apps of some stages in one process, as `pipeline.run.single` runs them, with a choice of
what they decide and what they guarantee.
"""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import faust

from pipeline.bench.forwarding import ForwardLogic
from pipeline.bench.guarantees import AtLeastOnceHost, TransactionalHost
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


class Guarantee(StrEnum):
    """How a record is written."""

    LOG = "log"
    """Exactly once by the output log: the product."""
    AT_LEAST_ONCE = "at-least-once"
    TRANSACTION = "transaction"


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
    made: dict[str, StageLogic[Any]] = {
        "strategic": StrategicLogic(),
        "tactical": TacticalLogic(),
        "risk": RiskLogic.of(settings),
        "execution": ExecutionLogic(),
    }
    return made[stage]


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
