"""`cascade alerts`: what is raised, taking it on, keeping it quiet, and the rules."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.connection import connected_settings
from pipeline.cli.plain import show
from pipeline.clock import WallClock
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.packets.events import (
    AlertCommand,
    AlertCommandKind,
    PerformanceAlert,
    SecurityEventKind,
)

if TYPE_CHECKING:
    from pipeline.events import EventBus
    from pipeline.settings import Settings
    from pipeline.watch.alerting.entry import Entry
    from pipeline.watch.alerting.feed import AlertFeed

__all__ = ["command"]

_SYNC_S = 10.0
_WAIT_S = 10.0
_LOOK_S = 0.1
_CHANGES_WHO_IS_TOLD = frozenset(
    {
        AlertCommandKind.SET,
        AlertCommandKind.UNSET,
        AlertCommandKind.SILENCE,
        AlertCommandKind.UNSILENCE,
    }
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_wait = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0.0),
    default=_WAIT_S,
    show_default=True,
    help="Seconds to wait for the monitor worker to do it; 0 waits for nothing.",
)


def _asked(function: Callable[..., Any]) -> Callable[..., Any]:
    author = click.option("--author", default="operator", show_default=True, help="Who asks.")
    reason = click.option("--reason", default="", help="Why, for those who read it later.")
    return author(reason(_json(function)))


@click.group("alerts", invoke_without_command=True)
@_json
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Print which alerts are raised, or acknowledge, silence and test them, and change rules.

    The monitor worker raises them and tells the channels of the settings; see `alerts:` there.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json, ended=False)


@command.command("list")
@click.option("--all", "ended", is_flag=True, help="Those that have ended too.")
@_json
def list_them(ended: bool, as_json: bool) -> None:
    """Print the alerts that are raised, most urgent first."""
    _list(as_json=as_json, ended=ended)


@command.command("show")
@click.argument("alert_id")
@_json
def show_one(alert_id: str, as_json: bool) -> None:
    """Print an alert, whom it was told to, and its whole course."""
    with _feed() as (_, feed):
        entry = feed.ledger.find(alert_id)
        steps = [
            {"time": _moment(each.timestamp), "level": each.level, "message": each.message}
            for each in feed.ledger.history(entry.id)
        ]
        silence = feed.orders.silence_of(entry.state.subject, WallClock().now_us())
    content = {**_summary(entry), "state": entry.state, "silenced_by": silence, "course": steps}
    show(content, as_json=as_json)


@command.command()
@click.argument("alert_id")
@_wait
@_asked
def acknowledge(alert_id: str, wait_s: float, author: str, reason: str, as_json: bool) -> None:
    """Take an alert on, so that it is not escalated."""
    with _feed() as (bus, feed):
        entry = feed.ledger.find(alert_id)
        if entry.ended:
            raise UsageError(f"Expected an alert that is raised, was over: {entry.id}")
        _publish(bus, _command(AlertCommandKind.ACKNOWLEDGE, entry.id, author, reason))
        if wait_s > 0.0:
            _await(lambda: feed.ledger.find(entry.id).alert.acknowledged, "acknowledge it", wait_s)
        show(_summary(feed.ledger.find(entry.id)), as_json=as_json)


@command.command()
@click.argument("pattern", required=False)
@click.option("--minutes", type=click.FloatRange(min=0.0, min_open=True), help="How long.")
@click.option("--end", "end_id", help="End the silence of this id instead.")
@_asked
def silence(
    pattern: str | None,
    minutes: float | None,
    end_id: str | None,
    author: str,
    reason: str,
    as_json: bool,
) -> None:
    """Keep alerts of PATTERN quiet for a while, as `lag/*` or `*/risk`; without it, list silences.

    They are raised, listed and resolved all the same; nobody is told, and none is escalated.
    """
    with _feed() as (bus, feed):
        given = None
        if end_id is not None:
            found = [each for each in feed.orders.silences if each.startswith(end_id)]
            if len(found) != 1:
                raise UsageError(f"Expected the id of one silence, was {end_id!r}")
            given = _command(AlertCommandKind.UNSILENCE, found[0], author, reason)
        elif pattern is not None:
            if minutes is None:
                raise UsageError("Expected --minutes with a pattern, was none: silences end")
            given = _command(
                AlertCommandKind.SILENCE, pattern, author, reason, lasts_s=minutes * 60
            )
        if given is not None:
            _publish(bus, given)
            feed.sync(_SYNC_S)
        standing = feed.orders.standing(WallClock().now_us())
        listed = [
            {
                "id": each.id,
                "pattern": each.pattern,
                "until": _moment(each.until_us),
                "author": each.author,
                "reason": each.reason,
            }
            for each in standing
        ]
        show({"silences": listed}, as_json=as_json)


@command.command("set")
@click.argument("rule")
@click.argument("changes", nargs=-1, required=False, metavar="[KEY=VALUE]...")
@click.option("--reset", is_flag=True, help="Take back what was set at run time.")
@_asked
def set_rule(
    rule: str, changes: tuple[str, ...], reset: bool, author: str, reason: str, as_json: bool
) -> None:
    """Change a rule for all monitor workers, from now on: `set latency warning=0.08 hold=5`.

    Keys are those of `alerts: rules:` in the settings. An empty value takes a limit away, and
    `state=disabled` the rule out. A rule of a new name needs a metric and a limit.
    """
    from pipeline.watch.alerting.silences import changed_rule

    if bool(changes) == reset:
        raise UsageError("Expected KEY=VALUE or --reset, one of them")
    with _feed() as (bus, feed):
        if reset:
            given = _command(AlertCommandKind.UNSET, rule, author, reason)
        else:
            keys = _keys(changes)
            known = {**feed.orders.changes.get(rule, {}), **keys}
            changed_rule(rule, feed.orders.base.get(rule), known)  # refuses what is no rule
            given = _command(AlertCommandKind.SET, rule, author, reason, keys=keys)
        _publish(bus, given)
        feed.sync(_SYNC_S)
        _show_rules(feed, [rule], as_json=as_json)


@command.command()
@_json
def rules(as_json: bool) -> None:
    """Print all rules in force, and what of them was set at run time."""
    with _feed() as (_, feed):
        _show_rules(feed, list({**feed.orders.base, **feed.orders.changes}), as_json=as_json)


@command.command()
@click.option(
    "--level",
    type=click.Choice(list(PerformanceAlert)),
    default=PerformanceAlert.INFO,
    show_default=True,
)
@_wait
@_asked
def test(level: str, wait_s: float, author: str, reason: str, as_json: bool) -> None:
    """Have an alert told to all channels; exit code 1 where one was not reached in time.

    It ends by itself after a minute.
    """
    with _feed() as (bus, feed):
        channels = [each.name for each in bus.settings.alerts.channels]
        given = _command(AlertCommandKind.TEST, level, author, reason)
        _publish(bus, given)
        subject = f"test/{given.command_id}"
        entry = _find_soon(feed, subject, channels, wait_s)
    told = entry.state.told if entry is not None else {}
    seconds = {name: (each.at_us - given.time) / 1e6 for name, each in told.items()}
    missing = [name for name in channels if name not in told]
    verdict = "pass" if entry is not None and not missing else "fail"
    show(
        {
            "verdict": verdict,
            "alert": entry.id if entry is not None else None,
            "told_after_s": seconds,
            "not_told": missing,
        },
        as_json=as_json,
    )
    if verdict == "fail":
        raise click.exceptions.Exit(1)


# -- helpers ---------------------------------------------------------------------------------------


@contextmanager
def _feed() -> "Iterator[tuple[EventBus, AlertFeed]]":
    from pipeline.events import EventBus
    from pipeline.watch.alerting.feed import AlertFeed

    settings: Settings = connected_settings()
    with EventBus(settings=settings) as bus:
        feed = AlertFeed(bus, settings.alerts.rules)
        try:
            feed.sync(_SYNC_S)
            yield bus, feed
        finally:
            feed.close()


def _command(
    kind: AlertCommandKind, target: str, author: str, reason: str, **more: Any
) -> AlertCommand:
    from pipeline.watch.alerting.commands import new_alert_command

    return new_alert_command(kind, target, author=author, reason=reason, clock=WallClock(), **more)


def _publish(bus: "EventBus", given: AlertCommand) -> None:
    from pipeline.control.security_log import publish_security_event
    from pipeline.watch.alerting.commands import TOPIC, key_of

    bus.publish(TOPIC, given, key=key_of(given))
    if given.kind in _CHANGES_WHO_IS_TOLD:
        publish_security_event(
            bus.settings,
            SecurityEventKind.CONFIGURATION_CHANGE,
            author=given.author,
            subject=f"alerts/{given.target}",
            detail=f"{given.kind} {given.document} {given.reason}",
        )


def _list(*, as_json: bool, ended: bool) -> None:
    from pipeline.watch.alerting.entry import rank

    with _feed() as (_, feed):
        found = feed.ledger.all if ended else feed.ledger.active
        ordered = sorted(found, key=lambda each: (each.ended, -rank(each.level)))
        show({"alerts": [_summary(each) for each in ordered]}, as_json=as_json)


def _show_rules(feed: "AlertFeed", names: list[str], *, as_json: bool) -> None:
    in_force = feed.orders.rules()
    listed = {
        name: {
            **(in_force[name].model_dump(mode="json") if name in in_force else {}),
            "in_force": name in in_force,
            "set_at_run_time": dict(feed.orders.changes.get(name, {})),
        }
        for name in names
    }
    show({"rules": listed}, as_json=as_json)


def _summary(entry: "Entry") -> dict[str, Any]:
    return {
        "id": entry.id,
        "level": entry.level,
        "subject": entry.state.subject,
        "message": entry.alert.message,
        "raised": _moment(entry.state.raised_us),
        "ended": _moment(entry.state.ended_us) if entry.ended else None,
        "acknowledged_by": entry.state.acknowledged_by or None,
        "inhibited_by": entry.state.inhibited_by or None,
        "told": sorted(entry.state.told),
    }


def _moment(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds")


def _keys(changes: tuple[str, ...]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for text in changes:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise UsageError(f"Expected KEY=VALUE, was {text!r}")
        keys[key] = value or None
        if key == "inhibited_by":
            keys[key] = [name for name in value.split(",") if name]
        elif key == "where":
            keys[key] = dict(pair.split(":", 1) for pair in value.split(",") if ":" in pair)
    return keys


def _await(condition: Callable[[], bool], what: str, limit_s: float) -> None:
    until_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until_s:
            raise BrokerUnavailable(
                f"Expected a monitor worker to {what} within {limit_s:g} s, was none; see whether"
                " one runs (`cascade run`). It will, once one does"
            )
        time.sleep(_LOOK_S)


def _find_soon(
    feed: "AlertFeed", subject: str, channels: list[str], limit_s: float
) -> "Entry | None":
    """Return the alert once all channels were told of it, or as it is after the limit."""
    until_s = time.monotonic() + limit_s
    while True:
        found = next((each for each in feed.ledger.all if each.state.subject == subject), None)
        told = found is not None and all(name in found.state.told for name in channels)
        if told or time.monotonic() > until_s:
            return found
        time.sleep(_LOOK_S)
