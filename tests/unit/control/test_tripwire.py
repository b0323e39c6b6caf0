import pytest

from pipeline.control.state import ControlView, TradingState
from pipeline.control.trips import Trips
from pipeline.control.tripwire import Tripped, Tripwire
from pipeline.errors import BrokerUnavailable
from pipeline.packets.events import ControlCommand, ControlKind
from pipeline.testing import ManualClock

_SHUT = Tripped("throttle:IBM", "too many")


class _Bench:
    """A worker, what it says, and what the control log knows."""

    def __init__(self) -> None:
        self.tripped = [_SHUT]
        self.standing: frozenset[str] = frozenset()
        self.said: list[ControlCommand] = []
        self.lost = 0
        self.now_s = 0.0
        self.wire = Tripwire(
            "risk", lambda: self.tripped, self._view, self._issue, ManualClock(5), self._monotonic
        )

    def _view(self) -> ControlView:
        return ControlView(TradingState.ACTIVE, 1, current=True, trips=Trips(self.standing))

    def _issue(self, command: ControlCommand) -> int:
        if self.lost:
            self.lost -= 1
            raise BrokerUnavailable("Expected a broker, was none")
        self.said.append(command)
        return len(self.said)

    def _monotonic(self) -> float:
        return self.now_s


@pytest.mark.asyncio
async def test_what_has_tripped_is_said_once() -> None:
    """The TRIP names what, who says so and why; it never expires, and is not repeated at once."""
    bench = _Bench()
    await bench.wire.look()
    await bench.wire.look()
    (said,) = bench.said
    assert (said.kind, said.scope, said.author) == (ControlKind.TRIP, "throttle:IBM", "risk")
    assert (said.reason, said.expires_at) == ("too many", 0)


@pytest.mark.asyncio
async def test_it_is_said_again_until_the_log_knows() -> None:
    """A broker that did not take it is told again; what stands in the log is not said any more."""
    bench = _Bench()
    bench.lost = 1
    await bench.wire.look()
    assert not bench.said
    bench.now_s = 60.0
    await bench.wire.look()
    assert len(bench.said) == 1
    bench.now_s, bench.standing = 120.0, frozenset({"throttle:IBM"})
    await bench.wire.look()
    assert len(bench.said) == 1
