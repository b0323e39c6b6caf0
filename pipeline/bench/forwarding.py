"""Stages that forward: what the engine costs when the decisions cost nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.packets.models import PolicyStamp, Strategic
from pipeline.packets.vocabulary import Action, OutcomeKind, Regime
from pipeline.stages.contract import Context, Draft, Input, seal

__all__ = ["ForwardLogic", "ForwardState"]

_FIRST, _LAST = "strategic", "execution"


@dataclass(slots=True)
class ForwardState:
    """How many records were folded."""

    records: int = 0


class ForwardLogic:
    """Forwards every packet; the last stage ends its flow.

    Args:
        stage: Which stage.
        padding: Bytes that the first stage adds to a packet and the later ones carry along.
    """

    def __init__(self, stage: str, padding: int = 0) -> None:
        self._stage = stage
        self._parts: dict[str, Any] = {}
        if stage == _FIRST and padding:
            # Valid by the rules that the next stage checks: the action is the most probable.
            mixed = {Action.HOLD.value: 1.0, "x" * padding: 0.0}
            self._parts = {
                "strategic": Strategic(0.0, 1.0, 1.0, Action.HOLD, mixed, Regime.WARMUP, 0.0)
            }

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self._stage

    def initial(self) -> ForwardState:
        """Return the state before the first record."""
        return ForwardState()

    def decide(
        self, state: ForwardState, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft | None]:
        """Yield a draft per input; see `StageLogic`."""
        stamp = PolicyStamp("forward", "1", "", context.state_sequence)
        ended = seal(OutcomeKind.HELD, _LAST, "FORWARDED") if self._stage == _LAST else None
        for each in inputs:
            if each.fate is not None:
                yield Draft(outcome=each.fate)
            elif getattr(each.packet, "envelope", None) is None:
                yield None
            else:
                yield Draft(self._parts, ended, stamp)

    def apply(self, state: ForwardState, record: Any) -> None:
        """Count a record."""
        state.records += 1

    def dump(self, state: ForwardState) -> bytes:
        """Return the state as bytes."""
        return str(state.records).encode()

    def load(self, data: bytes) -> ForwardState:
        """Return the state of `dump`."""
        return ForwardState(int(data))
