"""`cascade control status`: what is in force, and what lifts it."""

import time
from typing import Any

import click

from pipeline.audit.reading import newest_progress
from pipeline.cli.connection import connected_settings
from pipeline.cli.control_giving import say
from pipeline.control.audit_guard import behind
from pipeline.control.fences import Fence
from pipeline.control.latch import Latch, Latched
from pipeline.control.log import fold
from pipeline.control.state import TradingStateMachine, strictest
from pipeline.control.trips import Trip
from pipeline.settings import Settings

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
    audit = _audit(settings)
    lines = [f"{state} at epoch {machine.epoch}" + (f": {reason}" if reason else "")]
    say(
        as_json,
        "\n".join(
            [
                *lines,
                *_ways_out(machine, latched, held=held),
                *_without_audit(audit),
                *_forgeries(machine, signed),
            ]
        ),
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
        audit=audit,
    )


def _audit(settings: Settings) -> dict[str, Any] | None:
    """Return how far the auditor is behind; None where nobody minds."""
    if settings.audit_max_lag_s <= 0.0:
        return None
    word = newest_progress(settings)
    behind_s = None if word is None else behind(word, time.time_ns() // 1000)
    return {
        "max_lag_s": settings.audit_max_lag_s,
        "behind_s": behind_s,
        "halts": behind_s is None or behind_s >= settings.audit_max_lag_s,
    }


def _without_audit(audit: dict[str, Any] | None) -> list[str]:
    if audit is None or not audit["halts"]:
        return []
    behind_s, most_s = audit["behind_s"], audit["max_lag_s"]
    said = "has not said a word" if behind_s is None else f"is {behind_s:.1f} s behind, or silent"
    return [
        (
            f"execution and gateway are HALTED: the auditor {said}, {most_s:g} s allowed"
            " (CASCADE_AUDIT_MAX_LAG_S); they go on by themselves once it has caught up"
        )
    ]


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
