"""Which alerts nobody is told of for a while, and what of the rules was changed; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from pipeline.documents import decoded
from pipeline.errors import UsageError
from pipeline.packets.events import AlertCommand, AlertCommandKind
from pipeline.settings import AlertRule

__all__ = ["Orders", "Silence", "changed_rule"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts of a pattern that nobody is told of.

    Attributes:
        id: Its id, that of the command.
        pattern: Of which subjects, `RULE/SYSTEM`.
        author: Who wants it.
        reason: Why.
        until_us: When it ends, microseconds since the Unix epoch, UTC.
    """

    id: str
    pattern: str
    author: str
    reason: str
    until_us: int

    def covers(self, subject: str, now_us: int) -> bool:
        """Say whether it holds for a subject now."""
        return now_us < self.until_us and fnmatchcase(subject, self.pattern)


@dataclass(slots=True)
class Orders:
    """What operators have asked for, folded: silences and changed rules.

    Others may read it while a command is folded: its mappings are replaced, never changed.

    Attributes:
        base: The rules of the settings.
        changes: What was set at run time, by rule.
        silences: By id.
    """

    base: Mapping[str, AlertRule]
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)

    def take(self, command: AlertCommand) -> None:
        """Fold a command; those that change nothing for good are of no interest here.

        Raises:
            UsageError: If what it sets is no rule; nothing changes then.
        """
        if command.kind is AlertCommandKind.SILENCE:
            silence = Silence(
                command.command_id, command.target, command.author, command.reason,
                command.expires_at,
            )  # fmt: skip
            self.silences = {**self.silences, silence.id: silence}
        elif command.kind is AlertCommandKind.UNSILENCE:
            self.silences = _without(self.silences, command.target)
        elif command.kind is AlertCommandKind.UNSET:
            self.changes = _without(self.changes, command.target)
        elif command.kind is AlertCommandKind.SET:
            keys = {**self.changes.get(command.target, {}), **_keys(command)}
            changed_rule(command.target, self.base.get(command.target), keys)
            self.changes = {**self.changes, command.target: keys}

    def rules(self) -> dict[str, AlertRule]:
        """Return the rules in force, those that are disabled left out."""
        names = dict.fromkeys([*self.base, *self.changes])
        found = {
            name: changed_rule(name, self.base.get(name), self.changes.get(name, {}))
            for name in names
        }
        return {name: rule for name, rule in found.items() if rule.state == "enabled"}

    def silence_of(self, subject: str, now_us: int) -> Silence | None:
        """Return a silence that holds for a subject now."""
        return next((each for each in self.silences.values() if each.covers(subject, now_us)), None)

    def standing(self, now_us: int) -> Iterable[Silence]:
        """Return the silences that hold now."""
        return [each for each in self.silences.values() if now_us < each.until_us]


def changed_rule(name: str, before: AlertRule | None, keys: Mapping[str, Any]) -> AlertRule:
    """Return a rule with some of its keys changed; a new one where there was none.

    Raises:
        UsageError: If that is no rule, saying what was expected.
    """
    known = before.model_dump() if before is not None else {}
    try:
        return AlertRule.model_validate({**known, **keys})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        said = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"Expected a rule {name!r}, was none: {where}: {said}") from error


def _without(mapping: Mapping[str, Value], name: str) -> dict[str, Value]:
    return {key: value for key, value in mapping.items() if key != name}


def _keys(command: AlertCommand) -> dict[str, Any]:
    try:
        return decoded(command.document, dict[str, Any])
    except msgspec.DecodeError as error:
        raise UsageError(f"Expected a JSON object of keys, was {command.document!r}") from error
