"""A strategic stage whose policy fails where the symbol says so, as a Faust app for a worker."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from pipeline.stages.app import stage_app
from pipeline.stages.contract import Context, Draft, Input
from pipeline.stages.strategic_logic import StrategicLogic, StrategicState

__all__ = ["app"]

ALWAYS, ONCE = "ALWAYS", "ONCE"


class FailingLogic(StrategicLogic):
    """Raises for each packet of ALWAYS, and for the first attempt at each of ONCE."""

    def __init__(self) -> None:
        super().__init__()
        self._tried: set[str] = set()

    def decide(
        self, state: StrategicState, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft]:
        """Yield a draft per input, or raise."""
        drafts: Iterator[Any] = super().decide(state, inputs, context)
        for each in inputs:
            if each.packet is not None and each.fate is None:
                self._fail(each.packet.envelope.symbol, each.packet.envelope.flow_id)
            yield from islice(drafts, 1)

    def _fail(self, symbol: str, flow: str) -> None:
        if symbol == ALWAYS or (symbol == ONCE and flow not in self._tried):
            self._tried.add(flow)
            raise ArithmeticError(f"no decision on {flow}")


app = stage_app("strategic", FailingLogic())
