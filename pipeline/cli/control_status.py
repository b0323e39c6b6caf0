"""`cascade control status`: what is in force, and what lifts it."""

from typing import Any

import click

from pipeline.cli.connection import connected_settings
from pipeline.cli.control_giving import say
from pipeline.control.fences import Fence
from pipeline.control.latch import Latch, Latched
from pipeline.control.log import fold
from pipeline.control.state import TradingStateMachine, strictest
from pipeline.control.trips import Trip

__all__ = ["status"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Say whether trading is halted or reduced, what is fenced off, and what lifts it."""
    settings = connected_settings()
    machine = fold(settings)
    latched = Latch.of(settings).read()
    held = latched.holds(machine.lifted_epoch)
    state = machine.trading_state
    reason = machine.reason
    if held:
        state = strictest(state, latched.trading_state)
        reason = reason or f"latched on this machine: {latched.reason}"
    signed = settings.keys is not None
    lines = [f"{state} at epoch {machine.epoch}" + (f": {reason}" if reason else "")]
    say(
        as_json,
        "\n".join([*lines, *_ways_out(machine, latched, held=held), *_forgeries(machine, signed)]),
        trading_state=state.value,
        epoch=machine.epoch,
        halt_epoch=machine.halt_epoch,
        reduce_epoch=machine.reduce_epoch,
        reason=reason,
        signed=signed,
        fences=[_described(each) for each in machine.fences.standing],
        trips=[_described(each) for each in machine.trips.standing],
        latch={
            "trading_state": latched.trading_state.value,
            "epoch": latched.epoch,
            "local": latched.local,
            "halt_id": latched.halt_id,
            "author": latched.author,
            "holds": held,
        },
    )


def _forgeries(machine: TradingStateMachine, signed: bool) -> list[str]:
    """Say what commands are worth without a signature, and how many were refused."""
    if not signed:
        return [
            (
                "commands and plans are not signed: whoever may write to the topics gives them;"
                " `cascade keys new` and CASCADE_KEYS change that"
            )
        ]
    count = len(machine.refused)
    return [f"commands and plans must be signed; {count} refused so far"] if count else []


def _ways_out(machine: TradingStateMachine, latched: Latched, *, held: bool) -> list[str]:
    lines = []
    resume = "cascade control resume"
    if machine.halt_epoch >= 0:
        lines.append(f"lift it by: {resume} --lifts {machine.halt_epoch} --reason ...")
    if latched.local:
        lines.append(
            f"halted on this machine by {latched.author or 'nobody'}: {latched.reason};"
            f" lift it by: {resume} --local {latched.halt_id} --reason ..."
        )
    elif held and latched.epoch > machine.epoch:
        lines.append(
            f"latched at epoch {latched.epoch}, which this control log does not have: it was lost"
            " or is another one. Find out why; a HALT and its RESUME at a later epoch end it"
        )
    if machine.reduce_epoch >= 0:
        lines.append(
            f"REDUCING since epoch {machine.reduce_epoch}; lift it by: {resume}"
            f" --lifts {machine.reduce_epoch} --reason ..."
        )
    lines += [
        f"{_line(each)}; reset it by: cascade control reset {each.scope} --author ... --reason ..."
        for each in machine.trips.standing
    ]
    return [*lines, *map(_line, machine.fences.standing)]


def _line(each: Fence | Trip) -> str:
    command = each.command
    done = command.kind.lower()
    return f"{each.scope} {done} since epoch {each.epoch} by {command.author}: {command.reason}"


def _described(each: Fence | Trip) -> dict[str, Any]:
    return {
        "scope": str(each.scope),
        "kind": each.command.kind.value,
        "epoch": each.epoch,
        "author": each.command.author,
        "reason": each.command.reason,
    }
