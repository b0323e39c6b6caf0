"""Alerts within the monitor worker: looks, raises, tells, obeys.

Of several monitors one acts (`acting`); all read `cascade.alerts` and `cascade.alerts.commands`
along. Whoever begins to act reads both to their end, makes an engine of what stands there, and goes
on with the same alerts: what a channel was told before is not told again, what it was not told is.
A channel is told at least once: who dies between telling and noting it tells again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from pipeline.clock import Clock, WallClock
from pipeline.errors import ConfigurationError, PipelineError, UsageError
from pipeline.events import EventBus
from pipeline.packets.events import AlertCommand, AlertCommandKind, MetricsSnapshot
from pipeline.settings import AlertChannel, Settings
from pipeline.watch.alerting.couriers import Courier
from pipeline.watch.alerting.engine import AlertEngine, Figures
from pipeline.watch.alerting.entry import TEST, Entry
from pipeline.watch.alerting.feed import AlertFeed
from pipeline.watch.alerting.forewarning import Forewarner
from pipeline.watch.alerting.notices import Notice, due
from pipeline.watch.alerting.vitals import VitalSigns
from pipeline.watch.forecast import require_forecasts
from pipeline.watch.history import MetricsHistory, figures_of_snapshot
from pipeline.watch.outbox import AlertOutbox

__all__ = ["AlertWorker"]

_logger = logging.getLogger(__name__)

_SYNC_S = 10.0
_LOOK_AHEAD_S = 5.0
_STALE_US = 10_000_000
_TEST_AGE_US = 60_000_000
_ASKED_OF_WHO_ACTS = frozenset({AlertCommandKind.ACKNOWLEDGE, AlertCommandKind.TEST})


class AlertWorker:
    """Raises alerts and tells of them.

    Args:
        settings: Settings.
        bus: Connection to Kafka; it is not closed here.
        acting: Says whether this process is the one that acts.
        history: What was measured.
        clock: Clock.
        monotonic: Seconds that only run forward.

    Raises:
        UsageError: If there is no way to one of the channels.
    """

    def __init__(
        self,
        settings: Settings,
        bus: EventBus,
        *,
        acting: Callable[[], bool],
        history: MetricsHistory,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = settings.alerts
        self._acting = acting
        self._history = history
        self._forewarner = Forewarner(history.points)
        self._clock = clock or WallClock()
        self._lock = threading.Lock()
        self._engine: AlertEngine | None = None
        self._snapshot: MetricsSnapshot | None = None
        self._measured: Figures = {}
        self._vitals = VitalSigns(bus, monotonic)
        self._feed = AlertFeed(bus, self._limits.rules, self._adopt, self._obey)
        self._outbox = AlertOutbox(bus)
        cascade = settings.namespace or "cascade"
        self._couriers = [
            Courier(each, cascade, self._due, self._note) for each in self._limits.channels
        ]
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="alerts", daemon=True),
            threading.Thread(target=self._look_ahead, name="alerts-forecasts", daemon=True),
        ]

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._vitals.start()
        for thread in self._threads:
            thread.start()
        for courier in self._couriers:
            courier.start()

    def close(self) -> None:
        """End it; the alerts stay raised, for the next to go on with."""
        self._closing.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for courier in self._couriers:
            courier.close()
        self._feed.close()
        self._vitals.close()
        self._outbox.close()

    # -- looking ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.wait(self._limits.interval):
            try:
                self._look()
            except PipelineError as error:
                _logger.warning("no alerts can be raised: %s", error)
            except Exception:
                _logger.exception("no alerts can be raised")

    def _look(self) -> None:
        if not self._acting():
            with self._lock:
                self._engine = None
            return
        if self._engine is None:
            self._take_over()
        measured = {**self._figures(), **self._vitals.figures()}
        with self._lock:
            if self._engine is not None:
                self._publish(self._engine.judge(measured, self._clock.now_us()))

    def _take_over(self) -> None:
        """Go on with the alerts that stand on the topic.

        Raises:
            BrokerUnavailable: If the topics cannot be read to their end in time.
        """
        commands = self._feed.sync(_SYNC_S)
        engine = AlertEngine(self._feed.orders, self._limits.escalate_after, self._feed.ledger.all)
        now_us = self._clock.now_us()
        with self._lock:
            for command in commands:
                if _still_counts(command, engine, now_us):
                    self._carry_out(engine, command)
            self._engine = engine
        _logger.warning("acts_on_alerts raised=%d", len(engine.active))

    def _figures(self) -> Figures:
        """Return the newest snapshot's numbers; none where it is old."""
        snapshot = self._history.latest
        if snapshot is None or self._clock.now_us() - snapshot.time > _STALE_US:
            return {}
        if snapshot is not self._snapshot:
            self._snapshot, self._measured = snapshot, figures_of_snapshot(snapshot)
        return self._measured

    # -- looking ahead ---------------------------------------------------------------------------

    def _look_ahead(self) -> None:
        try:
            require_forecasts()
        except ConfigurationError as error:
            _logger.warning("no breach is foreseen: %s", error)
            return
        while not self._closing.wait(_LOOK_AHEAD_S):
            try:
                self._foresee()
            except Exception:
                _logger.exception("no breach is foreseen")

    def _foresee(self) -> None:
        with self._lock:
            engine = self._engine
            raised = [each.state.subject for each in engine.active] if engine else []
        if engine is None:
            return
        now_us = self._clock.now_us()
        rules = self._feed.orders.rules()
        found = self._forewarner.look(rules, [*self._figures()], raised, now_us)
        with self._lock:
            if self._engine is engine:
                for each in found:
                    self._publish(engine.foresee(each.subject, each.state, each.message, now_us))

    # -- what comes from the topics --------------------------------------------------------------

    def _adopt(self, entry: Entry) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.adopt(entry)

    def _obey(self, command: AlertCommand) -> None:
        with self._lock:
            if self._engine is not None and command.kind in _ASKED_OF_WHO_ACTS:
                self._carry_out(self._engine, command)

    def _carry_out(self, engine: AlertEngine, command: AlertCommand) -> None:
        try:
            self._publish(engine.obey(command, self._clock.now_us()))
        except UsageError as error:
            _logger.warning(
                "alert_command_refused kind=%s author=%s why=%s",
                command.kind,
                command.author,
                error,
            )

    # -- telling ---------------------------------------------------------------------------------

    def _due(self, channel: AlertChannel) -> list[Notice]:
        with self._lock:
            if self._engine is None:
                return []
            return due(
                channel, self._engine.lately, self._feed.orders, self._limits.group_wait,
                self._clock.now_us(),
            )  # fmt: skip

    def _note(self, channel: AlertChannel, notice: Notice) -> None:
        now_us = self._clock.now_us()
        with self._lock:
            if self._engine is not None:
                self._publish(
                    self._engine.told(each, channel.name, notice.told(each, now_us))
                    for each in notice.entries
                )

    def _publish(self, entries: Iterable[Entry]) -> None:
        """Write alerts down as they stand; the lock is held, so that they stay in order."""
        for each in entries:
            if each.state.state != "told":
                _logger.warning(
                    "alert_%s level=%s subject=%s id=%s: %s",
                    each.state.state, each.level, each.state.subject, each.id, each.alert.message,
                )  # fmt: skip
            self._outbox.send(each.alert)


def _still_counts(command: AlertCommand, engine: AlertEngine, now_us: int) -> bool:
    """Say whether what was asked while nobody acted is still to be done."""
    if command.kind is AlertCommandKind.TEST:
        subject = f"{TEST}/{command.command_id}"
        known = any(each.state.subject == subject for each in engine.lately)
        return not known and now_us - command.time <= _TEST_AGE_US
    return any(
        each.id == command.target
        and not each.alert.acknowledged
        and each.state.threshold_us <= command.time
        for each in engine.active
    )
