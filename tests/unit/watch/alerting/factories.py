"""Rules, figures and time of the tests on alerts."""

from collections.abc import Mapping

from pipeline.packets.events import AlertCommand, AlertCommandKind
from pipeline.settings import AlertRule
from pipeline.watch.alerting.engine import AlertEngine
from pipeline.watch.alerting.silences import Orders

__all__ = ["LATENCY", "NOW_US", "SECOND_US", "command", "engine_of", "series"]

SECOND_US = 1_000_000
NOW_US = 1_700_000_000 * SECOND_US

LATENCY = AlertRule(metric="latency_seconds", warning=0.1, critical=0.2)


def series(**systems: float) -> Mapping[str, float]:
    """Return the latency of some systems."""
    return {f'latency_seconds{{stage="{name}"}}': value for name, value in systems.items()}


def engine_of(rules: Mapping[str, AlertRule], escalate_after_s: float = 300.0) -> AlertEngine:
    """Return an engine with some rules."""
    return AlertEngine(Orders(rules), escalate_after_s)


def command(
    kind: AlertCommandKind, target: str, *, expires_at: int = 0, document: str = "{}"
) -> AlertCommand:
    """Return a command of an operator."""
    return AlertCommand("c1", kind, target, "mary", "because", NOW_US, expires_at, document)
