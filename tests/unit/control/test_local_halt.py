from pathlib import Path

import pytest

from pipeline.control.latch import Latch
from pipeline.control.local_halt import LocalHaltPublisher
from pipeline.errors import BrokerUnavailable
from pipeline.packets.events import ControlCommand, ControlKind
from pipeline.settings import Settings, load_settings
from tests.unit.control.memory_log import eventually


class _Bench:
    """A latch, a control log that may be away, and the time."""

    def __init__(self, home: Path) -> None:
        self.settings = load_settings(home=home)
        self.latch = Latch.of(self.settings)
        self.written: list[ControlCommand] = []
        self.away = False
        self.tried = 0
        self.now_s = 0.0
        self.publisher = self.another()

    def another(self) -> LocalHaltPublisher:
        return LocalHaltPublisher(
            self.settings, Latch.of(self.settings), self._write, lambda: self.now_s
        )

    def _write(self, _: Settings, command: ControlCommand) -> int:
        self.tried += 1
        if self.away:
            raise BrokerUnavailable("Expected a broker, was none")
        self.written.append(command)
        return 6 + len(self.written)


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    """A bench where nothing is halted."""
    return _Bench(tmp_path)


def _look_late(bench: _Bench, publisher: LocalHaltPublisher | None = None) -> None:
    publisher = publisher or bench.publisher
    publisher.look()
    bench.now_s += 60.0
    publisher.look()


def test_a_halt_of_this_machine_is_told_to_all(bench: _Bench) -> None:
    """It goes to the log under its own id, author and reason, and the latch follows the log."""
    halt_id = bench.latch.halt("fire", "me")
    _look_late(bench)
    eventually(lambda: not bench.latch.read().local)
    (command,) = bench.written
    assert (command.kind, command.command_id) == (ControlKind.HALT, halt_id)
    assert (command.author, command.reason) == ("me", "fire")
    assert (bench.latch.read().epoch, bench.latch.read().holds(6)) == (7, True)
    _look_late(bench)
    _look_late(bench, bench.another())
    assert len(bench.written) == 1


def test_whoever_halts_by_the_log_too_is_given_time(bench: _Bench) -> None:
    """`cascade control halt` latches first and writes the log itself: nobody writes it twice."""
    bench.latch.halt("fire", "me")
    bench.publisher.look()
    bench.publisher.look()
    bench.latch.settle(3)
    _look_late(bench)
    assert bench.tried == 0


def test_it_is_tried_again_while_the_log_is_away(bench: _Bench) -> None:
    """The latch stays local until the log has the halt."""
    bench.latch.halt("fire", "me")
    bench.away = True
    _look_late(bench)
    eventually(lambda: bench.tried == 1)
    assert bench.latch.read().local
    bench.away = False

    def published() -> bool:
        bench.publisher.look()
        return not bench.latch.read().local

    eventually(published)


def test_a_latch_that_nobody_set_is_not_told(bench: _Bench) -> None:
    """One that cannot be read halts here; there is no halt to tell of."""
    bench.latch.path.parent.mkdir(parents=True)
    bench.latch.path.write_text("{")
    _look_late(bench)
    assert bench.tried == 0
    assert bench.latch.current().holds(1_000_000)
