"""Reads `cascade.alerts` and `cascade.alerts.commands` along, from their beginning."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.events import EventBus, Received, Subscription
from pipeline.packets.events import Alert, AlertCommand
from pipeline.settings import AlertRule
from pipeline.transport.clients import log_consumer, watermarks
from pipeline.watch.alerting.commands import TOPIC as COMMANDS
from pipeline.watch.alerting.entry import Entry
from pipeline.watch.alerting.ledger import TOPIC as ALERTS
from pipeline.watch.alerting.ledger import AlertLedger
from pipeline.watch.alerting.silences import Orders

__all__ = ["AlertFeed"]

_logger = logging.getLogger(__name__)

_ASK_S = 5.0
_KEPT = 1000


def _nobody(_: object) -> None:
    """Tell nobody."""


class AlertFeed:
    """What the topics of the alerts say, folded; it follows them from the first `sync` on.

    Args:
        bus: Connection to Kafka; it is not closed here.
        rules: The rules of the settings.
        on_alert: Told of each record of an alert that another program wrote.
        on_command: Told of each command.

    Attributes:
        ledger: The alerts.
        orders: Rules and silences.
    """

    def __init__(
        self,
        bus: EventBus,
        rules: Mapping[str, AlertRule],
        on_alert: Callable[[Entry], None] = _nobody,
        on_command: Callable[[AlertCommand], None] = _nobody,
    ) -> None:
        self._bus = bus
        self.ledger = AlertLedger()
        self.orders = Orders(rules)
        self._on_alert = on_alert
        self._on_command = on_command
        self._changed = threading.Condition()
        self._read: dict[str, int] = {}
        self._commands: list[AlertCommand] = []
        self._subscription: Subscription | None = None

    def sync(self, timeout_s: float) -> list[AlertCommand]:
        """Read both topics to their end; return the last commands, oldest first.

        Raises:
            BrokerUnavailable: If that does not work in time.
        """
        until_s = time.monotonic() + timeout_s
        if self._subscription is None:
            self._subscription = self._bus.subscribe(
                (ALERTS, COMMANDS), self._take, start="earliest"
            )
        ends = self._ends()
        with self._changed:
            while any(self._read.get(topic, 0) < end for topic, end in ends.items()):
                left_s = until_s - time.monotonic()
                if left_s <= 0.0:
                    raise BrokerUnavailable(
                        f"Expected to read {', '.join(ends)} to the end in {timeout_s:g} s, was not"
                    )
                self._changed.wait(left_s)
            return list(self._commands)

    def close(self) -> None:
        """Follow them no more; the bus stays open."""
        if self._subscription is not None:
            self._subscription.close()

    def _ends(self) -> dict[str, int]:
        """Return the end of each topic that has anything; both have one partition."""
        settings = self._bus.connect()
        consumer = log_consumer(settings, "alerts-ends")
        try:
            bounds = {
                topic: watermarks(consumer, settings.topic(topic), 0, _ASK_S)
                for topic in (ALERTS, COMMANDS)
            }
        finally:
            consumer.close()
        return {topic: end for topic, (first, end) in bounds.items() if end > first}

    def _take(self, received: Received) -> None:
        packet = received.packet
        try:
            if isinstance(packet, Alert):
                self._take_alert(packet)
            elif isinstance(packet, AlertCommand):
                self._take_command(packet)
        finally:
            with self._changed:
                self._read[received.topic] = received.offset + 1
                self._changed.notify_all()

    def _take_alert(self, alert: Alert) -> None:
        entry = self.ledger.take(alert)
        if entry.foreign:
            self._on_alert(entry)

    def _take_command(self, command: AlertCommand) -> None:
        try:
            self.orders.take(command)
        except UsageError as error:
            _logger.warning(
                "alert_command_refused kind=%s author=%s why=%s",
                command.kind, command.author, error,
            )  # fmt: skip
            return
        with self._changed:
            self._commands = [*self._commands[1 - _KEPT :], command]
        self._on_command(command)
