"""Section `alerts`: which figures are held against which limits, and who is told.

In the YAML file a rule has the keys of `AlertRule`; one of a built-in name needs only those that
differ. `pipeline.watch.alerting` says what becomes of them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.settings.sections import Seconds, Section

__all__ = ["BUILT_IN", "AlertChannel", "AlertRule", "AlertSettings"]

Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Series = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]{0,99}$")]
Pattern = Annotated[str, Field(min_length=1, max_length=100)]
Limit = Annotated[float, Field(ge=0.0, le=1e15, allow_inf_nan=False)]
Span = Annotated[float, Field(ge=0.0, le=86_400.0, allow_inf_nan=False)]
Level = Literal["INFO", "WARNING", "CRITICAL", "EMERGENCY"]
Method = Literal["average", "maximum", "minimum", "last", "p50", "p95", "p99"]


class AlertRule(Section):
    """When an alert is raised; limits in the unit of the metric.

    Attributes:
        metric: What is measured: a metric of `pipeline.watch.catalogue`, or of
            `pipeline.watch.alerting.vitals`.
        where: Labels that a series must have, by name; what its others say is the system.
        subject: Of which systems, a pattern as `*` or `r*`.
        direction: Whether a value is bad `above` its limits, themselves included, or `below` them.
        info: From here on INFO; None where a level is never reached.
        warning: From here on WARNING.
        critical: From here on CRITICAL.
        emergency: From here on EMERGENCY.
        window: Values of so many seconds are looked at; 0: the last one.
        method: What of them counts.
        hold: Seconds that a limit must be passed before the alert is raised, or gets worse.
        clear: Seconds that the value must be better before it gets better, or is over.
        hysteresis: By what share of a limit a value must be better.
        group: Alerts of one group are told of together; the rule's name where it is empty.
        inhibited_by: Rules whose alerts explain those of this one: while one is raised, nobody is
            told of these.
        foresee: How many seconds ahead a breach is told of, one level lower; 0: not before it is
            there. Needs the extra `forecast`, and a metric of `pipeline.watch.catalogue`.
        state: `disabled` takes the rule out.
    """

    metric: Series
    where: dict[str, str] = Field(default_factory=dict)
    subject: Pattern = "*"
    direction: Literal["above", "below"] = "above"
    info: Limit | None = None
    warning: Limit | None = None
    critical: Limit | None = None
    emergency: Limit | None = None
    window: Span = 0.0
    method: Method = "last"
    hold: Span = 0.0
    clear: Span = 0.0
    hysteresis: Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)] = 0.1
    group: Annotated[str, Field(max_length=60)] = ""
    inhibited_by: tuple[Word, ...] = ()
    foresee: Span = 0.0
    state: Literal["enabled", "disabled"] = "enabled"

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        limits = [
            limit
            for limit in (self.info, self.warning, self.critical, self.emergency)
            if limit is not None
        ]
        if not limits:
            raise ValueError("Expected at least one of info, warning, critical, emergency")
        if limits != sorted(limits, reverse=self.direction == "below"):
            order = "falling" if self.direction == "below" else "rising"
            raise ValueError(f"Expected {order} limits from info to emergency, was {limits}")
        return self


class AlertChannel(Section):
    """A way to somebody who is told of alerts.

    Attributes:
        name: Who it is.
        contact: Where: the name of a logger, an address, or a URL.
        type: How: log, email, webhook, or any that apprise has.
        least_level: Nothing below it is told.
        groups: Only groups of this pattern.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    contact: Annotated[str, Field(min_length=1, max_length=2000, repr=False)]
    type: Annotated[str, Field(min_length=1, max_length=50)] = "webhook"
    least_level: Level = "WARNING"
    groups: Pattern = "*"


BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "broker_silent": {
        "metric": "cascade_broker_silence_seconds",
        "critical": 5.0,
        "emergency": 30.0,
        "hysteresis": 0.0,
    },
    "system_silent": {
        "metric": "cascade_heartbeat_silence_seconds",
        "critical": 5.0,
        "hysteresis": 0.0,
        "inhibited_by": ["broker_silent"],
    },
    "trading_halted": {
        "metric": "cascade_trading_state",
        "where": {"state": "HALTED"},
        "warning": 1.0,
        "hysteresis": 0.0,
    },
    "worker_exits": {
        "metric": "cascade_worker_exits",
        "warning": 1.0,
        "critical": 3.0,
        "hysteresis": 0.0,
        "inhibited_by": ["broker_silent"],
    },
    "worker_memory": {
        "metric": "cascade_worker_memory_bytes",
        "warning": 1.5e9,
        "critical": 2e9,
        "hold": 10.0,
        "clear": 10.0,
        "foresee": 60.0,
    },
    "latency": {
        "metric": "cascade_end_to_end_latency_quantile_seconds",
        "where": {"path": "any", "quantile": "0.99"},
        "warning": 0.1,
        "critical": 0.25,
        "hold": 10.0,
        "clear": 10.0,
        "inhibited_by": ["broker_silent", "system_silent"],
        "foresee": 60.0,
    },
    "errors": {
        "metric": "cascade_failure_ratio",
        "warning": 0.01,
        "critical": 0.1,
        "hold": 10.0,
        "clear": 10.0,
        "inhibited_by": ["broker_silent", "system_silent"],
        "foresee": 60.0,
    },
    "lag": {
        "metric": "cascade_backlog_age_seconds",
        "warning": 1.0,
        "critical": 10.0,
        "emergency": 60.0,
        "hold": 5.0,
        "clear": 5.0,
        "inhibited_by": ["broker_silent", "system_silent"],
        "foresee": 60.0,
    },
    "memory": {
        "metric": "cascade_host_memory_ratio",
        "warning": 0.9,
        "critical": 0.95,
        "hold": 10.0,
        "clear": 10.0,
        "hysteresis": 0.02,
        "foresee": 60.0,
    },
    "load": {
        "metric": "cascade_system_load_ratio",
        "warning": 0.9,
        "hold": 30.0,
        "clear": 30.0,
    },
}
"""The rules that come with the project; the file changes them key by key, and adds others."""


class AlertSettings(Section):
    """When alerts are raised, and who is told.

    Attributes:
        interval: Seconds between two looks.
        group_wait: Seconds that an alert waits for others of its group, to be told together.
        escalate_after: Seconds without an acknowledgement after which an alert counts one level
            higher, and again after as many.
        channels: Who is told.
        rules: When, by name; the built-in ones included.
    """

    interval: Seconds = 0.5
    group_wait: Span = 0.5
    escalate_after: Seconds = 300.0
    channels: tuple[AlertChannel, ...] = ()
    rules: dict[Word, AlertRule] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _on_the_built_in(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        own = given.get("rules", {})
        if not isinstance(own, Mapping):
            return given
        rules: dict[str, Any] = dict(BUILT_IN)
        for name, keys in own.items():
            before = rules.get(name, {})
            rules[name] = {**before, **keys} if isinstance(keys, Mapping) else keys
        return {**given, "rules": rules}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [each.name for each in self.channels]
        if len(names) != len(set(names)):
            raise ValueError(f"Expected channels of different names, was {names}")
        for name, rule in self.rules.items():
            unknown = sorted(set(rule.inhibited_by) - self.rules.keys())
            if unknown or name in rule.inhibited_by:
                raise ValueError(
                    f"Expected other rules in inhibited_by of {name}, was {rule.inhibited_by}"
                )
        return self
