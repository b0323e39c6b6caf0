"""The execution monitor: what recent plans cost, per symbol, and what follows from it."""

from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.errors import PositionLost
from pipeline.policies.execution.reasons import ExecutionReason
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.execution.views import EXECUTE, SLICE, View

__all__ = ["MONITOR", "ExecutionState", "SymbolState", "monitor"]

MONITOR = "execution_monitor"
_VERSION = 1


@dataclass(slots=True)
class SymbolState:
    """Exponential averages of one symbol.

    Attributes:
        volume: Of its bars, units.
        half_spread: That its bars let expect, share of the price.
        bars: Bars taken in.
        participation: Of its plans, share of the volume expected.
        slippage: Expected by its plans, share of the price.
        plans: Plans taken in.
    """

    volume: float = 0.0
    half_spread: float = 0.0
    bars: int = 0
    participation: float = 0.0
    slippage: float = 0.0
    plans: int = 0

    def take_bar(self, volume: float, half_spread: float, memory: float) -> None:
        """Take in a bar's volume, units, and half its spread, share of the price."""
        self.volume = _average(self.volume, volume, memory, self.bars)
        self.half_spread = _average(self.half_spread, half_spread, memory, self.bars)
        self.bars += 1

    def take_plan(self, participation: float, slippage: float, memory: float) -> None:
        """Take in a plan with orders."""
        self.participation = _average(self.participation, participation, memory, self.plans)
        self.slippage = _average(self.slippage, slippage, memory, self.plans)
        self.plans += 1


_UNKNOWN = SymbolState()


class ExecutionState:
    """What the execution stage remembers, by symbol."""

    def __init__(self) -> None:
        self._symbols: dict[str, SymbolState] = {}

    def of(self, symbol: str) -> SymbolState:
        """Return the averages of a symbol, for reading."""
        return self._symbols.get(symbol, _UNKNOWN)

    def open(self, symbol: str) -> SymbolState:
        """Return the averages of a symbol, for changing."""
        return self._symbols.setdefault(symbol, SymbolState())

    def dump(self) -> bytes:
        """Return the state as bytes, exact to the last bit."""
        symbols = [(name, _values(item)) for name, item in self._symbols.items()]
        return msgspec.msgpack.encode({"version": _VERSION, "symbols": symbols})

    @classmethod
    def load(cls, data: bytes) -> "ExecutionState":
        """Return the state that `data` is the dump of.

        Raises:
            PositionLost: If this version cannot read it.
        """
        content = msgspec.msgpack.decode(data)
        if content.get("version") != _VERSION:
            raise PositionLost(
                f"Expected an execution state of version {_VERSION}, was {content.get('version')}."
                " Start the version that wrote it, or a new namespace."
            )
        state = cls()
        state._symbols = {name: SymbolState(*values) for name, values in content["symbols"]}
        return state


def monitor(symbol: SymbolState, settings: ExecutionSettings) -> tuple[View, float]:
    """Return the monitor's view, and the scale of the participation that follows from it.

    While the averages of its plans are above `monitor_slippage`, or above the participation
    allowed, slices shrink to `monitor_scale`.
    """
    dear = max(
        symbol.slippage / settings.monitor_slippage,
        symbol.participation / (settings.maximum_participation * settings.maximum_children),
    )
    if dear > 1.0:
        view = View(MONITOR, SLICE, dear - 1.0, (ExecutionReason.MONITOR_THROTTLED,))
        return view, settings.monitor_scale
    return View(MONITOR, EXECUTE, 1.0 - dear), 1.0


def _average(before: float, value: float, memory: float, count: int) -> float:
    return memory * before + (1.0 - memory) * value if count else value


def _values(item: SymbolState) -> list[Any]:
    return [getattr(item, name) for name in SymbolState.__slots__]
