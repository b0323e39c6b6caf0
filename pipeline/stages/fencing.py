"""Isolation of symbols, sources and policies: fates sealed before the stage decides.

A packet of an isolated symbol or source is rejected at the next stage that it comes to; a packet
for an isolated policy, or for one whose breaker is forced open, is held. While nothing of the kind
is isolated, this costs one question per round. The question goes to the control view that the
record's `control_epoch` names, so a replay finds the same.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from pipeline.control.fences import Fences
from pipeline.control.scope import Scope, ScopeKind
from pipeline.packets.identity import flow_id
from pipeline.packets.models import Envelope, Outcome
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.contract import Context, Draft, Input, Note, StageLogic, seal
from pipeline.stages.fates import Fate

__all__ = ["FencedLogic", "fence_around"]


def fence_around(envelope: Envelope, fences: Fences) -> Scope | None:
    """Return the fence that a packet is behind, by its symbol or its source; None if by neither.

    The envelope names the source only at the first stage; afterwards the flow id tells, which is a
    function of source, symbol and sequence.
    """
    if envelope.symbol in fences.symbols:
        return Scope(ScopeKind.SYMBOL, envelope.symbol)
    for source in fences.sources:
        if source == envelope.source_system or envelope.flow_id == flow_id(
            source, envelope.symbol, envelope.sequence
        ):
            return Scope(ScopeKind.SOURCE, source)
    return None


class FencedLogic:
    """A stage's decisions behind the fences in force; in all else the stage itself.

    Args:
        logic: The stage.
    """

    def __init__(self, logic: StageLogic[Any]) -> None:
        self._logic = logic
        self.apply = logic.apply  # called for each record: found at once

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logic, name)

    def decide(
        self, state: Any, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft | Note | None]:
        """Return one item per input, in order; see `StageLogic.decide`."""
        fences = context.control.fences
        if fences.touch_packets(self._logic.stage):
            inputs = [self._sealed(each, fences) for each in inputs]
        return self._logic.decide(state, inputs, context)

    def _sealed(self, each: Input, fences: Fences) -> Input:
        envelope: Envelope | None = getattr(each.packet, "envelope", None)
        if each.fate is not None or envelope is None:
            return each
        fate = self._fate(envelope, fences)
        return each if fate is None else replace(each, fate=fate)

    def _fate(self, envelope: Envelope, fences: Fences) -> Outcome | None:
        stage = self._logic.stage
        if scope := fence_around(envelope, fences):
            first = envelope.source_system == scope.name and scope.kind is ScopeKind.SOURCE
            reason = Fate.SOURCE_ISOLATED if first else Fate.ISOLATED
            return seal(OutcomeKind.REJECTED, stage, reason, detail=f"{scope} is isolated")
        if stage in fences.policies:
            detail = f"policy:{stage} is isolated"
            return seal(OutcomeKind.HELD, stage, Fate.ISOLATED, detail=detail)
        if stage in fences.breakers:
            return seal(OutcomeKind.HELD, stage, Fate.BREAKER_OPEN, detail="forced open")
        return None
