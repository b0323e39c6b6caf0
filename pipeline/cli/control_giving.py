"""How `cascade control` gives a command and reports on it."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from pipeline.cli.connection import connected_settings
from pipeline.control.acknowledgement import Acknowledgement
from pipeline.emergency.commands import Commander, CommandResult
from pipeline.events import EventBus
from pipeline.packets.events import EVERYTHING, ControlKind
from pipeline.settings import Settings

__all__ = ["Order", "common", "give", "given", "report", "say"]

_DEFAULT_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """What all commands that change something take.

    Attributes:
        author: Who gives it.
        reason: Why.
        wait_s: Seconds to wait for acknowledgements.
        as_json: Whether to print JSON.
    """

    author: str
    reason: str
    wait_s: float
    as_json: bool


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of an `Order`, and the order as its argument `order`."""

    def with_order(author: str, reason: str, wait_s: float, as_json: bool, **given: Any) -> None:
        function(order=Order(author, reason, wait_s, as_json), **given)

    with_order.__name__, with_order.__doc__ = function.__name__, function.__doc__
    # Options that the function has already.
    with_order.__click_params__ = list(getattr(function, "__click_params__", []))  # type: ignore[attr-defined]
    decorators = (
        click.option(
            "--author", default="operator", show_default=True, help="Who gives the command."
        ),
        click.option("--reason", required=True, help="Why, for those who read the history."),
        click.option(
            "--wait",
            "wait_s",
            type=click.FloatRange(min=0.0),
            is_flag=False,
            flag_value=_DEFAULT_WAIT_S,
            default=_DEFAULT_WAIT_S,
            show_default=True,
            help="Seconds to wait for the workers' acknowledgements; 0 waits for none.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )
    decorated: Callable[..., Any] = with_order
    for decorate in reversed(decorators):
        decorated = decorate(decorated)
    return decorated


def given(
    settings: Settings,
    kind: ControlKind,
    order: Order,
    *,
    scope: str = EVERYTHING,
    lifts_epoch: int = -1,
    after: Callable[[int], None] | None = None,
) -> CommandResult:
    """Give a command; see `Commander.give`."""
    with EventBus(settings=settings) as bus, Commander(bus) as commander:
        return commander.give(
            kind,
            scope,
            author=order.author,
            reason=order.reason,
            lifts_epoch=lifts_epoch,
            timeout_s=order.wait_s,
            after=after,
        )


def give(
    kind: ControlKind, said: str, order: Order, *, scope: str = EVERYTHING, lifts_epoch: int = -1
) -> None:
    """Give a command, and report on it."""
    result = given(connected_settings(), kind, order, scope=scope, lifts_epoch=lifts_epoch)
    report([(result, said)], order)


def report(results: Sequence[tuple[CommandResult, str]], order: Order) -> None:
    """Print what came of commands; exit code 1 where a live worker has not acknowledged one."""
    documents = [_document(result) for result, _ in results]
    lines = []
    for result, said in results:
        waited = f"; {result}" if result.waited_s > 0.0 else ""
        lines.append(f"{said} at epoch {result.epoch}{waited}")
    content: Any = documents[0] if len(documents) == 1 else documents
    click.echo(json.dumps(content) if order.as_json else "\n".join(lines))
    if not all(result.in_force for result, _ in results):
        sys.exit(1)


def say(as_json: bool, text: str, **content: Any) -> None:  # as click gives it
    """Print `content` as JSON, or `text`."""
    click.echo(json.dumps(content) if as_json else text)


def _document(result: CommandResult) -> dict[str, Any]:
    command = result.command
    return {
        "kind": command.kind.value,
        "scope": command.scope,
        "epoch": result.epoch,
        "command_id": command.command_id,
        "author": command.author,
        "reason": command.reason,
        "time": command.time,
        "expires_at": command.expires_at,
        "in_force": result.in_force,
        "latency_ms": result.latency_ms,
        "missing": dict(result.missing),
        "acknowledgements": [_answer(command.time, each) for each in result.acknowledgements],
    }


def _answer(given_at: int, each: Acknowledgement) -> dict[str, Any]:
    return {
        "stage": each.stage,
        "worker": each.worker,
        "trading_state": each.trading_state.value,
        "isolated": each.isolated,
        "refusal": each.refusal,
        "latency_ms": max(0.0, (each.time - given_at) / 1000),
    }
