"""What a control command is for: everything, or a part that can be fenced off.

| scope | what it is |
|---|---|
| `*` | the whole cascade |
| `stage:tactical` | a stage, or the gateway: its inputs are paused, Kafka keeps the backlog |
| `symbol:IBM` | an instrument: its packets end as rejected, at the next stage that they come to |
| `policy:tactical` | a stage's policy: it is not asked any more, the stage holds every packet |
| `source:market` | where packets come from: they end as rejected, their bars do not count |
| `throttle:IBM` | the repeat-order throttle of an instrument, which trips; nothing to isolate |
| `reconciliation:main` | agreement with the venue over an account, likewise |
| `versions:tactical` | agreement of a stage's workers on settings and policy, likewise |
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pipeline.errors import UsageError
from pipeline.packets.events import EVERYTHING

__all__ = ["POLICIES", "STAGES", "Scope", "ScopeKind"]

POLICIES = ("strategic", "tactical", "risk", "execution")
"""Stages that decide by a policy."""

STAGES = (*POLICIES, "gateway")
"""Stages that can be isolated."""

_LONGEST = 128


class ScopeKind(StrEnum):
    """Kind of a part of the cascade."""

    EVERYTHING = EVERYTHING
    STAGE = "stage"
    SYMBOL = "symbol"
    POLICY = "policy"
    SOURCE = "source"
    THROTTLE = "throttle"
    RECONCILIATION = "reconciliation"
    VERSIONS = "versions"


_NAMES = {ScopeKind.STAGE: STAGES, ScopeKind.POLICY: POLICIES, ScopeKind.VERSIONS: STAGES}


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of the cascade, or all of it.

    Attributes:
        kind: What kind of part.
        name: Its name; empty for everything.
    """

    kind: ScopeKind
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the scope that `text` spells, e.g. `stage:tactical`.

        Raises:
            UsageError: If it spells none, or names a stage that there is not: a fence around
                nothing would only look like one.
        """
        if text == EVERYTHING:
            return cls(ScopeKind.EVERYTHING)
        kind, _, name = text.partition(":")
        if kind not in set(ScopeKind) - {EVERYTHING} or not name or len(text) > _LONGEST:
            raise UsageError(
                "Expected a scope like stage:tactical, symbol:IBM, policy:risk, source:market or *,"
                f" was {text!r}"
            )
        known = _NAMES.get(ScopeKind(kind))
        if known is not None and name not in known:
            raise UsageError(f"Expected one of {', '.join(known)} after {kind}:, was {name!r}")
        return cls(ScopeKind(kind), name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else str(self.kind)
