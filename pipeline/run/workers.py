"""Which worker processes a run consists of, and what they are told."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.gateway.worker import GATEWAY_LOG
from pipeline.settings import Settings, nested_variables, without_nested, without_secrets
from pipeline.stages.routes import ROUTES
from pipeline.transport.journal import LogSpec

__all__ = ["STAGES", "WATCHERS", "WorkerSpec", "child_environment", "log_specs", "worker_specs"]

GATEWAY = "gateway"
STAGES = (*ROUTES, GATEWAY)
"""What `cascade run` starts, in the order of the flow."""

SINGLE = "stages"
"""Name of the worker that runs the four stages in one process."""

EMERGENCY = "emergency"
"""Name of the worker that detects emergencies and carries recovery plans out."""

WATCHERS = (("monitor", "pipeline.watch.monitor"), ("auditor", "pipeline.watch.audit"))
"""Workers that watch the path, none of them in it: (name, module of the Faust app)."""

PAIRS = (("strategic", "tactical"), ("risk", "execution"))
"""Stages that share a process where two processes run the four."""

_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error"}
# Two workers on two cores gain nothing from more threads inside numpy, and lose by them.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker process.

    Attributes:
        name: Name, also of its log file.
        stages: Stages that it runs.
        command: Program and arguments.
        standby: Program and arguments of a standby of it; as `command` where there are none.
    """

    name: str
    stages: tuple[str, ...]
    command: tuple[str, ...]
    standby: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """Whose credentials it takes: its stage's, or its own name's where it has no stage."""
        return "-".join(self.stages) or self.name.partition("-standby-")[0]


def log_specs() -> dict[str, LogSpec]:
    """Return the log of each stage and of the gateway."""
    return {**{name: route.spec for name, route in ROUTES.items()}, GATEWAY: GATEWAY_LOG}


def worker_specs(
    stages: Sequence[str] = (),
    *,
    single: bool = False,
    paired: bool = False,
    workers: Mapping[str, int] | None = None,
    standby: bool = False,
    emergency: bool = False,
    watch: bool = False,
    log_level: str = "INFO",
) -> list[WorkerSpec]:
    """Return the worker processes of a run.

    Args:
        stages: Which stages; all and the gateway where empty.
        single: Run the four stages in one process; the gateway keeps its own.
        paired: Run them in two processes, strategic with tactical and risk with execution.
        workers: How many workers of a stage, one where it is not named.
        standby: One more worker of each; where a stage's log has one partition, it stands by.
        emergency: The emergency worker too.
        watch: The workers that watch, too.
        log_level: Level of the workers' logs.

    Raises:
        UsageError: An unknown stage, or counts that do not go together.
    """
    chosen = [name for name in STAGES if name in stages or not stages]
    counts = dict(workers or {})
    for name in (*stages, *counts):
        if name not in STAGES:
            raise UsageError(f"Expected a stage of {', '.join(STAGES)}, was {name!r}")
    shared = single or paired
    if shared and (counts or standby or single == paired or set(ROUTES) - set(chosen)):
        raise UsageError(
            "Expected --single or --paired alone, without --workers and --standby, and with all"
            " four stages: they share processes"
        )
    level = _LEVELS.get(log_level, "info")
    specs: list[WorkerSpec] = []
    if shared:
        for together in (tuple(ROUTES),) if single else PAIRS:
            name = SINGLE if single else "-".join(together)
            command = (sys.executable, "-m", "pipeline.run.single", *together)
            specs.append(WorkerSpec(name, together, command))
        chosen = [name for name in chosen if name == GATEWAY]
    for name in chosen:
        specs.extend(_workers_of(name, counts.get(name, 1) + int(standby), level))
    if emergency:
        specs.append(WorkerSpec(EMERGENCY, (), _worker_command("pipeline.emergency", level)))
    if watch:
        specs += (WorkerSpec(name, (), _worker_command(module, level)) for name, module in WATCHERS)
    return specs


def _workers_of(stage: str, count: int, level: str) -> list[WorkerSpec]:
    if count < 1:
        raise UsageError(f"Expected at least 1 worker of {stage}, was {count}")
    module = "pipeline.gateway" if stage == GATEWAY else f"pipeline.stages.{stage}"
    command = _worker_command(module, level)
    names = [stage] if count == 1 else [f"{stage}-{number}" for number in range(1, count + 1)]
    return [WorkerSpec(name, (stage,), command) for name in names]


def _worker_command(module: str, level: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "faust", "-A", module, "worker", "-l", level)


def child_environment(
    settings: Settings, inherited: Mapping[str, str], role: str = ""
) -> dict[str, str]:
    """Return the environment of a worker, so that it finds the settings of this process.

    Values are handed on one by one; Kafka properties and contacts, which may be secret, come from
    the same environment and files as here. A process of another role gets no secret of this one
    that its own credentials hold.

    Args:
        settings: The settings.
        inherited: Environment of this process.
        role: The worker's role; that of this process where it is empty.

    Raises:
        ConfigurationError: If there are credentials, and none for that role.
    """
    environment = {**without_nested(inherited), **_ONE_THREAD, "PYTHONUNBUFFERED": "1"}
    environment |= nested_variables(settings)
    if role and settings.credentials is not None:
        environment = without_secrets(environment, settings.credentials, role)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name == "signing_key" or value is None:  # it belongs to this process
            continue
        if name == "role":
            value = role or value
        elif isinstance(value, Path):
            value = value.absolute()
        elif not isinstance(value, str | int | float):
            continue
        variable = name.upper()
        prefix = "" if variable.startswith("CASCADE_") else "CASCADE_"
        environment[prefix + variable] = str(value)
    return environment
