"""How late an event loop is."""

import asyncio

from pipeline.metrics import LoopLag


class _Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_loop_that_wakes_up_late_lags() -> None:
    """Lag is the time by which it wakes up later than it asked to, the worst of ten seconds."""
    time = _Time()
    lag = LoopLag(time)
    task = asyncio.create_task(lag.follow())
    await asyncio.sleep(0)
    time.now_s += 0.25 + 0.4
    lag.woke()
    assert abs((lag.worst_s() or 0.0) - 0.4) < 1e-9
    task.cancel()


async def test_a_loop_that_hangs_lags_already() -> None:
    """What is overdue counts before the loop wakes up, so that a hang is seen."""
    time = _Time()
    lag = LoopLag(time)
    task = asyncio.create_task(lag.follow())
    await asyncio.sleep(0)
    time.now_s += 5.0
    assert (lag.worst_s() or 0.0) > 4.0
    task.cancel()


def test_before_the_first_look_nothing_is_known() -> None:
    """No loop, no lag: None, not 0."""
    assert LoopLag().worst_s() is None
