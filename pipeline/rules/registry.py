"""Which rules there are: the built-in ones, those of installed packages, those of the user."""

import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pipeline.errors import UsageError
from pipeline.packets.events import ValidationType
from pipeline.rules.builtin import BUILT_IN
from pipeline.rules.context import ValidationContext
from pipeline.rules.model import Need, ValidationRule, rule
from pipeline.rules.path import PathCheck, compile_path
from pipeline.settings import Settings

__all__ = ["ENTRY_POINTS", "RuleSet", "installed_rules", "path_check"]

_logger = logging.getLogger(__name__)

ENTRY_POINTS = "cascade.rules"
"""Entry point group of packages that bring rules.

In a package's pyproject.toml, with a rule, a class of rules, or a list of either behind it:

    [project.entry-points."cascade.rules"]
    house = "house.rules:RULES"
"""


def installed_rules(found: Iterable[EntryPoint] | None = None) -> tuple[ValidationRule, ...]:
    """Return the rules of installed packages; what cannot be loaded is logged and left out.

    Args:
        found: Entry points; None: those of `ENTRY_POINTS`.
    """
    rules: list[ValidationRule] = []
    for point in entry_points(group=ENTRY_POINTS) if found is None else found:
        try:
            rules += _rules_of(point.load())
        except Exception:
            _logger.exception("rules_not_loaded entry_point=%s value=%s", point.name, point.value)
    return tuple(rules)


@cache
def _installed() -> tuple[ValidationRule, ...]:
    return installed_rules()


def path_check(settings: Settings, rules: Iterable[ValidationRule] | None = None) -> PathCheck:
    """Return what a stage asks about each packet: the built-in rules, then the users'.

    Args:
        settings: The settings that the stage runs under.
        rules: Rules of users, of which those with `in_path` count; None: installed ones.
    """
    wanted = (each for each in (_installed() if rules is None else rules) if each.in_path)
    return compile_path((each.rule_id, _as_check(each, settings)) for each in wanted)


class RuleSet:
    """Rules by id, each on or off; safe to change while they run.

    Args:
        rules: Rules to begin with; None: the built-in ones and those of installed packages.
    """

    def __init__(self, rules: Iterable[ValidationRule] | None = None) -> None:
        self._lock = threading.Lock()
        self._rules: dict[str, ValidationRule] = {}
        self._enabled: dict[str, bool] = {}
        for each in (*BUILT_IN, *_installed()) if rules is None else rules:
            self.add(each)

    def __iter__(self) -> Iterator[ValidationRule]:
        with self._lock:
            return iter(tuple(self._rules.values()))

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, added: Any, *, replace: bool = False) -> ValidationRule:
        """Add a rule, a class of rules, or a function of the context; return the rule.

        Args:
            added: The rule.
            replace: Whether it may take the place of one with its id.

        Raises:
            UsageError: If it is none, or its id is taken.
        """
        made = _rule_of(added)
        with self._lock:
            if made.rule_id in self._rules and not replace:
                raise UsageError(
                    f"Expected a rule id of its own, was {made.rule_id} again. Give another one,"
                    " or say that it is to replace the first."
                )
            self._rules[made.rule_id] = made
            self._enabled.setdefault(made.rule_id, True)
        return made

    def remove(self, rule_id: str) -> None:
        """Take a rule out.

        Raises:
            UsageError: If there is no such rule.
        """
        with self._lock:
            self._known(rule_id)
            del self._rules[rule_id], self._enabled[rule_id]

    def enable(self, rule_id: str, *, enabled: bool = True) -> None:
        """Switch a rule on or off.

        Raises:
            UsageError: If there is no such rule.
        """
        with self._lock:
            self._known(rule_id)
            self._enabled[rule_id] = enabled

    def is_enabled(self, rule: ValidationRule) -> bool:
        """Say whether a rule is asked: on here, and by its own attribute."""
        return rule.enabled and self._enabled.get(rule.rule_id, False)

    def of_packets(self) -> tuple[ValidationRule, ...]:
        """Return the rules that are asked about single packets, those that are on."""
        return tuple(
            each
            for each in self
            if each.needs in (Need.PACKET, Need.ANYTHING) and self.is_enabled(each)
        )

    def _known(self, rule_id: str) -> None:
        if rule_id not in self._rules:
            known = ", ".join(sorted(self._rules))
            raise UsageError(f"Expected a rule of {known}; was {rule_id}")


def _rules_of(loaded: Any) -> list[ValidationRule]:
    if isinstance(loaded, list | tuple):
        return [_rule_of(each) for each in loaded]
    return [_rule_of(loaded)]


def _rule_of(given: Any) -> ValidationRule:
    if isinstance(given, ValidationRule):
        return given
    if inspect.isclass(given) and issubclass(given, ValidationRule):
        return given()
    if callable(given) and not inspect.isclass(given):
        name = getattr(given, "__name__", type(given).__name__)
        return rule(name, ValidationType.DATA_INTEGRITY)(given)
    raise UsageError(f"Expected a ValidationRule or a function of the context, was {given!r}")


def _as_check(each: ValidationRule, settings: Settings) -> Callable[[Any], str | None]:
    def check(packet: Any) -> str | None:
        if not each.looks_at(packet):
            return None
        context = ValidationContext(settings=settings, now_us=0, packet=packet)
        found = each.validate(context)
        return next((result.message for result in found or () if not result.passed), None)

    return check
