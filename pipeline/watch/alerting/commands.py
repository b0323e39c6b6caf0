"""What operators ask of the alerts: writing it to `cascade.alerts.commands`."""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pipeline.clock import Clock
from pipeline.errors import UsageError
from pipeline.packets.events import AlertCommand, AlertCommandKind

__all__ = ["TOPIC", "key_of", "new_alert_command"]

TOPIC: Final = "cascade.alerts.commands"

_SECOND_US = 1_000_000
_LONGEST_S = 30 * 86_400.0
_LONGEST_NAME = 128


def new_alert_command(
    kind: AlertCommandKind,
    target: str,
    *,
    author: str,
    clock: Clock,
    reason: str = "",
    lasts_s: float = 0.0,
    keys: Mapping[str, Any] | None = None,
) -> AlertCommand:
    """Return a command.

    Args:
        kind: What is asked.
        target: Of what; see `AlertCommand`.
        author: Who asks.
        clock: Clock.
        reason: Why, for people.
        lasts_s: How long a silence lasts, seconds.
        keys: What of a rule changes.

    Raises:
        UsageError: If it has no author or target, or a silence has no end within 30 days.
    """
    for what, text in (("author", author), ("target", target)):
        if not 0 < len(text) <= _LONGEST_NAME:
            raise UsageError(
                f"Expected the {what} in 1 to {_LONGEST_NAME} characters, was {text!r}"
            )
    silences = kind is AlertCommandKind.SILENCE
    if silences and not 0.0 < lasts_s <= _LONGEST_S:
        raise UsageError(f"Expected a silence of up to {_LONGEST_S:g} s, was {lasts_s:g}")
    now_us = clock.now_us()
    return AlertCommand(
        secrets.token_hex(16), kind, target, author, reason, now_us,
        now_us + int(lasts_s * _SECOND_US) if silences else 0,
        msgspec.json.encode(dict(keys or {})).decode(),
    )  # fmt: skip


def key_of(command: AlertCommand) -> bytes:
    """Return the key of a command's record."""
    return command.target.encode()
