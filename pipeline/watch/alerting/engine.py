"""Figures against rules, and the alerts that come of it; pure.

Each step of an alert returns it anew, to be written to `cascade.alerts`. Whoever takes over makes
an engine of the alerts that stand there, and goes on with the same ids.
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from pipeline.errors import UsageError
from pipeline.packets.events import AlertCommand, AlertCommandKind, PerformanceAlert
from pipeline.settings import AlertRule
from pipeline.watch.alerting.entry import (
    EXTERNAL,
    FORECAST,
    LEVELS,
    TEST,
    AlertState,
    Entry,
    Told,
    rank,
)
from pipeline.watch.alerting.rules import RuleWatch, limits_of
from pipeline.watch.alerting.series import picked
from pipeline.watch.alerting.silences import Orders

__all__ = ["AlertEngine", "Figures"]

Figures = Mapping[str, float]
"""What is measured: a number for each series, as Prometheus spells it."""

_SECOND_US = 1_000_000
_TEST_LASTS_US = 60 * _SECOND_US
_REMEMBERED_US = 3600 * _SECOND_US
_OTHERS = frozenset({EXTERNAL, TEST, FORECAST})
"""Rules of alerts that are not held against limits here."""


class AlertEngine:
    """The alerts that are raised. Not thread-safe.

    Args:
        orders: Rules, and what operators have asked for.
        escalate_after_s: Seconds without an acknowledgement after which an alert counts one level
            higher.
        known: Alerts that were raised already, and those that have ended of late.
    """

    def __init__(
        self, orders: Orders, escalate_after_s: float, known: Iterable[Entry] = ()
    ) -> None:
        self.orders = orders
        self._escalate_us = int(escalate_after_s * _SECOND_US)
        known = tuple(known)
        self._entries = {each.state.subject: each for each in known if not each.ended}
        self._ended = {each.id: each for each in known if each.ended}
        self._watches: dict[tuple[str, str], RuleWatch] = {}
        self._over: list[Entry] = []

    @property
    def active(self) -> tuple[Entry, ...]:
        """The alerts that are raised."""
        return tuple(self._entries.values())

    @property
    def lately(self) -> tuple[Entry, ...]:
        """The alerts that are raised, and those that ended within the last hour."""
        return (*self._entries.values(), *self._ended.values())

    def judge(self, figures: Figures, now_us: int) -> list[Entry]:
        """Hold what is measured against the rules; return the alerts that changed.

        Args:
            figures: What is measured now; what is not in it is no data.
            now_us: Now, microseconds since the Unix epoch, UTC.
        """
        rules = self.orders.rules()
        before = dict(self._entries)
        self._drop(rules, now_us)
        for name, rule in rules.items():
            found = picked(figures, rule.metric, rule.where)
            measured = {system: figures[spelled] for system, spelled in found}
            known = (system for key, system in self._watches if key == name)
            for system in dict.fromkeys([*self._raised_of(name), *known, *measured]):
                if fnmatchcase(system, rule.subject):
                    self._judge_one(name, rule, system, measured.get(system), now_us)
        self._inhibit(rules, now_us)
        self._escalate(now_us)
        self._end_tests(now_us)
        self._forget(now_us)
        return self._changes(before)

    def foresee(
        self, subject: str, foreseen: AlertState | None, message: str, now_us: int
    ) -> list[Entry]:
        """Raise the alert on a breach to come, or end it; return it where it changed.

        Args:
            subject: What it is about.
            foreseen: What is foreseen; None for nothing.
            message: The same for people.
            now_us: Now, microseconds since the Unix epoch, UTC.
        """
        known = self._entries.get(subject)
        if foreseen is None:
            return [self._end(known, message, now_us)] if known is not None else []
        if known is not None:
            return []
        entry = Entry.new(foreseen, foreseen.measured, message, now_us)
        self._entries[subject] = entry
        return [entry]

    def obey(self, command: AlertCommand, now_us: int) -> list[Entry]:
        """Carry out what an operator asks for; return the alerts that changed.

        Raises:
            UsageError: If no such alert is raised, or it is no level.
        """
        if command.kind is AlertCommandKind.ACKNOWLEDGE:
            return [self._acknowledged(command, now_us)]
        if command.kind is AlertCommandKind.TEST:
            return [self._tested(command, now_us)]
        return []  # a matter of `orders`

    def adopt(self, entry: Entry) -> None:
        """Take up an alert of another program, as it stands on the topic."""
        known = self._entries.pop(entry.state.subject, None)
        if known is not None and known.id == entry.id:
            entry = entry.carrying_on(known)
        if entry.ended:
            self._ended[entry.id] = entry
        else:
            self._entries[entry.state.subject] = entry

    def told(self, entry: Entry, channel: str, told: Told) -> Entry:
        """Note that a channel was told of an alert; return the alert as it is then."""
        raised = self._entries.get(entry.state.subject)
        current = raised if raised is not None and raised.id == entry.id else None
        current = current or self._ended.get(entry.id, entry)
        noted = current.changed("told", told.at_us, told={**current.state.told, channel: told})
        if current is raised:
            self._entries[noted.state.subject] = noted
        elif noted.ended:
            self._ended[noted.id] = noted
        return noted

    # -- one rule, one system --------------------------------------------------------------------

    def _judge_one(
        self, name: str, rule: AlertRule, system: str, value: float | None, now_us: int
    ) -> None:
        subject = f"{name}/{system}"
        known = self._entries.get(subject)
        watch = self._watches.get((name, system))
        if watch is None or watch.rule != rule:
            watch = RuleWatch(rule, known.state.measured if known is not None else None)
            self._watches[name, system] = watch
        if not watch.take(value, now_us):
            return
        message = _sentence(name, system, watch)
        if watch.level is None:
            if known is not None:
                self._end(known, message, now_us, watch.value)
            return
        self._raise(known, subject, name, system, watch, message, now_us)

    def _raise(
        self,
        known: Entry | None,
        subject: str,
        name: str,
        system: str,
        watch: RuleWatch,
        message: str,
        now_us: int,
    ) -> None:
        level = watch.level or PerformanceAlert.INFO
        limit = limits_of(watch.rule)[level]
        if known is None:
            state = AlertState(
                subject=subject, state="raised", rule=name, system=system,
                metric=watch.rule.metric, value=watch.value, limit=limit,
                group=watch.rule.group or name, raised_us=now_us,
                threshold_us=watch.threshold_us or now_us, measured=level, peak=level,
            )  # fmt: skip
            self._entries[subject] = Entry.new(state, level, message, now_us)
            return
        worse = rank(level) > rank(known.state.measured)
        self._entries[subject] = known.changed(
            "changed", now_us, level=_lifted(level, known.state.escalations), message=message,
            acknowledged=known.alert.acknowledged and not worse, value=watch.value, limit=limit,
            measured=level, threshold_us=watch.threshold_us or now_us,
            acknowledged_by="" if worse else known.state.acknowledged_by,
        )  # fmt: skip

    def _end(self, known: Entry, message: str, now_us: int, value: float | None = None) -> Entry:
        silent = self.orders.silence_of(known.state.subject, now_us) is not None
        ended = known.changed(
            "resolved", now_us, level=PerformanceAlert.INFO, message=message, ended_us=now_us,
            value=value, withheld=silent or bool(known.state.inhibited_by),
        )  # fmt: skip
        del self._entries[known.state.subject]
        self._ended[ended.id] = ended
        self._over.append(ended)
        return ended

    # -- all of them -----------------------------------------------------------------------------

    def _drop(self, rules: Mapping[str, AlertRule], now_us: int) -> None:
        """End what no rule is about any more."""
        self._over = []
        for entry in self.active:
            rule = rules.get(entry.state.rule)
            gone = rule is None or not fnmatchcase(entry.state.system, rule.subject)
            if gone and entry.state.rule not in _OTHERS:
                self._end(entry, f"{entry.state.subject}: no rule is about it any more", now_us)
        self._watches = {key: each for key, each in self._watches.items() if key[0] in rules}

    def _raised_of(self, name: str) -> Iterator[str]:
        return (each.state.system for each in self.active if each.state.rule == name)

    def _inhibit(self, rules: Mapping[str, AlertRule], now_us: int) -> None:
        """Note which alerts others explain."""
        for entry in self.active:
            rule = rules.get(entry.state.rule)
            causes = rule.inhibited_by if rule is not None else ()
            cause = next((each for each in self.active if each.state.rule in causes), None)
            by = cause.state.subject if cause is not None else ""
            if by != entry.state.inhibited_by:
                self._entries[entry.state.subject] = entry.changed(
                    entry.state.state, now_us, inhibited_by=by
                )

    def _escalate(self, now_us: int) -> None:
        """Lift what nobody has acknowledged for too long."""
        for entry in self.active:
            state = entry.state
            since_us = max(state.escalated_us, state.raised_us)
            settled = entry.alert.acknowledged or bool(state.inhibited_by) or state.rule == TEST
            told = bool(state.told) and rank(entry.level) >= rank(PerformanceAlert.WARNING)
            silent = self.orders.silence_of(state.subject, now_us) is not None
            if settled or silent or not told or entry.level is LEVELS[-1]:
                continue
            if now_us - since_us >= self._escalate_us:
                level = _lifted(entry.level, 1)
                self._entries[state.subject] = entry.changed(
                    "escalated", now_us, level=level, escalations=state.escalations + 1,
                    escalated_us=now_us,
                    message=f"{entry.alert.message}; nobody has acknowledged it for"
                    f" {entry.lasted_s(now_us):.0f} s, so it counts as {level}",
                )  # fmt: skip

    def _end_tests(self, now_us: int) -> None:
        for entry in self.active:
            if entry.state.rule == TEST and now_us - entry.state.raised_us >= _TEST_LASTS_US:
                self._end(entry, "the test is over", now_us)

    def _forget(self, now_us: int) -> None:
        self._ended = {
            key: each
            for key, each in self._ended.items()
            if now_us - each.state.ended_us <= _REMEMBERED_US
        }

    def _changes(self, before: Mapping[str, Entry]) -> list[Entry]:
        changed = [each for key, each in self._entries.items() if before.get(key) is not each]
        return [*self._over, *changed]

    # -- commands --------------------------------------------------------------------------------

    def _acknowledged(self, command: AlertCommand, now_us: int) -> Entry:
        for subject, entry in self._entries.items():
            if entry.id == command.target:
                noted = entry.changed(
                    "acknowledged", now_us, acknowledged=True, acknowledged_by=command.author,
                    note=command.reason,
                )  # fmt: skip
                self._entries[subject] = noted
                return noted
        raise UsageError(f"Expected an alert that is raised, was id {command.target!r}")

    def _tested(self, command: AlertCommand, now_us: int) -> Entry:
        try:
            level = PerformanceAlert(command.target)
        except ValueError as error:
            raise UsageError(f"Expected a level, was {command.target!r}") from error
        subject = f"{TEST}/{command.command_id}"
        state = AlertState(
            subject=subject, state="raised", rule=TEST, system=command.command_id, group=TEST,
            raised_us=now_us, threshold_us=command.time, measured=level, peak=level,
        )  # fmt: skip
        message = command.reason or f"a test, by {command.author}"
        self._entries[subject] = Entry.new(state, level, message, now_us)
        return self._entries[subject]


def _lifted(level: PerformanceAlert, steps: int) -> PerformanceAlert:
    return LEVELS[min(rank(level) + steps, len(LEVELS) - 1)]


def _sentence(name: str, system: str, watch: RuleWatch) -> str:
    value = 0.0 if watch.value is None else watch.value
    rule = watch.rule
    over = f"{rule.method} over {rule.window:g} s of " if rule.window else ""
    what = f"{name} of {system}: {over}{rule.metric} is {value:.4g}"
    if watch.level is None:
        return f"{what}, within its limits again"
    side = "not above" if rule.direction == "below" else "at or above"
    return f"{what}, {side} {limits_of(rule)[watch.level]:g}: {watch.level.value}"
