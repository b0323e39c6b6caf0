"""What is refused for its signature is told to people and to the audit log, and not without end."""

from typing import Any, cast

from pipeline.control.log import Entry
from pipeline.control.signatures import Forgery
from pipeline.errors import BrokerUnavailable
from pipeline.gateway.refusals import Refusals
from pipeline.packets.events import Alert, PerformanceAlert, SecurityEventKind
from pipeline.testing import ManualClock
from tests.unit.control.memory_log import HALT
from tests.unit.gateway.factories import child, plan


class _Ears:
    """Takes what is told, in place of audit log and bus."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.alerts: list[Alert] = []
        self.now_s = 0.0
        self.deaf = False
        self.refusals = Refusals(
            cast(Any, self), cast(Any, self), ManualClock(), lambda: self.now_s
        )

    def tell(self, kind: SecurityEventKind, **event: Any) -> None:
        """Take a security event."""
        if self.deaf:
            raise BrokerUnavailable("Expected a broker, was none")
        self.events.append({"kind": kind, **event})

    def publish_soon(self, topic: str, alert: Alert, **_: Any) -> None:
        """Take an alert."""
        assert topic == "cascade.alerts"
        self.alerts.append(alert)


def test_a_refused_plan_is_an_emergency() -> None:
    """Somebody writes plans who may not: people and audit log hear of it."""
    ears = _Ears()
    made = plan(child())
    ears.refusals.plan(made, "Expected a signature, was none")
    (event,), (alert,) = ears.events, ears.alerts
    assert event["kind"] is SecurityEventKind.REFUSAL
    assert made.envelope.flow_id in event["subject"]
    assert alert.level is PerformanceAlert.EMERGENCY
    assert "was none" in alert.message


def test_a_refused_command_names_its_place_and_whom_it_speaks_for() -> None:
    """The author is a claim, and told as one."""
    ears = _Ears()
    ears.refusals.command(Entry(7, None, 0, Forgery("not signed", HALT)))
    (event,), (alert,) = ears.events, ears.alerts
    assert event["author"] == HALT.author
    assert "cascade.control[0]@7: HALT" in event["subject"]
    assert (alert.id, alert.level) == ("command-refused-7", PerformanceAlert.CRITICAL)


def test_a_repetition_is_audited_without_an_alarm() -> None:
    """Its writer may not have heard that it was taken; what counts is not told at all."""
    ears = _Ears()
    ears.refusals.command(Entry(7, None, 0, Forgery("again", HALT, alarming=False)))
    ears.refusals.command(Entry(8, HALT, 0))
    assert (len(ears.events), len(ears.alerts)) == (1, 0)


def test_a_flood_is_told_by_its_count() -> None:
    """Five a minute, then how many there were."""
    ears = _Ears()
    for epoch in range(1000):
        ears.refusals.command(Entry(epoch, None, 0, Forgery("not signed", None)))
    assert len(ears.alerts) == 5
    ears.now_s = 61.0
    ears.refusals.command(Entry(1000, None, 0, Forgery("not signed", None)))
    assert "995 more" in ears.alerts[-1].message


def test_nothing_is_raised_where_nobody_hears() -> None:
    """The gateway goes on refusing."""
    ears = _Ears()
    ears.deaf = True
    ears.refusals.plan(plan(child()), "not signed")
