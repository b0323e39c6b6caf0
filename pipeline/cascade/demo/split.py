"""`--split`: a decision coordinated across two processes, then without one of them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline.cascade import MARLCoordinationEngine
from pipeline.cascade.coordination import CoordinationResult
from pipeline.cascade.demo.checks import Checks, wait_for
from pipeline.coordination.vocabulary import CoordinationState
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.run.child import bound
from pipeline.run.workers import child_environment
from pipeline.settings import Settings

__all__ = ["SYSTEMS", "show_split"]

SYSTEMS = ("tactical", "risk")
_LIMIT_S = 4.0
_START_S = 40.0
_PROPOSAL = {"signal": "buy", "strength": 0.8}


@contextmanager
def _peer(settings: Settings, system_id: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that has one system registered, until the block ends."""
    process = subprocess.Popen(
        bound(
            [
                *(sys.executable, "-m", "pipeline.cascade.coordination.peer", system_id),
                *("--handler", f"pipeline.cascade.demo.opinions:{system_id}", "--until-eof"),
            ]
        ),
        env=child_environment(settings, os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_ready(process: subprocess.Popen[str], system_id: str) -> None:
    line = process.stdout.readline() if process.stdout else ""
    if line.strip() != f"ready {system_id}":
        raise PipelineError(f"Expected the process of {system_id} to come up, did not: see above")


def show_split(settings: Settings, checks: Checks, *, broken: bool) -> None:
    """Coordinate across two processes, kill one, and coordinate again.

    Args:
        settings: Broker and namespace, its topics made.
        checks: Where to note what is seen.
        broken: Kill one before the first decision too, so that it cannot succeed.
    """
    with ExitStack() as stack:
        peers = {name: stack.enter_context(_peer(settings, name)) for name in SYSTEMS}
        for name, process in peers.items():
            _wait_ready(process, name)
        bus = stack.enter_context(EventBus(settings=settings))
        engine = stack.enter_context(MARLCoordinationEngine(bus))
        there = engine.wait_for(SYSTEMS, _START_S, answering=True)
        checks.equal("both systems live", True, there)
        if broken:
            peers["tactical"].kill()
        _show_together(engine, peers, checks)
        _show_kill(engine, peers["risk"], checks)


def _ask(engine: MARLCoordinationEngine) -> CoordinationResult:
    return engine.coordinate_decision(
        requesting_system="strategic",
        decision_type="entry_signal",
        decision_data=_PROPOSAL,
        affected_systems=SYSTEMS,
        quorum=len(SYSTEMS),
    )


def _show_together(
    engine: MARLCoordinationEngine, peers: dict[str, subprocess.Popen[str]], checks: Checks
) -> None:
    result = _ask(engine)
    pids = {name: process.pid for name, process in peers.items()}
    answered = {name: each.details.get("process") for name, each in result.answers.items()}
    checks.equal("processes that answered", pids, answered)
    checks.holds(
        "decision across processes",
        "BUY, with success",
        f"{result.decision}, {result.reason}",
        result.success and result.decision == "BUY",
    )


def _show_kill(engine: MARLCoordinationEngine, risk: subprocess.Popen[str], checks: Checks) -> None:
    killed_s = time.monotonic()
    risk.kill()
    gone = wait_for(
        lambda: engine.get_system_states()["risk"].state is CoordinationState.DISCONNECTED,
        2 * _LIMIT_S,
    )
    away_s = time.monotonic() - killed_s
    checks.holds(
        "risk after its process was killed (SIGKILL)",
        f"DISCONNECTED within {_LIMIT_S:g} s",
        f"DISCONNECTED after {away_s:.1f} s" if gone else f"live after {away_s:.1f} s",
        gone and away_s <= _LIMIT_S,
    )
    result = _ask(engine)
    checks.holds(
        "next decision",
        "failure that names risk, and HOLD",
        f"{result.failure}, {result.decision}, missing {result.missing}",
        not result.success and result.decision == "HOLD" and "risk" in result.missing,
    )
