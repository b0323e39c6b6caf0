"""`cascade control`: halt, resume and inspect trading."""

import json
from collections.abc import Callable
from typing import Any

import click

from pipeline.cli.connection import connected_settings
from pipeline.clock import WallClock
from pipeline.control.latch import Latch
from pipeline.control.log import fold
from pipeline.control.state import TradingState
from pipeline.control.writer import ControlWriter, new_command
from pipeline.errors import PipelineError
from pipeline.packets.events import ControlKind
from pipeline.settings import Settings, load_settings

__all__ = ["command"]


def _common(function: Callable[..., Any]) -> Callable[..., Any]:
    author = click.option(
        "--author", default="operator", show_default=True, help="Who gives the command."
    )
    reason = click.option("--reason", required=True, help="Why, for those who read the history.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return author(reason(as_json(function)))


@click.group("control")
def command() -> None:
    """Halt, resume and inspect trading."""


@command.command()
@_common
def bootstrap(author: str, reason: str, as_json: bool) -> None:
    """Allow trading for the first time; an empty control log means HALTED."""
    settings = connected_settings()
    epoch = _issue(settings, ControlKind.BOOTSTRAP, author, reason)
    _say(as_json, f"bootstrapped at epoch {epoch}", kind="BOOTSTRAP", epoch=epoch)


@command.command()
@_common
def halt(author: str, reason: str, as_json: bool) -> None:
    """Halt trading: workers of this machine by its latch at once, all by the control log.

    Where the broker cannot be reached the latch stays, and the exit code is 1.
    """
    latch = Latch.of(load_settings())
    latch.halt(f"halted by {author}: {reason}")
    try:
        epoch = _issue(connected_settings(), ControlKind.HALT, author, reason)
    except PipelineError as error:
        # Another halt may have settled meanwhile, and be lifted; this one is not.
        latch.halt(f"halted by {author}: {reason}")
        raise PipelineError(
            f"Halted on this machine alone, by {latch.path}; `cascade control resume --local`"
            f" lifts it. Others go on, since the control log was not written: {error}"
        ) from error
    latch.settle(epoch)
    _say(as_json, f"halted at epoch {epoch}", kind="HALT", epoch=epoch)


@command.command()
@_common
@click.option("--lifts", type=click.IntRange(min=0), help="Epoch of the halt to lift; see status.")
@click.option("--local", is_flag=True, help="Lift what is latched on this machine alone.")
def resume(author: str, reason: str, as_json: bool, lifts: int | None, local: bool) -> None:
    """Lift the halt that you name, by its epoch."""
    if local == (lifts is not None):
        raise click.UsageError("Expected either --lifts EPOCH or --local; `status` shows which.")
    if lifts is None:
        Latch.of(load_settings()).release()
        _say(as_json, "latch of this machine lifted", kind="RESUME", epoch=None)
        return
    epoch = _issue(connected_settings(), ControlKind.RESUME, author, reason, lifts)
    _say(as_json, f"resumed at epoch {epoch}", kind="RESUME", epoch=epoch)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Say whether trading is halted, why, and which epoch a resume must name."""
    settings = connected_settings()
    machine = fold(settings)
    latched = Latch.of(settings).read()
    held = latched.holds(machine.resumed_epoch)
    state = TradingState.HALTED if held else machine.trading_state
    reason = machine.reason or (f"latched on this machine: {latched.reason}" if held else "")
    text = f"{state} at epoch {machine.epoch}" + (f": {reason}" if reason else "")
    if machine.halt_epoch >= 0:
        text += f"\nlift it by: cascade control resume --lifts {machine.halt_epoch} --reason ..."
    elif held:
        text += "\nlift it by: cascade control resume --local --reason ..."
    _say(
        as_json,
        text,
        trading_state=state.value,
        epoch=machine.epoch,
        halt_epoch=machine.halt_epoch,
        reason=reason,
        latch={
            "trading_state": latched.trading_state.value,
            "epoch": latched.epoch,
            "local": latched.local,
            "holds": held,
        },
    )


def _issue(
    settings: Settings, kind: ControlKind, author: str, reason: str, lifts_epoch: int = -1
) -> int:
    given = new_command(
        kind, author=author, reason=reason, clock=WallClock(), lifts_epoch=lifts_epoch
    )
    return ControlWriter(settings).issue(given)


def _say(as_json: bool, text: str, **content: Any) -> None:
    click.echo(json.dumps(content) if as_json else text)
