"""Rules about superpositions: sums, modes, coherence, the views behind them."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pipeline.packets import models
from pipeline.packets.events import ValidationType
from pipeline.packets.superposition import TOLERANCE, chosen, coherence
from pipeline.packets.vocabulary import Action
from pipeline.rules import checks
from pipeline.rules.model import PacketRule, packet_rule

__all__ = ["SUPERPOSITION_RULES"]

_TYPE = ValidationType.SUPERPOSITION_COHERENCE
_REMEDIATION = (
    "Find out which policy made it: envelope.policy of the record names it.",
    "Let the policy make its distributions with `pipeline.packets.superposition.superpose`.",
)

STRATEGIC = PacketRule(
    "superposition.strategic",
    _TYPE,
    checks.strategic,
    rule_name="The strategic decision is the mode of a distribution, with its lean",
    of=(models.StrategicSignal,),
    looks_at=("strategic",),
    remediation=_REMEDIATION,
)

TACTICAL = PacketRule(
    "superposition.tactical",
    _TYPE,
    checks.tactical,
    rule_name="The tactical decision is the mode of a distribution, with a price",
    of=(models.TacticalSignal,),
    looks_at=("tactical",),
    remediation=_REMEDIATION,
)


def _stated(packet: Any) -> Iterator[tuple[str, Any, float]]:
    """Yield (whose, distribution, coherence stated) of all superpositions of a packet."""
    for name in ("strategic", "tactical"):
        if (part := getattr(packet, name, None)) is not None:
            yield name, part.distribution, part.coherence
    for view in getattr(packet, "views", ()):
        yield view.source, view.distribution, view.coherence


@lru_cache(maxsize=4096)
def _coherence_of(chances: tuple[float, ...]) -> float:
    """Return the coherence of probabilities; each stage's record repeats those before it."""
    return coherence({str(number): chance for number, chance in enumerate(chances)})


@packet_rule(
    "superposition.coherence",
    _TYPE,
    looks_at=("strategic", "tactical", "views"),
    remediation=_REMEDIATION,
)
def stated_coherence(packet: Any) -> str | None:
    """Each coherence stated is 1 - normalised entropy of its distribution."""
    for name, distribution, stated in _stated(packet):
        found = _coherence_of(tuple(distribution.values()))
        if abs(found - stated) > TOLERANCE:
            return f"Expected coherence {found} of {name}, was {stated}"
    return None


@packet_rule(
    "superposition.views",
    _TYPE,
    looks_at=("views",),
    remediation=_REMEDIATION,
)
def views(packet: Any) -> str | None:
    """Each agent's view is a distribution with its confidence, over the names of the others."""
    names = None
    for view in packet.views:
        chances = view.distribution
        failure = checks.distribution(view.source, chances)
        if failure is None and chances:
            best = chances[chosen(chances)]
            if abs(best - view.confidence) > TOLERANCE:
                failure = f"Expected confidence {best} of {view.source}, was {view.confidence}"
        if failure is not None:
            return failure
        if names is not None and set(chances) != names:
            return f"Expected views over {sorted(names)}, was {sorted(chances)} of {view.source}"
        names = set(chances)
    return None


@packet_rule(
    "superposition.alignment",
    _TYPE,
    of=(models.TacticalSignal,),
    looks_at=("tactical",),
    remediation=("Have the tactical policy act only where the strategic one leans the same way.",),
)
def alignment(packet: models.TacticalSignal) -> str | None:
    """A flow goes on only in the direction that the strategic stage leans to."""
    tactical, strategic = packet.tactical, packet.strategic
    if tactical is None or packet.envelope.outcome is not None or tactical.action is Action.HOLD:
        return None
    lean = 0.0 if strategic is None else strategic.signal_strength
    if lean > 0.0 if tactical.action is Action.BUY else lean < 0.0:
        return None
    return f"Expected {tactical.action} where strategy leans that way, was a lean of {lean}"


SUPERPOSITION_RULES = (STRATEGIC, TACTICAL, stated_coherence, views, alignment)
"""Rules about superpositions."""
