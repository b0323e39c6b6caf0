"""From several answers to one decision, the same for every order in which they came.

**Rank**, where systems are compared: risk, strategic, tactical, execution, then others by name. A
rank is never shared, so every tie below has one end.

**Veto, before all strategies.** A verdict DELAY, REJECT or EMERGENCY_STOP, whoever gave it, and a
HOLD of risk, end in HOLD. A passing verdict (APPROVE, REDUCE_SIZE) covers the direction that it
names, else the proposed one: a decision for any other direction ends in HOLD. Verdicts are not
votes, and risk's opinion is never averaged with directions.

**Votes** are the other answers, and the requesting system's proposal, where `decision_data` has
one. Where they are not all the same, the strategy decides:

- PRIORITY_BASED: risk first; then the answer of the highest priority; then rank.
- HIERARCHICAL: the answer of the highest rank sets the direction. A lower system may stop it (its
  HOLD makes it HOLD) but not turn it.
- PERFORMANCE_BASED: the answer of the system with the highest success_rate * (1 - load), as it
  announces them itself; then rank. A system that announces no figures cannot win; where nobody
  does, PRIORITY_BASED decides.
- CONSENSUS_BASED: each answer spreads its confidence over its distribution (all on its decision
  where it has none); a decision with more than half of the whole confidence wins. None has it: no
  decision, which means HOLD, and the coordination fails.

Where there are only verdicts, the strictest is the decision.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.coordination.answers import Answer
from pipeline.coordination.vocabulary import ConflictStrategy
from pipeline.packets.vocabulary import Action, Verdict

__all__ = ["HOLD", "RANKS", "Resolution", "Vote", "is_verdict", "rank", "resolve", "strictest"]

HOLD = Action.HOLD.value
RANKS = ("risk", "strategic", "tactical", "execution")
_RISK = RANKS[0]
_VERDICTS = (
    Verdict.EMERGENCY_STOP.value,
    Verdict.REJECT.value,
    Verdict.DELAY.value,
    Verdict.REDUCE_SIZE.value,
    Verdict.APPROVE.value,
)
_PASSING = frozenset({Verdict.REDUCE_SIZE.value, Verdict.APPROVE.value})
_MAJORITY = 0.5


@dataclass(frozen=True, slots=True)
class Vote:
    """An answer with what the strategies weigh it by.

    Attributes:
        system_id: Who answered.
        answer: What.
        score: Performance, 0 to 1; None where nothing was announced.
    """

    system_id: str
    answer: Answer
    score: float | None = None

    @property
    def decision(self) -> str:
        """The decision."""
        return self.answer.decision


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of the answers.

    Attributes:
        decision: The decision; HOLD where none was found.
        decided_by: System whose answer it is; empty where several have it.
        resolved: Whether the rules led to a decision.
        reason: Which rule decided, for people.
        contested: Whether answers contradicted each other.
        shares: Under CONSENSUS_BASED, share of the confidence of each decision.
    """

    decision: str
    decided_by: str
    resolved: bool
    reason: str
    contested: bool
    shares: Mapping[str, float] = field(default_factory=dict)


def rank(system_id: str) -> tuple[int, str]:
    """Return the place of a system, highest first when sorted."""
    place = RANKS.index(system_id) if system_id in RANKS else len(RANKS)
    return place, system_id


def is_verdict(decision: str) -> bool:
    """Return whether a decision is a verdict on another one's."""
    return decision in _VERDICTS


def strictest(verdicts: Iterable[str]) -> str:
    """Return the strictest of some verdicts; empty where there are none."""
    return min(verdicts, key=_VERDICTS.index, default="")


def resolve(
    strategy: ConflictStrategy, votes: Sequence[Vote], proposal: Vote | None = None
) -> Resolution:
    """Return the decision of some answers, at least one; see the module."""
    ordered = sorted(votes, key=lambda vote: rank(vote.system_id))
    voices = [vote for vote in ordered if not is_verdict(vote.decision)]
    if proposal is not None and all(v.system_id != proposal.system_id for v in ordered):
        voices = sorted([*voices, proposal], key=lambda vote: rank(vote.system_id))
    verdicts = [vote for vote in ordered if is_verdict(vote.decision)]
    veto = next((vote for vote in ordered if _blocks(vote)), None)
    if veto is not None:
        why = f"{veto.system_id} says {veto.decision}"
        contested = any(vote.decision != HOLD for vote in voices)
        return Resolution(HOLD, veto.system_id, True, _because(why, veto), contested)
    if not voices:
        verdict = strictest(vote.decision for vote in verdicts)
        first = next(vote for vote in verdicts if vote.decision == verdict)
        return Resolution(verdict, first.system_id, True, "only verdicts were given", False)
    found = _agreed(voices) or _STRATEGIES[strategy](voices)
    return _covered(found, verdicts, proposal)


def _blocks(vote: Vote) -> bool:
    if is_verdict(vote.decision):
        return vote.decision not in _PASSING
    return vote.system_id == _RISK and vote.decision == HOLD


def _because(why: str, vote: Vote) -> str:
    return f"{why}: {vote.answer.reason}" if vote.answer.reason else why


def _agreed(voices: Sequence[Vote]) -> Resolution | None:
    first = voices[0]
    if any(vote.decision != first.decision for vote in voices):
        return None
    only = first.system_id if len(voices) == 1 else ""
    return Resolution(first.decision, only, True, "no contradiction", False)


def _covered(found: Resolution, verdicts: Sequence[Vote], proposal: Vote | None) -> Resolution:
    """Return HOLD instead of a direction that a verdict was not given on."""
    proposed = proposal.decision if proposal is not None else ""
    for vote in verdicts:
        direction = vote.answer.direction or proposed
        if direction and found.decision not in (direction, HOLD):
            why = f"{vote.system_id} approved {direction}, not {found.decision}"
            return Resolution(HOLD, vote.system_id, True, why, True, found.shares)
    return found


def _by_priority(voices: Sequence[Vote]) -> Resolution:
    best = min(
        voices,
        key=lambda vote: (vote.system_id != _RISK, -vote.answer.priority, rank(vote.system_id)),
    )
    why = f"{best.system_id} goes first, priority {best.answer.priority}"
    return Resolution(best.decision, best.system_id, True, why, True)


def _by_hierarchy(voices: Sequence[Vote]) -> Resolution:
    top, *lower = voices
    stop = next((vote for vote in lower if vote.decision == HOLD), None)
    if stop is not None:
        why = f"{stop.system_id} stops {top.decision} of {top.system_id}"
        return Resolution(HOLD, stop.system_id, True, _because(why, stop), True)
    return Resolution(top.decision, top.system_id, True, f"{top.system_id} ranks highest", True)


def _by_performance(voices: Sequence[Vote]) -> Resolution:
    scored = [(vote.score, vote) for vote in voices if _directs(vote) and vote.score is not None]
    if not scored:
        found = _by_priority(voices)
        why = f"no system announced its performance; {found.reason}"
        return Resolution(found.decision, found.decided_by, True, why, True)
    score, best = min(scored, key=lambda each: (-each[0], rank(each[1].system_id)))
    why = f"{best.system_id} performs best, {score:.3f}"
    return Resolution(best.decision, best.system_id, True, why, True)


def _by_consensus(voices: Sequence[Vote]) -> Resolution:
    shares = _shares([vote for vote in voices if _directs(vote)])
    best = min(shares, key=lambda decision: (-shares[decision], decision), default="")
    if best and shares[best] > _MAJORITY:
        return Resolution(best, "", True, f"{shares[best]:.0%} agree", True, shares)
    most = f"{best} had {shares[best]:.0%}" if best else "nobody was sure of anything"
    why = f"Expected a decision with more than half of the confidence, was none: {most}"
    return Resolution(HOLD, "", False, why, True, shares)


def _directs(vote: Vote) -> bool:
    return vote.system_id != _RISK


def _shares(voices: Sequence[Vote]) -> dict[str, float]:
    """Return each decision's share of the confidence: sum_i c_i p_i(d) / sum_i c_i."""
    total = math.fsum(vote.answer.confidence for vote in voices)
    if total <= 0.0:
        return {}
    spread: dict[str, list[float]] = {}
    for vote in voices:
        for decision, share in (vote.answer.distribution or {vote.decision: 1.0}).items():
            spread.setdefault(decision, []).append(vote.answer.confidence * share)
    return {decision: math.fsum(parts) / total for decision, parts in sorted(spread.items())}


_STRATEGIES = {
    ConflictStrategy.PRIORITY_BASED: _by_priority,
    ConflictStrategy.HIERARCHICAL: _by_hierarchy,
    ConflictStrategy.PERFORMANCE_BASED: _by_performance,
    ConflictStrategy.CONSENSUS_BASED: _by_consensus,
}
