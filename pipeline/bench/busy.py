"""The pipeline with a policy that trades all the time, and limits that let it: for halts.

Every stage, the gateway and the venue are the product's; only what tactical decides and the size of
risk's limits are not. Without orders on their way at the moment of a halt nothing would be shown.
"""

import sys

from pipeline.bench.contenders import Contender, Site
from pipeline.bench.worker import Decisions, Guarantee
from pipeline.run import WorkerSpec, worker_specs
from pipeline.run.workers import PAIRS

__all__ = ["TIMEOUT_MS", "busy"]

_PATIENT_S = 10.0

TIMEOUT_MS = 20_000
"""Deadline of the packets, so that a backlog does not expire before it comes to orders."""


def busy() -> Contender:
    """Return the contender: the four stages in two processes, and the gateway."""

    def workers(site: Site) -> list[WorkerSpec]:
        del site
        command = (sys.executable, "-m", "pipeline.bench.worker", Decisions.BUSY, Guarantee.LOG)
        stages = [WorkerSpec("-".join(pair), pair, (*command, "0", *pair)) for pair in PAIRS]
        return [*stages, *worker_specs(["gateway"])]

    return Contender(
        "busy",
        "the pipeline, trading all the time",
        workers,
        # At twice the rate a starved machine may miss the echo of the control log, and halt by
        # itself; what is measured is the command.
        overrides={"cascade_timeout_ms": TIMEOUT_MS, "control_echo_timeout_s": _PATIENT_S},
    )
