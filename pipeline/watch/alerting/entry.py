"""One alert as it stands on `cascade.alerts`: the record, and the state in its context; pure."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct, structs

from pipeline.documents import decoded
from pipeline.packets.events import Alert, PerformanceAlert

__all__ = ["EXTERNAL", "FORECAST", "LEVELS", "TEST", "AlertState", "Entry", "Told", "rank"]

LEVELS: Final = tuple(PerformanceAlert)
"""Least first."""

EXTERNAL: Final = "external"
"""Rule of alerts that another program has raised."""

FORECAST: Final = "forecast"
"""Rule of alerts on what is not yet there."""

TEST: Final = "test"
"""Rule of alerts that `cascade alerts test` raises."""

_SECOND_US = 1_000_000
_LONGEST_TEXT = 4096


def rank(level: PerformanceAlert | str) -> int:
    """Return how urgent a level is, 0 for INFO."""
    return LEVELS.index(PerformanceAlert(level))


class Told(Struct, frozen=True):
    """What a channel was told of an alert last.

    Attributes:
        level: The level; that of the raised alert where `ended`.
        ended: Whether it was told that it is over.
        at_us: When, microseconds since the Unix epoch, UTC.
    """

    level: PerformanceAlert
    ended: bool
    at_us: int


class AlertState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands in an alert's context.

    Attributes:
        subject: `RULE/SYSTEM`: one alert of it is raised at a time.
        state: The last step: raised, changed, acknowledged, escalated, told, resolved.
        rule: Its rule; `external` where another program raised it.
        system: What it is about.
        metric: What was measured.
        value: The value at the last change; None where nothing was measured.
        limit: The limit that was passed.
        group: Alerts of one group are told of together.
        raised_us: When it was raised, microseconds since the Unix epoch, UTC.
        threshold_us: When its limit had been passed for as long as the rule says.
        ended_us: When it was over; 0 while it is not.
        measured: The level that the value stands for; escalation may lift the alert's above it.
        peak: The highest level that it had.
        escalations: How often it was lifted.
        escalated_us: When last; 0 for never.
        acknowledged_by: Who takes care of it.
        note: What they said.
        inhibited_by: Subject of the alert that explains it; empty for none.
        withheld: Whether it ended while nobody was to be told.
        told: What each channel was told last.
        details: More figures, by name.
    """

    subject: str
    state: str
    rule: str
    system: str
    metric: str = ""
    value: float | None = None
    limit: float | None = None
    group: str = ""
    raised_us: int = 0
    threshold_us: int = 0
    ended_us: int = 0
    measured: PerformanceAlert = PerformanceAlert.INFO
    peak: PerformanceAlert = PerformanceAlert.INFO
    escalations: int = 0
    escalated_us: int = 0
    acknowledged_by: str = ""
    note: str = ""
    inhibited_by: str = ""
    withheld: bool = False
    told: dict[str, Told] = {}
    details: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """An alert.

    Attributes:
        alert: The record.
        state: What its context says.
    """

    alert: Alert
    state: AlertState

    @classmethod
    def read(cls, alert: Alert) -> "Entry":
        """Return a record with its state; one of another program gets the state that it implies."""
        try:
            return cls(alert, decoded(alert.context, AlertState))
        except msgspec.DecodeError:
            return cls(alert, _implied(alert))

    @classmethod
    def new(cls, state: AlertState, level: PerformanceAlert, message: str, now_us: int) -> "Entry":
        """Return an alert that is raised now."""
        alert = Alert(uuid.uuid4().hex, level, message[:_LONGEST_TEXT], "", now_us, False)
        return _written(alert, state)

    @property
    def id(self) -> str:
        """Id of the alert."""
        return self.alert.id

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state.ended_us > 0

    @property
    def foreign(self) -> bool:
        """Whether the record is another program's own."""
        return self.state.rule == EXTERNAL and self.state.state != "told"

    @property
    def level(self) -> PerformanceAlert:
        """Its level; INFO once it is over."""
        return self.alert.level

    def changed(
        self,
        step: str,
        now_us: int,
        *,
        level: PerformanceAlert | None = None,
        message: str | None = None,
        acknowledged: bool | None = None,
        **state: object,
    ) -> "Entry":
        """Return it after a step.

        Args:
            step: Name of the step.
            now_us: Now, microseconds since the Unix epoch, UTC.
            level: Another level.
            message: Another message.
            acknowledged: Whether somebody takes care of it now.
            **state: What else changes of its state.
        """
        chosen = self.alert.level if level is None else level
        peak = chosen if rank(chosen) > rank(self.state.peak) else self.state.peak
        alert = structs.replace(
            self.alert,
            level=chosen,
            message=self.alert.message if message is None else message[:_LONGEST_TEXT],
            timestamp=now_us,
            acknowledged=self.alert.acknowledged if acknowledged is None else acknowledged,
        )
        changes: Mapping[str, object] = {"peak": peak, **state, "state": step}
        return _written(alert, structs.replace(self.state, **changes))

    def carrying_on(self, before: "Entry") -> "Entry":
        """Return another program's next record, with what is known of the alert here."""
        known = before.state
        state = structs.replace(
            self.state,
            raised_us=known.raised_us,
            threshold_us=known.threshold_us,
            told={**self.state.told, **known.told},
            peak=max(known.peak, self.state.peak, key=rank),
        )
        return Entry(self.alert, state)

    def lasted_s(self, now_us: int) -> float:
        """Return for how long it has been raised, or was, seconds."""
        return max(0, (self.state.ended_us or now_us) - self.state.raised_us) / _SECOND_US


def _written(alert: Alert, state: AlertState) -> Entry:
    context = msgspec.json.encode(state, order="sorted").decode()
    return Entry(structs.replace(alert, context=context), state)


def _implied(alert: Alert) -> AlertState:
    try:
        said = decoded(alert.context, dict[str, object])
    except msgspec.DecodeError:
        said = {}
    subject = str(said.get("subject") or alert.id)
    ended = said.get("state") == "resolved"
    return AlertState(
        subject=f"{EXTERNAL}/{subject}",
        state="resolved" if ended else "raised",
        rule=EXTERNAL,
        system=str(said.get("system") or subject),
        group=EXTERNAL,
        raised_us=alert.timestamp,
        threshold_us=alert.timestamp,
        ended_us=alert.timestamp if ended else 0,
        measured=alert.level,
        peak=alert.level,
    )
