"""Reading control ahead of all data, on a thread of its own.

The reader goes by this protocol:

1. Ask the broker for the end of the control log, and read from the start up to there: `ready`.
2. Go on reading; a command takes effect as it arrives.
3. Twice a second ask for the end again, on another thread, so that no command waits for the
   answer. When all before it has been read, what is known was current at the moment of asking.
   Older than `control_echo_timeout_s`, it is no longer trusted:
   the view is HALTED until an answer comes.
4. Latch what was read: what restricts after it takes effect, what lifts before.
5. A halt that stands in the latch and in no log is written to the log.
6. Any error ends in HALTED, and in a new start from 1.

The latch is looked at whenever the view is asked for, by whoever asks. So a halt of this machine
counts at the next order plan and the next submit, whatever hangs meanwhile: the broker, the reader
or the event loop.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, TypeVar

from pipeline.control.audit_guard import AuditGuard
from pipeline.control.latch import Latch
from pipeline.control.local_halt import LocalHaltPublisher, write_halt
from pipeline.control.log import ControlLog, Entry, KafkaControlLog
from pipeline.control.state import (
    NONE,
    ControlView,
    TradingState,
    TradingStateMachine,
    strictest,
)
from pipeline.errors import BrokerUnavailable, PipelineError
from pipeline.packets.events import ControlCommand
from pipeline.settings import Settings

__all__ = ["ControlReader", "Heard"]

_logger = logging.getLogger(__name__)

_Told = TypeVar("_Told")
_ASK_EVERY_S = 0.5
_POLL_S = 0.2  # a command ends the wait; a process has a reader for each of its stages
_RESTART_S = 0.5


@dataclass(frozen=True, slots=True)
class Heard:
    """A command that this reader has taken, after it took effect in the view.

    Attributes:
        command: The command.
        epoch: Its epoch.
        refusal: Why it does not count; None where it does.
    """

    command: ControlCommand
    epoch: int
    refusal: str | None


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the log says, in one piece, so that nobody sees half of a change."""

    fresh: ControlView
    stale: ControlView
    lifted_epoch: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """The end of the log, as it was at some moment after it was asked for."""

    asked_s: float
    end: int


class _Asking:
    """Step 3: asks for the end of the log again and again, on a thread of its own."""

    def __init__(self, log: ControlLog, timeout_s: float, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._answer: _Answer | None = None
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control-asking", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()  # or the log would be closed under it

    def answer(self) -> _Answer | None:
        """Return the last answer; None where there was none yet.

        Raises:
            PositionLost: If commands were lost.
        """
        if self._failure is not None:
            raise self._failure
        return self._answer

    def _run(self) -> None:
        while not self._stopping.is_set():
            asked_s = self._monotonic()
            try:
                self._answer = _Answer(asked_s, self._log.end(self._timeout_s))
            except BrokerUnavailable as error:
                _logger.debug("control log: %s", error)  # what is known ages; that is enough
            except Exception as error:  # noqa: BLE001  # raised where the log is read
                self._failure = error
                return
            self._stopping.wait(max(0.0, asked_s + _ASK_EVERY_S - self._monotonic()))


class ControlReader:
    """Keeps the trading state at hand; start it before any data is read.

    Args:
        settings: Broker, namespace, home, authors and time limit.
        open_log: Opens the control log.
        monotonic: Seconds that only run forward.
        name: What to call its client.
        write_halt: Writes a halt of this machine to the control log; see `local_halt.write_halt`.
        audit: Says whether the auditor keeps up; None where that is no condition.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        open_log: Callable[[], ControlLog] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        name: str = "control-reader",
        write_halt: Callable[[Settings, ControlCommand], int] = write_halt,
        audit: AuditGuard | None = None,
    ) -> None:
        self._settings = settings
        self._open_log = open_log or (lambda: KafkaControlLog(settings, name))
        self._monotonic = monotonic
        self._audit = audit
        self.latch = Latch.of(settings)
        self._limit_s = settings.control_echo_timeout_s
        unread = ControlView(
            TradingState.HALTED, NONE, current=False, reason="control log not read yet"
        )
        self._shown = _Shown(unread, unread, NONE)
        self._publisher = LocalHaltPublisher(settings, self.latch, write_halt, monotonic)
        self._listeners: list[Callable[[Heard], None]] = []
        self._heard: list[Heard] = []
        self._watchers: list[Callable[[Entry], None]] = []
        self._forged: list[Entry] = []
        self._told = NONE
        self._fresh_until_s = float("-inf")
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to read, on a thread of its own."""
        if self._audit is not None:
            self._audit.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and wait for the thread; the view is HALTED from then on."""
        self._stopping.set()
        self._fresh_until_s = float("-inf")
        if self._audit is not None:
            self._audit.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=self._limit_s + 10.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def ready(self) -> bool:
        """Whether the log has been read through the end that it had at the start."""
        return self._ready.is_set()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until it is `ready`, at most `timeout_s`; return whether it is."""
        return self._ready.wait(timeout_s)

    def listen(self, listener: Callable[[Heard], None]) -> None:
        """Have `listener` called for each command that comes after the reader was `ready`.

        It is called on the reader's thread, after the command took effect, and must not wait.
        """
        self._listeners.append(listener)

    def watch(self, watcher: Callable[[Entry], None]) -> None:
        """Have `watcher` called, as a listener is, for each record that is not signed as it must.

        Nothing else comes of such a record.
        """
        self._watchers.append(watcher)

    def view(self) -> ControlView:
        """Return the state to act on, the strictest of log and latch.

        Takes no lock, and waits for nothing but the status of the latch's file.
        """
        # In this order, or a new limit could vouch for an old view.
        until_s = self._fresh_until_s
        shown = self._shown
        view = shown.fresh if self._monotonic() < until_s else shown.stale
        if self._audit is not None and (refusal := self._audit.refusal()):
            view = _halted(refusal, view)
        return self._restricted(view, shown.lifted_epoch)

    def _restricted(self, view: ControlView, lifted_epoch: int) -> ControlView:
        latched = self.latch.current()
        if not latched.holds(lifted_epoch):
            return view
        state = strictest(view.trading_state, latched.trading_state)
        if state is view.trading_state:
            return view
        by = f" by {latched.author}" if latched.author else ""
        reason = f"latched on this machine{by}: {latched.reason}"
        return replace(view, trading_state=state, reason=reason)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except PipelineError as error:
                self._distrust(str(error))
                _logger.warning("control reader halted: %s", error)
            except Exception as error:
                self._distrust(f"control reader failed: {error!r}")
                _logger.exception("control reader failed")
            self._stopping.wait(_RESTART_S)
        self._distrust("control reader stopped")

    def _read(self) -> None:
        log = self._open_log()
        try:
            machine = TradingStateMachine(self._settings.control_authors)
            asked_s = self._monotonic()
            self._catch_up(log, machine, log.end(self._limit_s))  # Step 1
            if not self._stopping.is_set():
                if not self._ready.is_set():  # what stood there before the start is old news
                    self._heard.clear()
                    self._forged.clear()
                self._take(machine)
                self._trust(asked_s)
                self._ready.set()
            self._follow(log, machine)
        finally:
            log.close()

    def _catch_up(self, log: ControlLog, machine: TradingStateMachine, end: int) -> None:
        last_s = self._monotonic()
        while log.next_epoch < end and not self._stopping.is_set():
            if self._apply_next(log, machine):
                last_s = self._monotonic()
            elif self._monotonic() - last_s > self._limit_s:
                raise BrokerUnavailable(
                    f"Expected the control log up to {end}, was {log.next_epoch} and no more for"
                    f" {self._limit_s} s"
                )

    def _follow(self, log: ControlLog, machine: TradingStateMachine) -> None:
        with _Asking(log, self._limit_s / 2, self._monotonic) as asking:
            while not self._stopping.is_set():
                if self._apply_next(log, machine):  # Step 2
                    self._take(machine)
                answer = asking.answer()
                if answer is not None and log.next_epoch >= answer.end:
                    self._trust(answer.asked_s)
                    self._publisher.look()  # Step 5

    def _apply_next(self, log: ControlLog, machine: TradingStateMachine) -> bool:
        entry = log.poll(_POLL_S)
        if entry is None:
            return False
        refusal = machine.take(entry)
        if refusal:
            _logger.warning("control command at epoch %d does not count: %s", entry.epoch, refusal)
        if entry.epoch > self._told:
            if entry.command is not None:
                self._heard.append(Heard(entry.command, entry.epoch, refusal))
            elif entry.forgery is not None:
                self._forged.append(entry)
        self._told = max(self._told, entry.epoch)
        return True

    def _take(self, machine: TradingStateMachine) -> None:
        """Step 4: let what was read take effect, and latch it."""
        shown = self._shown.fresh.trading_state
        if strictest(machine.trading_state, shown) is machine.trading_state:
            self._show(machine)
        if machine.decided_epoch != NONE:
            self.latch.record(machine.trading_state, machine.decided_epoch, machine.reason)
        self._show(machine)
        self._tell()

    def _tell(self) -> None:
        heard, self._heard = self._heard, []
        for each in heard:
            _tell_all(self._listeners, each, each.epoch)
        forged, self._forged = self._forged, []
        for entry in forged:
            _tell_all(self._watchers, entry, entry.epoch)

    def _show(self, machine: TradingStateMachine) -> None:
        view = machine.view(current=True)
        if view != self._shown.fresh:
            _logger.info("trading state %s at epoch %d", view.trading_state, view.epoch)
        stale = _halted("no sign of the broker", view)
        self._shown = _Shown(view, stale, machine.lifted_epoch)

    def _trust(self, asked_s: float) -> None:
        if not self._stopping.is_set():
            self._fresh_until_s = max(self._fresh_until_s, asked_s + self._limit_s)

    def _distrust(self, reason: str) -> None:
        self._fresh_until_s = float("-inf")
        shown = self._shown
        self._shown = replace(shown, stale=_halted(reason, shown.fresh))


def _tell_all(callbacks: list[Callable[[_Told], None]], told: _Told, epoch: int) -> None:
    for callback in callbacks:
        try:
            callback(told)
        except Exception:
            _logger.exception("a listener to control failed at epoch %d", epoch)


def _halted(reason: str, last: ControlView) -> ControlView:
    """Return `last`, halted: what was fenced off stays so."""
    return replace(last, trading_state=TradingState.HALTED, current=False, reason=reason)
