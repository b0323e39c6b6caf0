"""`cascade control`: halt, reduce, isolate, force breakers; undo it; say what is in force."""

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from pipeline.cli.connection import connected_settings
from pipeline.control.latch import Latch
from pipeline.control.log import fold
from pipeline.control.scope import Scope
from pipeline.control.state import TradingState, TradingStateMachine
from pipeline.emergency.commands import Commander, CommandResult
from pipeline.errors import PipelineError, UsageError
from pipeline.events import EventBus
from pipeline.packets.events import EVERYTHING, ControlKind
from pipeline.settings import Settings, load_settings

__all__ = ["command"]


def _common(function: Callable[..., Any]) -> Callable[..., Any]:
    author = click.option(
        "--author", default="operator", show_default=True, help="Who gives the command."
    )
    reason = click.option("--reason", required=True, help="Why, for those who read the history.")
    wait = click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(min=0.0),
        default=5.0,
        show_default=True,
        help="Seconds to wait for the workers' acknowledgements; 0 waits for none.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return author(reason(wait(as_json(function))))


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


@command.command()
@_common
def bootstrap(author: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Allow trading for the first time; an empty control log means HALTED."""
    _give(ControlKind.BOOTSTRAP, "bootstrapped", author, reason, wait_s, as_json)


@command.command()
@_common
def halt(author: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Halt trading: workers of this machine by its latch at once, all by the control log.

    Where the broker cannot be reached the latch stays, and the exit code is 1.
    """
    latch = Latch.of(load_settings())
    latch.halt(f"halted by {author}: {reason}")
    try:
        result = _given(
            connected_settings(), ControlKind.HALT, author, reason, wait_s, after=latch.settle
        )
    except PipelineError as error:
        # Another halt may have settled meanwhile, and be lifted; this one is not.
        latch.halt(f"halted by {author}: {reason}")
        raise PipelineError(
            f"Halted on this machine alone, by {latch.path}; `cascade control resume --local`"
            f" lifts it. Others go on, since the control log was not written: {error}"
        ) from error
    _report(result, "halted", as_json)


@command.command()
@_common
@click.option("--lifts", type=click.IntRange(min=0), help="Epoch of the halt to lift; see status.")
@click.option("--local", is_flag=True, help="Lift what is latched on this machine alone.")
def resume(
    author: str, reason: str, wait_s: float, as_json: bool, lifts: int | None, local: bool
) -> None:
    """Lift the halt or the reduction that you name, by its epoch."""
    if local == (lifts is not None):
        raise click.UsageError("Expected either --lifts EPOCH or --local; `status` shows which.")
    if lifts is None:
        Latch.of(load_settings()).release()
        _say(as_json, "latch of this machine lifted", kind="RESUME", epoch=None)
        return
    _give(ControlKind.RESUME, "resumed", author, reason, wait_s, as_json, lifts_epoch=lifts)


@command.command()
@_common
def reduce(author: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Let only orders pass that reduce a position."""
    _give(ControlKind.REDUCE, "reducing", author, reason, wait_s, as_json)


@command.command()
@_scope_argument
@_common
def isolate(scope: str, author: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Fence SCOPE off; Kafka keeps the backlog of an isolated stage."""
    _give(ControlKind.ISOLATE, f"{scope} isolated", author, reason, wait_s, as_json, scope=scope)


@command.command()
@_scope_argument
@_common
def release(scope: str, author: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Take the fence around SCOPE down; what has expired meanwhile ends as expired."""
    _give(ControlKind.RELEASE, f"{scope} released", author, reason, wait_s, as_json, scope=scope)


@command.group()
def breaker() -> None:
    """Force the breaker of a stage's policy open, or reset it."""


_stage_argument = click.argument("stage")


@breaker.command("open")
@_stage_argument
@_common
def open_(stage: str, author: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Have STAGE hold every packet: its policy is not asked until a reset."""
    scope = _scope_of_policy(stage)
    said = f"breaker of {stage} forced open"
    _give(ControlKind.BREAKER_OPEN, said, author, reason, wait_s, as_json, scope=scope)


@breaker.command("reset")
@_stage_argument
@_common
def reset(stage: str, author: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Close the breaker of STAGE, whether it was forced open or tripped by itself."""
    scope = _scope_of_policy(stage)
    said = f"breaker of {stage} reset"
    _give(ControlKind.BREAKER_RESET, said, author, reason, wait_s, as_json, scope=scope)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Say whether trading is halted or reduced, what is fenced off, and what lifts it."""
    settings = connected_settings()
    machine = fold(settings)
    latched = Latch.of(settings).read()
    held = latched.holds(machine.resumed_epoch)
    state = TradingState.HALTED if held else machine.trading_state
    reason = machine.reason or (f"latched on this machine: {latched.reason}" if held else "")
    lines = [f"{state} at epoch {machine.epoch}" + (f": {reason}" if reason else "")]
    if machine.halt_epoch >= 0:
        lines.append(
            f"lift it by: cascade control resume --lifts {machine.halt_epoch} --reason ..."
        )
    elif held:
        lines.append("lift it by: cascade control resume --local --reason ...")
    if machine.reduce_epoch >= 0:
        lines.append(
            f"REDUCING since epoch {machine.reduce_epoch}; lift it by: cascade control resume"
            f" --lifts {machine.reduce_epoch} --reason ..."
        )
    fences = _fences(machine)
    lines += [
        f"{each['scope']} {each['kind'].lower()} since epoch {each['epoch']} by {each['author']}:"
        f" {each['reason']}"
        for each in fences
    ]
    _say(
        as_json,
        "\n".join(lines),
        trading_state=state.value,
        epoch=machine.epoch,
        halt_epoch=machine.halt_epoch,
        reduce_epoch=machine.reduce_epoch,
        reason=reason,
        fences=fences,
        latch={
            "trading_state": latched.trading_state.value,
            "epoch": latched.epoch,
            "local": latched.local,
            "holds": held,
        },
    )


def _fences(machine: TradingStateMachine) -> list[dict[str, Any]]:
    return [
        {
            "scope": str(fence.scope),
            "kind": fence.command.kind.value,
            "epoch": fence.epoch,
            "author": fence.command.author,
            "reason": fence.command.reason,
        }
        for fence in machine.fences.standing
    ]


def _scope_of_policy(stage: str) -> str:
    try:
        return str(Scope.parse(f"policy:{stage}"))
    except UsageError as error:
        raise click.UsageError(str(error)) from error


def _given(
    settings: Settings,
    kind: ControlKind,
    author: str,
    reason: str,
    wait_s: float,
    *,
    scope: str = EVERYTHING,
    lifts_epoch: int = -1,
    after: Callable[[int], None] | None = None,
) -> CommandResult:
    with EventBus(settings=settings) as bus, Commander(bus) as commander:
        return commander.give(
            kind,
            scope,
            author=author,
            reason=reason,
            lifts_epoch=lifts_epoch,
            timeout_s=wait_s,
            after=after,
        )


def _give(
    kind: ControlKind,
    said: str,
    author: str,
    reason: str,
    wait_s: float,
    as_json: bool,
    *,
    scope: str = EVERYTHING,
    lifts_epoch: int = -1,
) -> None:
    """Give a command, and report on it."""
    settings = connected_settings()
    result = _given(settings, kind, author, reason, wait_s, scope=scope, lifts_epoch=lifts_epoch)
    _report(result, said, as_json)


def _report(result: CommandResult, said: str, as_json: bool) -> None:
    """Print what came of a command; exit code 1 where a live worker has not acknowledged it."""
    text = f"{said} at epoch {result.epoch}"
    if result.waited_s > 0.0:
        text += f"; {result}"
    _say(
        as_json,
        text,
        kind=result.command.kind.value,
        scope=result.command.scope,
        epoch=result.epoch,
        command_id=result.command.command_id,
        in_force=result.in_force,
        latency_ms=result.latency_ms,
        missing=dict(result.missing),
        acknowledgements=[
            {
                "stage": each.stage,
                "worker": each.worker,
                "trading_state": each.trading_state.value,
                "isolated": each.isolated,
                "refusal": each.refusal,
            }
            for each in result.acknowledgements
        ],
    )
    if not result.in_force:
        sys.exit(1)


def _say(as_json: bool, text: str, **content: Any) -> None:
    click.echo(json.dumps(content) if as_json else text)
