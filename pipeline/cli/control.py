"""`cascade control`: halt, reduce, isolate, force breakers; undo it; say what is in force."""

import sys

import click

from pipeline.cli.connection import connected_settings
from pipeline.cli.control_giving import Order, common, give, given, report, say
from pipeline.cli.control_status import status
from pipeline.control.latch import Latch
from pipeline.control.log import fold
from pipeline.control.out_of_band import LocalAnswer, halt_here
from pipeline.control.scope import Scope
from pipeline.control.trips import TRIP_KINDS, Trip
from pipeline.errors import PipelineError, UsageError
from pipeline.packets.events import ControlKind
from pipeline.settings import load_settings

__all__ = ["command"]


def _scope(context: click.Context, parameter: click.Parameter, value: str) -> str:
    del context, parameter
    try:
        return str(Scope.parse(value))
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


_scope_argument = click.argument("scope", callback=_scope)


@click.group("control")
def command() -> None:
    """Halt, reduce, isolate, and undo it; say what is in force.

    A command's result is what the live workers have acknowledged: where one has not in time, the
    exit code is 1. SCOPE is stage:NAME, symbol:NAME, policy:STAGE or source:NAME.
    """


command.add_command(status)


@command.command()
@common
def bootstrap(order: Order) -> None:
    """Allow trading for the first time; an empty control log means HALTED."""
    give(ControlKind.BOOTSTRAP, "bootstrapped", order)


@command.command()
@click.option("--local", is_flag=True, help="Workers of this machine alone; needs no broker.")
@common
def halt(order: Order, local: bool) -> None:
    """Halt trading: workers of this machine by its latch at once, all by the control log.

    Where the broker cannot be reached the latch stays, and the exit code is 1; with --local it is
    not even tried. A worker that finds the broker again tells all others.
    """
    if local:
        _halt_here(order)
        return
    latch = Latch.of(load_settings())
    latch.halt(order.reason, order.author)
    try:
        result = given(connected_settings(), ControlKind.HALT, order, after=latch.settle)
    except PipelineError as error:
        # Another halt may have settled meanwhile, and be lifted; this one is not.
        halt_id = latch.halt(order.reason, order.author)
        raise PipelineError(
            f"Halted on this machine alone, by {latch.path}; a worker that reaches the broker"
            f" again tells all, until then `cascade control resume --local {halt_id}` lifts it."
            f" Others go on, since the control log was not written: {error}"
        ) from error
    report([(result, "halted")], order)


def _halt_here(order: Order) -> None:
    settings = load_settings()
    answers = halt_here(settings, order.author, order.reason)
    halt_id = Latch.of(settings).read().halt_id
    obeyed = all(each.trading_state == "HALTED" for each in answers)
    lines = [f"halted on this machine, local halt {halt_id}; {len(answers)} worker processes"]
    say(
        order.as_json,
        "\n".join([*lines, *map(_line, answers)]),
        kind="HALT",
        local=True,
        halt_id=halt_id,
        in_force=obeyed,
        workers=[
            {
                "pid": each.pid,
                "stages": list(each.stages),
                "trading_state": each.trading_state,
                "error": each.error,
            }
            for each in answers
        ],
    )
    if not obeyed:
        sys.exit(1)


def _line(each: LocalAnswer) -> str:
    stages = ", ".join(each.stages)
    if each.trading_state:
        return f"process {each.pid} ({stages}): {each.trading_state}"
    return f"process {each.pid} ({stages}) has NOT answered: {each.error}"


@command.command()
@click.option("--lifts", type=click.IntRange(min=0), help="Epoch of the halt to lift; see status.")
@click.option("--local", metavar="ID", help="Lift this halt of this machine alone; see status.")
@common
def resume(order: Order, lifts: int | None, local: str | None) -> None:
    """Lift the halt or the reduction that you name: by its epoch, or a local one by its id.

    What has tripped is reset, not resumed.
    """
    if (local is None) == (lifts is None):
        raise click.UsageError("Expected either --lifts EPOCH or --local ID; `status` shows which.")
    if lifts is not None:
        give(ControlKind.RESUME, "resumed", order, lifts_epoch=lifts)
        return
    settings = load_settings()
    if order.author not in settings.control_authors:
        names = ", ".join(sorted(settings.control_authors)) or "nobody"
        raise UsageError(
            f"Expected an author allowed to (control_authors: {names}), was {order.author}"
        )
    Latch.of(settings).release(str(local))
    say(order.as_json, f"local halt {local} lifted", kind="RESUME", halt_id=local, epoch=None)


@command.command()
@common
def reduce(order: Order) -> None:
    """Let only orders pass that reduce a position."""
    give(ControlKind.REDUCE, "reducing", order)


@command.command()
@click.argument("what")
@common
def reset(order: Order, what: str) -> None:
    """Reset WHAT has tripped: throttle, reconciliation or versions, or one as throttle:SYMBOL.

    Only for authors who may resume; a halt that stands beside is lifted by `resume`.
    """
    settings = connected_settings()
    trips = _tripped(fold(settings).trips.standing, what)
    report(
        [
            (
                given(
                    settings, ControlKind.RESET, order,
                    scope=str(trip.scope), lifts_epoch=trip.epoch,
                ),
                f"{trip.scope} reset",
            )
            for trip in trips
        ],
        order,
    )  # fmt: skip


def _tripped(standing: tuple[Trip, ...], what: str) -> list[Trip]:
    """Return the trips that `what` names.

    Raises:
        UsageError: If it names none.
    """
    if what not in TRIP_KINDS:
        what = str(Scope.parse(what))
    found = [each for each in standing if what in (str(each.scope), each.scope.kind)]
    if not found:
        names = ", ".join(str(each.scope) for each in standing) or "nothing"
        raise UsageError(f"Expected something that has tripped ({names}), was {what}")
    return found


@command.command()
@_scope_argument
@common
def isolate(order: Order, scope: str) -> None:
    """Fence SCOPE off; Kafka keeps the backlog of an isolated stage."""
    give(ControlKind.ISOLATE, f"{scope} isolated", order, scope=scope)


@command.command()
@_scope_argument
@common
def release(order: Order, scope: str) -> None:
    """Take the fence around SCOPE down; what has expired meanwhile ends as expired."""
    give(ControlKind.RELEASE, f"{scope} released", order, scope=scope)


@command.group()
def breaker() -> None:
    """Force the breaker of a stage's policy open, or reset it."""


_stage_argument = click.argument("stage")


@breaker.command("open")
@_stage_argument
@common
def open_(order: Order, stage: str) -> None:
    """Have STAGE hold every packet: its policy is not asked until a reset."""
    scope = _scope_of_policy(stage)
    give(ControlKind.BREAKER_OPEN, f"breaker of {stage} forced open", order, scope=scope)


@breaker.command("reset")
@_stage_argument
@common
def reset_breaker(order: Order, stage: str) -> None:
    """Close the breaker of STAGE, whether it was forced open or tripped by itself."""
    scope = _scope_of_policy(stage)
    give(ControlKind.BREAKER_RESET, f"breaker of {stage} reset", order, scope=scope)


def _scope_of_policy(stage: str) -> str:
    try:
        return str(Scope.parse(f"policy:{stage}"))
    except UsageError as error:
        raise click.UsageError(str(error)) from error
