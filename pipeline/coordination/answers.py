"""What is asked and what is answered."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from pipeline.errors import InvalidPacket
from pipeline.packets.models import Superposition
from pipeline.packets.superposition import check, chosen

__all__ = ["Abstention", "Answer", "CoordinationRequest", "Handled", "as_answer", "proposal_of"]

Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
Decision = Annotated[str, Meta(min_length=1, max_length=128)]

# Names under which `decision_data` proposes a decision, and how sure it is, strongest first.
_DECISIONS = ("decision", "action", "signal", "direction")
_CONFIDENCES = ("confidence", "probability", "strength")


class CoordinationRequest(Struct, frozen=True, kw_only=True):
    """A request as a peer's handler gets it.

    Attributes:
        coordination_id: Id of the request.
        requesting_system: System that asks.
        decision_type: What kind of decision, e.g. `entry_signal`.
        decision_data: What is proposed, e.g. `{"signal": "buy", "symbol": "ACME"}`.
        affected_systems: All systems that are asked.
        timestamp: When it was asked, microseconds since the Unix epoch, UTC.
        priority: 1 normal, 2 high, 3 emergency.
    """

    coordination_id: str
    requesting_system: str
    decision_type: str
    decision_data: dict[str, Any]
    affected_systems: tuple[str, ...]
    timestamp: int
    priority: int = 1


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a system decides on a request.

    Attributes:
        decision: A named action (BUY, HOLD, SELL, or any other word), or a verdict (APPROVE,
            REDUCE_SIZE, DELAY, REJECT, EMERGENCY_STOP); upper case counts as lower case.
        confidence: How sure it is, 0 to 1; its weight where votes are weighed.
        distribution: Probability of each named action; empty means all on `decision`.
        direction: Of a verdict: the action that it is a verdict on; empty means the proposed one.
        terms: What it asks for, by name, e.g. `{"quantity": 50, "delay_ms": 20}`.
        priority: 1 normal, 2 high, 3 emergency; counts under PRIORITY_BASED.
        reason: Why, for people.
        details: More, for people.
    """

    decision: Decision
    confidence: Ratio = 1.0
    distribution: dict[str, float] = {}
    direction: str = ""
    terms: dict[str, Any] = {}
    priority: Annotated[int, Meta(ge=1, le=3)] = 1
    reason: str = ""
    details: dict[str, Any] = {}


class Abstention(Struct, frozen=True):
    """A system that has nothing to say on a request, and why."""

    reason: str


Handled = Answer | Abstention | Superposition | Mapping[str, Any] | str | None
"""What a handler may return; None is no answer."""


def as_answer(value: Handled) -> Answer | Abstention | None:
    """Return what a handler returned as an answer.

    A text is a decision; a mapping has the fields of `Answer`; a superposition is a decision for
    its most probable action.

    Raises:
        InvalidPacket: If it is none of these, or a field is out of its range.
    """
    if value is None or isinstance(value, Abstention):
        return value
    if isinstance(value, str):
        value = Answer(decision=value)
    elif isinstance(value, Superposition):
        distribution = dict(value.distribution)
        value = Answer(
            decision=chosen(distribution), confidence=value.confidence, distribution=distribution
        )
    return _checked(value)


def proposal_of(data: Mapping[str, Any]) -> Answer | None:
    """Return what `decision_data` proposes, as the requesting system's own vote.

    The decision stands under `decision`, `action`, `signal` or `direction`; its confidence under
    `confidence`, `probability` or `strength`, 1 where none is between 0 and 1. None where nothing
    is proposed.
    """
    texts = (data.get(name) for name in _DECISIONS)
    decision = next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")
    if not decision:
        return None
    numbers = (data.get(name) for name in _CONFIDENCES)
    sure = next((float(n) for n in numbers if isinstance(n, int | float) and 0 <= n <= 1), 1.0)
    return Answer(decision=decision[:128].upper(), confidence=sure)


def _checked(value: Any) -> Answer:
    try:
        answer = msgspec.convert(msgspec.to_builtins(value), Answer)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidPacket(
            f"Expected an Answer, an Abstention, a Superposition, a mapping, a text or None,"
            f" was {value!r}: {error}"
        ) from error
    distribution = {name.upper(): share for name, share in answer.distribution.items()}
    if distribution:
        check(distribution, "an answer")
    return msgspec.structs.replace(
        answer,
        decision=answer.decision.strip().upper(),
        direction=answer.direction.strip().upper(),
        distribution=distribution,
    )
