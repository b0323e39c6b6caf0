"""The gate between rounds and work."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.control.acknowledgement import Acknowledgement
from pipeline.control.fences import Fences
from pipeline.control.reader import Heard
from pipeline.control.state import ControlView, TradingState
from pipeline.packets.events import ControlCommand, ControlKind
from pipeline.policies.breaker import Breaker, BreakerState
from pipeline.stages.gate import ControlGate
from pipeline.testing import ManualClock

_LIMIT_S = 10.0


@dataclass
class _Control:
    """Says what is in force, and who listens."""

    ready: bool = True
    fences: Fences = field(default_factory=Fences)
    listeners: list[Callable[[Heard], None]] = field(default_factory=list)

    def view(self) -> ControlView:
        return ControlView(TradingState.ACTIVE, 5, current=True, fences=self.fences)

    def listen(self, listener: Callable[[Heard], None]) -> None:
        self.listeners.append(listener)

    def hear(self, fences: Fences, refusal: str | None = None) -> None:
        """Let a command take effect and tell of it."""
        self.fences = fences
        command = ControlCommand("id", ControlKind.ISOLATE, "stage:risk", "o", "why", 1, 0, -1)
        for each in self.listeners:
            each(Heard(command, 5, refusal))


class _Bench:
    """A gate and all around it."""

    def __init__(self) -> None:
        self.control = _Control()
        self.said: list[Acknowledgement] = []
        self.paused: list[bool] = []
        self.worked: list[int] = []
        self.breaker = Breaker(1, 30.0)
        self.holding = asyncio.Event()
        self.holding.set()
        self.gate = ControlGate(
            "risk", "worker", self.control, ManualClock(),
            pause=self.paused.append, say=self.said.append, breaker=self.breaker,
        )  # fmt: skip
        self.gate.attach(asyncio.get_running_loop())

    async def work_off(self, taken: int) -> None:
        await self.holding.wait()
        self.worked.append(taken)

    def send(self, taken: int) -> "asyncio.Task[None]":
        """Let a round come."""
        return asyncio.create_task(self.gate.through(self.work_off, taken))


_ISOLATED = Fences(stages=frozenset({"risk"}))


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while not condition():  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.001)


async def test_a_round_passes_while_nothing_is_isolated() -> None:
    """Isolation of other stages does not hold a round up."""
    bench = _Bench()
    bench.control.fences = Fences(stages=frozenset({"tactical"}))
    await bench.send(1)
    assert ([1], False) == (bench.worked, bench.paused[-1])


async def test_an_isolated_stage_works_nothing_off_until_it_is_released() -> None:
    """Its rounds wait, its inputs are paused; afterwards both go on, in order."""
    bench = _Bench()
    bench.control.fences = _ISOLATED
    round_ = bench.send(1)
    await _until(lambda: len(bench.paused) > 2)
    assert ([], True) == (bench.worked, bench.paused[-1])
    bench.control.fences = Fences()
    await round_
    await bench.send(2)
    assert ([1, 2], False) == (bench.worked, bench.paused[-1])


async def test_nothing_is_worked_off_before_control_was_read() -> None:
    """A worker that starts into an isolation must not work before it knows."""
    bench = _Bench()
    bench.control.ready = False
    round_ = bench.send(1)
    await _until(lambda: len(bench.paused) > 2)
    assert [] == bench.worked
    bench.control.ready = True
    await round_
    assert [1] == bench.worked


async def test_a_command_is_acknowledged_once_it_is_in_force() -> None:
    """The acknowledgement says by whom, of which command, and what is in force then."""
    bench = _Bench()
    bench.control.hear(_ISOLATED)
    await _until(lambda: bench.said)
    (said,) = bench.said
    assert ("id", 5, "risk", "worker", "") == (
        said.command_id,
        said.epoch,
        said.stage,
        said.worker,
        said.refusal,
    )
    assert (said.isolated, said.trading_state) == (True, TradingState.ACTIVE)
    assert bench.paused[-1]


async def test_a_round_under_way_is_over_before_the_acknowledgement() -> None:
    """A round that was begun before goes on under the view before, so nothing is in force yet."""
    bench = _Bench()
    bench.holding.clear()
    round_ = bench.send(1)
    await asyncio.sleep(0)
    bench.control.hear(_ISOLATED)
    await _until(lambda: True in bench.paused)
    assert [] == bench.said
    bench.holding.set()
    await round_
    assert 1 == len(bench.said)


async def test_a_command_that_does_not_count_is_answered_with_why() -> None:
    """The giver learns that this worker refuses it."""
    bench = _Bench()
    bench.control.hear(Fences(), refusal="Expected better")
    await _until(lambda: bench.said)
    assert "Expected better" == bench.said[0].refusal


async def test_a_breaker_is_forced_open_and_reset_by_command() -> None:
    """A reset closes one that tripped by itself, too, and only once."""
    bench = _Bench()
    bench.control.hear(Fences(breakers=frozenset({"risk"})))
    await _until(lambda: bench.breaker.state is BreakerState.FORCED_OPEN)
    bench.control.hear(Fences(resets={"risk": 6}))
    await _until(lambda: bench.breaker.state is BreakerState.CLOSED)
    bench.breaker.failed()
    await bench.send(1)
    assert bench.breaker.state is BreakerState.OPEN
    bench.control.hear(Fences(resets={"risk": 7}))
    await _until(lambda: bench.breaker.state is BreakerState.CLOSED)
