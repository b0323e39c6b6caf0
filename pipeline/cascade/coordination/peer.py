"""A system in a process of its own: `python -m pipeline.cascade.coordination.peer SYSTEM ...`.

It announces the system, prints `ready SYSTEM` once others can ask it, and answers until it is
told to stop (SIGTERM, SIGINT, or the end of its standard input with `--until-eof`). Broker and
namespace are those of the settings. What it answers is fixed, or a handler of yours:

    python -m pipeline.cascade.coordination.peer tactical --decision BUY --confidence 0.8
    python -m pipeline.cascade.coordination.peer risk --handler my_package.risk:answer

`run_peer` is the same from Python.
"""

import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import click
import msgspec

from pipeline.cascade.coordination.engine import MARLCoordinationEngine
from pipeline.coordination.answers import CoordinationRequest, as_answer
from pipeline.coordination.systems import Handler
from pipeline.errors import PipelineError, UsageError

__all__ = ["fixed", "load_handler", "run_peer"]

_READY_S = 15.0
_LOOK_S = 0.2


def run_peer(
    system_id: str,
    handler: Handler | None,
    stop: threading.Event,
    *,
    name: str = "",
    capabilities: Iterable[str] = (),
    configuration: Mapping[str, Any] | None = None,
    engine: MARLCoordinationEngine | None = None,
) -> None:
    """Announce a system and answer for it until `stop` is set; then say farewell.

    Args:
        system_id: The system.
        handler: Answers its requests; None: it is announced, and does not answer.
        stop: Set it to end.
        name: Its name, for people.
        capabilities: What it can do.
        configuration: How it is set up.
        engine: Through which engine; None: one of its own.

    Raises:
        BrokerUnavailable: If no broker answers in time.
    """
    with engine or MARLCoordinationEngine() as joined:
        joined.register_marl_system(system_id, name or system_id, capabilities, configuration)
        if handler is not None:
            joined.on_request(system_id, handler)
        if joined.wait_for([system_id], _READY_S, answering=handler is not None):
            click.echo(f"ready {system_id}")
        while not stop.wait(_LOOK_S):
            pass


def fixed(answer: Mapping[str, Any]) -> Handler:
    """Return a handler that always gives the same answer, which has the fields of `Answer`.

    Raises:
        InvalidPacket: If it is no answer.
    """
    found = as_answer(answer)

    def handler(request: CoordinationRequest) -> Any:
        del request
        return found

    return handler


def load_handler(name: str) -> Handler:
    """Return the function `module:function`.

    Raises:
        UsageError: If there is none.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"Expected a handler module:function, was {name!r}: {error}") from error
    if not callable(found):
        raise UsageError(f"Expected a function at {name}, was {found!r}")
    return found  # type: ignore[no-any-return]  # callable is all that can be known of it


@click.command("peer")
@click.argument("system_id")
@click.option("--name", default="", help="Its name, for people.")
@click.option("--capability", "capabilities", multiple=True, help="What it can do; repeatable.")
@click.option("--decision", help="Always answer so, e.g. BUY, or APPROVE.")
@click.option("--confidence", type=click.FloatRange(0, 1), default=1.0, show_default=True)
@click.option("--terms", default="{}", help='Terms of the answer as JSON, e.g. {"quantity": 5}.')
@click.option("--handler", "handler_name", help="Answer by a function, module:function.")
@click.option("--until-eof", is_flag=True, help="Also stop when standard input ends.")
def main(
    system_id: str,
    name: str,
    capabilities: tuple[str, ...],
    decision: str | None,
    confidence: float,
    terms: str,
    handler_name: str | None,
    until_eof: bool,  # noqa: FBT001  # click passes flags by name
) -> None:
    """Run a system that answers coordination requests, until it is told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if until_eof:
        threading.Thread(target=_stop_at_end, args=(stop,), daemon=True).start()
    handler: Handler | None = None
    try:
        if handler_name:
            handler = load_handler(handler_name)
        elif decision:
            answer = {"decision": decision, "confidence": confidence}
            handler = fixed({**answer, "terms": msgspec.json.decode(terms)})
        run_peer(system_id, handler, stop, name=name, capabilities=capabilities)
    except (PipelineError, msgspec.DecodeError) as error:
        raise click.ClickException(str(error)) from error


def _stop_at_end(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


if __name__ == "__main__":
    main()
