import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.control.audit_guard import AuditGuard
from pipeline.control.latch import Latch
from pipeline.control.reader import ControlReader
from pipeline.control.state import TradingState
from pipeline.packets.events import AuditProgress
from pipeline.settings import Settings, load_settings
from tests.unit.control.memory_log import BOOTSTRAP, HALT, MemoryBroker, eventually, resume

_ACTIVE, _HALTED = TradingState.ACTIVE, TradingState.HALTED


@dataclass
class _Bench:
    """A broker, a reader of it, and the reader's time, which can be sped up."""

    settings: Settings
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    ahead_s: float = 0.0
    readers: list[ControlReader] = field(default_factory=list)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    def reader(self) -> ControlReader:
        reader = ControlReader(self.settings, open_log=self.broker.open, monotonic=self.monotonic)
        self.readers.append(reader)
        reader.start()
        return reader

    def ready(self, *records: object) -> ControlReader:
        self.broker.append(*records)  # type: ignore[arg-type]  # commands, or None
        reader = self.reader()
        assert reader.wait_ready(20.0)
        return reader


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    """A bench whose readers are stopped afterwards."""
    # A limit far longer than the test, so that only `ahead_s` makes a view stale.
    bench = _Bench(load_settings(home=tmp_path, control_echo_timeout_s=60.0))
    yield bench
    for reader in bench.readers:
        reader.stop()


def _state(reader: ControlReader) -> TradingState:
    return reader.view().trading_state


def test_it_is_halted_before_it_has_read(bench: _Bench) -> None:
    """A reader that was not started, or cannot read, says HALTED and not current."""
    bench.broker.answers = False
    reader = bench.reader()
    eventually(lambda: bench.broker.asked > 0)
    assert (_state(reader), reader.view().current, reader.ready) == (_HALTED, False, False)


def test_it_is_ready_once_it_has_read_to_the_end(bench: _Bench) -> None:
    """When ready, the view is that of the whole log."""
    reader = bench.ready(BOOTSTRAP, HALT, resume(1))
    view = reader.view()
    assert (view.trading_state, view.epoch, view.current) == (_ACTIVE, 2, True)


def test_an_empty_log_is_halted_and_current(bench: _Bench) -> None:
    """Not bootstrapped is known, not doubted."""
    view = bench.ready().view()
    assert (view.trading_state, view.current, view.reason) == (_HALTED, True, "not bootstrapped")


def test_commands_take_effect_as_they_arrive(bench: _Bench) -> None:
    """A halt and a resume are seen without a restart."""
    reader = bench.ready(BOOTSTRAP)
    bench.broker.append(HALT)
    eventually(lambda: _state(reader) is _HALTED)
    assert reader.view().halt_epoch == 1
    bench.broker.append(resume(1))
    eventually(lambda: _state(reader) is _ACTIVE)


def test_an_unreadable_record_halts(bench: _Bench) -> None:
    """A record that is no command halts, and the reader goes on."""
    reader = bench.ready(BOOTSTRAP)
    bench.broker.append(None)
    eventually(lambda: _state(reader) is _HALTED)
    bench.broker.append(resume(1))
    eventually(lambda: _state(reader) is _ACTIVE)


def test_a_broker_that_does_not_answer_halts_after_the_limit(bench: _Bench) -> None:
    """Without an answer within the limit the view is HALTED, its epoch the last known."""
    reader = bench.ready(BOOTSTRAP)
    bench.broker.answers = False
    asked = bench.broker.asked
    bench.ahead_s = 1.0  # time for the next question, well within the limit
    eventually(lambda: bench.broker.asked > asked)
    assert _state(reader) is _ACTIVE
    bench.ahead_s = 120.0
    view = reader.view()
    assert (view.trading_state, view.current, view.epoch) == (_HALTED, False, 0)
    assert view.reason == "no sign of the broker"
    bench.broker.answers = True
    eventually(lambda: _state(reader) is _ACTIVE)


def test_a_record_that_is_known_but_not_read_keeps_the_view_from_being_current(
    bench: _Bench,
) -> None:
    """An answer counts only when everything before the end it named has been read."""
    reader = bench.ready(BOOTSTRAP)
    bench.broker.withheld = 1  # the end moves, the record does not come
    bench.ahead_s = 120.0
    asked = bench.broker.asked
    eventually(lambda: bench.broker.asked > asked + 1)
    assert (_state(reader), reader.view().current) == (_HALTED, False)
    bench.broker.withheld = 0
    eventually(lambda: _state(reader) is _ACTIVE)


def test_a_log_that_lost_commands_halts(bench: _Bench) -> None:
    """A log shorter than what was read is not believed; what it says now is read anew."""
    reader = bench.ready(BOOTSTRAP, HALT, resume(1))
    with bench.broker.lock:
        bench.broker.records.clear()
    bench.ahead_s = 1.0
    eventually(lambda: _state(reader) is _HALTED)
    eventually(lambda: bench.broker.opened > 1)
    eventually(lambda: reader.view().current)
    assert reader.view().reason == "not bootstrapped"


def test_a_halt_is_latched_and_a_resume_lifts_the_latch(bench: _Bench) -> None:
    """The file follows what was read."""
    reader = bench.ready(BOOTSTRAP)
    latch = Latch.of(bench.settings)
    bench.broker.append(HALT)
    eventually(lambda: latch.read().holds(-1))
    assert latch.read().epoch == 1
    bench.broker.append(resume(1))
    eventually(lambda: _state(reader) is _ACTIVE)
    assert (latch.read().trading_state, latch.read().epoch) == (_ACTIVE, 2)


def test_the_latch_outlives_the_log(bench: _Bench) -> None:
    """A control log that was lost and begun anew does not lift a halt."""
    Latch.of(bench.settings).record(_HALTED, 40, "flood")
    view = bench.ready(BOOTSTRAP).view()
    assert view.trading_state is _HALTED
    assert view.reason == "latched on this machine: flood"


def test_a_latch_that_a_later_resume_lifted_does_not_hold(bench: _Bench) -> None:
    """A process that died between halt and resume leaves a latch that no longer counts."""
    Latch.of(bench.settings).record(_HALTED, 1, "flood")
    assert _state(bench.ready(BOOTSTRAP, HALT, resume(1))) is _ACTIVE


def test_a_halt_of_this_machine_is_seen_without_the_log(bench: _Bench) -> None:
    """Setting and releasing the latch by hand takes effect in a running reader."""
    reader = bench.ready(BOOTSTRAP)
    latch = Latch.of(bench.settings)
    halt_id = latch.halt("broker gone", "me")
    assert _state(reader) is _HALTED  # at once: whoever asks looks at the latch
    assert reader.view().reason == "latched on this machine by me: broker gone"
    latch.release(halt_id)
    assert _state(reader) is _ACTIVE


def test_a_latch_that_cannot_be_written_halts(bench: _Bench) -> None:
    """A state that cannot be latched would not survive, so nothing trades on it."""
    bench.settings.home.joinpath("latch").write_text("in the way")
    bench.broker.append(BOOTSTRAP, HALT, resume(1))
    reader = bench.reader()
    eventually(lambda: bench.broker.opened > 1)
    assert (_state(reader), reader.view().current) == (_HALTED, False)


def test_a_reader_that_was_stopped_is_halted(bench: _Bench) -> None:
    """After stop the view is HALTED."""
    reader = bench.ready(BOOTSTRAP)
    reader.stop()
    assert (_state(reader), reader.view().current) == (_HALTED, False)


def test_without_the_auditor_s_word_it_is_halted_where_that_is_a_condition(bench: _Bench) -> None:
    """What the log says holds only while the auditor keeps up, and holds again when it does."""
    guard = AuditGuard(
        bench.settings.model_copy(update={"audit_max_lag_s": 30.0, "broker": "127.0.0.1:1"}),
        bench.monotonic,
    )
    bench.broker.append(BOOTSTRAP)
    reader = ControlReader(
        bench.settings, open_log=bench.broker.open, monotonic=bench.monotonic, audit=guard
    )
    bench.readers.append(reader)
    reader.start()
    assert reader.wait_ready(20.0)
    silent = reader.view()
    guard.take(AuditProgress("a", 1, time.time_ns() // 1000, 0.0, 0, "", 0, 0))
    said = reader.view()
    bench.ahead_s = 31.0

    assert (_HALTED, True) == (silent.trading_state, "auditor" in silent.reason)
    assert _ACTIVE is said.trading_state
    assert _HALTED is reader.view().trading_state
