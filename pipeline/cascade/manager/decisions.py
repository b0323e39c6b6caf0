"""From what a user's callback returns to what its stage records. Pure.

What the built-in stage measures stays: a strategic decision keeps the regime and the volatility
(RANGE while there are too few bars to tell), a tactical one the entry (the close while there are
too few), momentum, volume ratio and true range. What the built-in risk and execution stages allow
is never widened: a callback there may only be stricter.

========== ========================================== ============================================
stage      what may be returned                       what comes of it
========== ========================================== ============================================
strategic  distribution over BUY, HOLD, SELL          its most probable action, strength
                                                      P(BUY) - P(SELL)
           `Strategic`                                as it is
tactical   distribution over BUY, HOLD, SELL          its most probable action; HOLD ends the flow
           `Tactical`                                 as it is; HOLD ends the flow
risk       `Verdict`, or distribution over verdicts   the stricter of it and the limits' verdict;
                                                      REDUCE_SIZE halves what the limits allow
           `Risk`                                     the same by its verdict, at most its
                                                      envelope's max_quantity
execution  distribution over EXECUTE, SLICE, HOLD,    EXECUTE, SLICE: the built-in plan; HOLD,
           REJECT                                     REJECT: none
           list of `ChildOrder`, `Execution`          these orders, within risk's envelope; ids are
                                                      given here
all        None                                       held
========== ========================================== ============================================

A distribution is a `Superposition` or a mapping from name to probability that sums to 1; names
left out have probability 0. Ties go to the name first in alphabetical order, as everywhere.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import structs
from msgspec.structs import replace

from pipeline.errors import InvalidPacket
from pipeline.packets.identity import client_order_id
from pipeline.packets.models import (
    Bar,
    ChildOrder,
    Execution,
    Risk,
    RiskEnvelope,
    Strategic,
    Superposition,
    Tactical,
)
from pipeline.packets.superposition import chosen, superpose
from pipeline.packets.vocabulary import Action, OutcomeKind, Regime, Side, Verdict
from pipeline.policies.execution.views import EXECUTE, HOLD, PATHS, REJECT, SLICE
from pipeline.policies.risk.book import money
from pipeline.stages.contract import Draft, seal

__all__ = ["PolicyReason", "translate"]

_PASSING = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
_NO_ENVELOPE = RiskEnvelope(Side.NONE, 0.0, 0.0, 0.0, 0.0)
_HALF = 0.5
_SLACK = 1.0 + 1e-9


class PolicyReason(StrEnum):
    """Why a registered policy ended a flow.

    Attributes:
        NO_DECISION: It returned None.
        POLICY_HOLD: It chose HOLD.
        POLICY_REFUSED: It chose to refuse.
    """

    NO_DECISION = "NO_DECISION"
    POLICY_HOLD = "POLICY_HOLD"
    POLICY_REFUSED = "POLICY_REFUSED"


def translate(stage: str, answer: Any, packet: Any, built_in: Draft, source: str) -> Draft:
    """Return the draft that an answer makes, beginning from the built-in one.

    Args:
        stage: Whose.
        answer: What the callback returned.
        packet: What it was asked about.
        built_in: What the built-in stage would record.
        source: Name of the policy, for the view.

    Raises:
        InvalidPacket: If the answer is none that this stage takes.
    """
    if stage == "strategic":
        return _strategic(answer, built_in, source)
    if stage == "risk":
        return _risk(answer, built_in, source)
    ask = _tactical if stage == "tactical" else _execution
    return ask(answer, packet, built_in, source)


# -- strategic and tactical ------------------------------------------------------------------------


def _strategic(answer: Any, built_in: Draft, source: str) -> Draft:
    if answer is None:
        return _held("strategic", PolicyReason.NO_DECISION, built_in)
    measured: Strategic | None = built_in.parts.get("strategic")
    if isinstance(answer, Strategic):
        return replace(built_in, parts={"strategic": answer}, outcome=None)
    view = _view(answer, tuple(Action), source)
    shares = view.distribution
    regime = measured.regime if measured is not None else Regime.WARMUP
    decision = Strategic(
        signal_strength=shares[Action.BUY] - shares[Action.SELL],
        confidence=view.confidence,
        coherence=view.coherence,
        action=Action(chosen(shares)),
        distribution=shares,
        regime=Regime.RANGE if regime is Regime.WARMUP else regime,
        volatility=measured.volatility if measured is not None else 0.0,
    )
    return replace(built_in, parts={"strategic": decision, "views": (view,)}, outcome=None)


def _tactical(answer: Any, packet: Any, built_in: Draft, source: str) -> Draft:
    if answer is None:
        return _held("tactical", PolicyReason.NO_DECISION, built_in)
    if isinstance(answer, Tactical):
        decision, views = answer, {}
    else:
        view = _view(answer, tuple(Action), source)
        decision = _entry(view, packet.bar, built_in.parts.get("tactical"))
        views = {"views": (view,)}
    held = decision.action is Action.HOLD
    outcome = seal(OutcomeKind.HELD, "tactical", PolicyReason.POLICY_HOLD) if held else None
    return replace(built_in, parts={"tactical": decision, **views}, outcome=outcome)


def _entry(view: Superposition, bar: Bar | None, measured: Tactical | None) -> Tactical:
    close = bar.close if bar is not None else 0.0
    return Tactical(
        action=Action(chosen(view.distribution)),
        probability=view.confidence,
        confidence=view.confidence,
        coherence=view.coherence,
        distribution=view.distribution,
        entry=(measured.entry if measured is not None else 0.0) or close,
        momentum=measured.momentum if measured is not None else 0.0,
        volume_ratio=measured.volume_ratio if measured is not None else 1.0,
        atr=measured.atr if measured is not None else 0.0,
        reasons=(),
    )


# -- risk ------------------------------------------------------------------------------------------


def _risk(answer: Any, built_in: Draft, source: str) -> Draft:
    allowed: Risk | None = built_in.parts.get("risk")
    if allowed is None or allowed.verdict not in _PASSING:
        return built_in  # the limits refuse; nobody makes that milder
    if answer is None:
        parts = {"risk": _refused(allowed, Verdict.DELAY, PolicyReason.NO_DECISION)}
        return _held("risk", PolicyReason.NO_DECISION, replace(built_in, parts=parts))
    verdict, share, own = _verdict(answer, allowed, source)
    views = {"views": (*built_in.parts.get("views", ()), *own)}
    if verdict in _PASSING:
        return replace(built_in, parts={"risk": _reduced(allowed, verdict, share), **views})
    refused = _refused(allowed, verdict, PolicyReason.POLICY_REFUSED)
    outcome = seal(OutcomeKind.REJECTED, "risk", PolicyReason.POLICY_REFUSED)
    return replace(built_in, parts={"risk": refused, **views}, outcome=outcome)


def _verdict(
    answer: Any, allowed: Risk, source: str
) -> tuple[Verdict, float, tuple[Superposition, ...]]:
    """Return the verdict, which share of what is allowed it leaves, and the view."""
    if isinstance(answer, Risk):
        most = allowed.envelope.max_quantity
        share = min(1.0, answer.envelope.max_quantity / most) if most > 0.0 else 0.0
        verdict = (
            answer.verdict if share > 0.0 or answer.verdict not in _PASSING else Verdict.REJECT
        )
        return verdict, share, ()
    views: tuple[Superposition, ...] = ()
    if isinstance(answer, str):
        verdict = _named(answer, Verdict)
    else:
        views = (_view(answer, tuple(Verdict), source),)
        verdict = Verdict(chosen(views[0].distribution))
    return verdict, _HALF if verdict is Verdict.REDUCE_SIZE else 1.0, views


def _reduced(allowed: Risk, verdict: Verdict, share: float) -> Risk:
    envelope = allowed.envelope
    if share >= 1.0 and verdict is Verdict.APPROVE:
        return allowed
    quantity = envelope.max_quantity * min(1.0, share)
    return structs.replace(
        allowed,
        verdict=Verdict.REDUCE_SIZE,
        envelope=structs.replace(envelope, max_quantity=quantity),
        reserved=money(quantity * envelope.reference_price, up=True),
    )


def _refused(allowed: Risk, verdict: Verdict, reason: PolicyReason) -> Risk:
    return structs.replace(
        allowed,
        verdict=verdict,
        reasons=(*allowed.reasons, reason),
        envelope=_NO_ENVELOPE,
        reserved=0.0,
    )


# -- execution -------------------------------------------------------------------------------------


def _execution(answer: Any, packet: Any, built_in: Draft, source: str) -> Draft:
    planned: Execution | None = built_in.parts.get("execution")
    if planned is None or not planned.orders:
        return built_in  # execution control refuses; nobody makes that milder
    if answer is None:
        return _no_orders(planned, PolicyReason.NO_DECISION, OutcomeKind.HELD, built_in)
    if isinstance(answer, Execution) or (
        isinstance(answer, Sequence) and not isinstance(answer, str)
    ):
        orders = answer.orders if isinstance(answer, Execution) else tuple(answer)
        return _ordered(orders, packet, planned, built_in)
    view = _view(answer, PATHS, source)
    path = chosen(view.distribution)
    views = {"views": (*built_in.parts.get("views", ()), view)}
    if path in (EXECUTE, SLICE):
        return replace(built_in, parts={**built_in.parts, **views})
    if path == HOLD:
        return _no_orders(planned, PolicyReason.POLICY_HOLD, OutcomeKind.HELD, built_in)
    assert path == REJECT  # noqa: S101  # `_view` takes no other
    return _no_orders(planned, PolicyReason.POLICY_REFUSED, OutcomeKind.REJECTED, built_in)


def _no_orders(
    planned: Execution, reason: PolicyReason, kind: OutcomeKind, built_in: Draft
) -> Draft:
    part = structs.replace(planned, orders=(), reasons=(*planned.reasons, reason))
    outcome = seal(kind, "execution", reason)
    return replace(built_in, parts={"execution": part}, outcome=outcome)


def _ordered(orders: tuple[Any, ...], packet: Any, planned: Execution, built_in: Draft) -> Draft:
    if not orders:
        return _no_orders(planned, PolicyReason.POLICY_HOLD, OutcomeKind.HELD, built_in)
    bounds: RiskEnvelope = packet.risk.envelope
    if wrong := [each for each in orders if not isinstance(each, ChildOrder)]:
        raise InvalidPacket(f"Expected orders of type ChildOrder, was {type(wrong[0]).__name__}")
    if any(each.side is not bounds.side for each in orders):
        raise InvalidPacket(f"Expected orders that {bounds.side}, was another side")
    total = sum(each.quantity for each in orders)
    if total > bounds.max_quantity * _SLACK:
        raise InvalidPacket(
            f"Expected orders of {bounds.max_quantity} units at most, as risk allows, was {total}"
        )
    flow = packet.envelope.flow_id
    numbered = tuple(
        structs.replace(each, client_order_id=client_order_id(flow, index))
        for index, each in enumerate(orders)
    )
    part = structs.replace(planned, orders=numbered)
    outcome = seal(OutcomeKind.EXECUTED, "execution")
    return replace(built_in, parts={"execution": part}, outcome=outcome)


# -- in common -------------------------------------------------------------------------------------


def _held(stage: str, reason: PolicyReason, draft: Draft) -> Draft:
    parts = {name: part for name, part in draft.parts.items() if name == "risk"}
    return replace(draft, parts=parts, outcome=seal(OutcomeKind.HELD, stage, reason))


def _view(answer: Any, names: Sequence[str], source: str) -> Superposition:
    """Return an answer as a superposition over all `names`."""
    if isinstance(answer, Superposition):
        answer, source = answer.distribution, answer.source
    if not isinstance(answer, Mapping):
        raise InvalidPacket(
            f"Expected None, a Superposition, a mapping or a part of the stage from {source},"
            f" was {type(answer).__name__}"
        )
    shares = dict.fromkeys((str(name) for name in names), 0.0)
    for name, share in answer.items():
        if str(name) not in shares:
            raise InvalidPacket(f"Expected {', '.join(shares)} from {source}, was {name!r}")
        shares[str(name)] = float(share)
    return superpose(source, shares)


def _named(name: str, kind: type[Verdict]) -> Verdict:
    try:
        return kind(name)
    except ValueError as error:
        raise InvalidPacket(f"Expected a verdict of {', '.join(kind)}, was {name!r}") from error
