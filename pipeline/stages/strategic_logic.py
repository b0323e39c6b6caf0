"""The strategic stage: market data in, direction and regime out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from pipeline.packets.lanes import is_urgent
from pipeline.packets.models import Envelope, MarketData, Outcome, Strategic, StrategicSignal
from pipeline.packets.vocabulary import Action, OutcomeKind, Regime
from pipeline.policies import strategic as policy
from pipeline.policies.actions import ACTIONS
from pipeline.policies.windows import BarWindows
from pipeline.stages.contract import Context, Draft, Input, seal
from pipeline.stages.fates import NO_BAR, Fate
from pipeline.stages.views import (
    agent_views,
    bars_of,
    distributions,
    pack,
    policy_hash,
    policy_stamp,
    unpack,
)

__all__ = ["StrategicLogic", "StrategicState"]

_STAGE = "strategic"
_WINDOW = 48
_ACTIONS = tuple(Action(name) for name in ACTIONS)
_REGIMES = tuple(Regime(name) for name in policy.REGIMES)
_SEEN = 64
_SEEN_MASK = (1 << _SEEN) - 1


class _Decided(NamedTuple):
    """Which sequence numbers of a symbol were decided.

    Attributes:
        newest: The highest.
        mask: Bit mask of the 64 up to it.
        normal: The highest of a packet of normal priority; urgent ones may have overtaken others.
    """

    newest: int
    mask: int
    normal: int


@dataclass(slots=True)
class StrategicState:
    """Bars of each symbol, and which of its sequence numbers were decided.

    Attributes:
        windows: Last 48 bars per symbol.
        latest: What was decided, per symbol.
    """

    windows: BarWindows = field(default_factory=lambda: BarWindows(_WINDOW))
    latest: dict[str, _Decided] = field(default_factory=dict)


class StrategicLogic:
    """Decides by `pipeline.policies.strategic`, over the whole round at once."""

    stage = _STAGE

    def __init__(self, settings: policy.StrategicSettings | None = None) -> None:
        self._settings = settings or policy.StrategicSettings()
        self.policy_sha256 = policy_hash(policy, self._settings)

    def initial(self) -> StrategicState:
        """Return the state before the first bar."""
        return StrategicState()

    def decide(
        self, state: StrategicState, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft]:
        """Yield a draft per input; see `StageLogic`."""
        fates = list(self._fates(state, inputs))
        rows = [index for index, (_, has_bar) in enumerate(fates) if has_bar]
        decided = self._decisions(state, inputs, rows, context)
        drafts = dict(zip(rows, decided, strict=True))
        for index, (fate, _) in enumerate(fates):
            if fate is not None:
                yield Draft(outcome=fate)
            else:
                yield drafts[index]

    def apply(self, state: StrategicState, record: StrategicSignal) -> None:
        """Fold a record: its bar, its sequence number."""
        if record.bar is None:
            return
        envelope = record.envelope
        bar = record.bar
        state.windows.push(envelope.symbol, (bar.open, bar.high, bar.low, bar.close, bar.volume))
        state.latest[envelope.symbol] = _noted(state.latest.get(envelope.symbol), envelope)

    def dump(self, state: StrategicState) -> bytes:
        """Return the state as bytes."""
        # Without urgent packets as before there were any, so that either version can take over.
        latest = {
            symbol: of if of.normal != of.newest else of[:2] for symbol, of in state.latest.items()
        }
        return pack(state.windows.dump(), msgspec.json.encode(latest))

    def load(self, data: bytes) -> StrategicState:
        """Return the state of `dump`."""
        windows, latest = unpack(data, 2)
        state = StrategicState()
        state.windows.load(windows)
        found = msgspec.json.decode(latest, type=dict[str, tuple[int, ...]])
        state.latest = {symbol: _Decided(*(*of, of[0])[:3]) for symbol, of in found.items()}
        return state

    def _fates(
        self, state: StrategicState, inputs: Sequence[Input]
    ) -> Iterator[tuple[Outcome | None, bool]]:
        """Yield (fate, whether its bar counts) per input; sequence numbers are judged here."""
        latest: dict[str, _Decided] = {}
        for each in inputs:
            if each.fate is not None and (
                each.fate.kind is OutcomeKind.DEAD_LETTERED
                or not NO_BAR.isdisjoint(each.fate.reasons)
            ):
                yield each.fate, False
                continue
            envelope = each.packet.envelope
            known = latest.get(envelope.symbol) or state.latest.get(envelope.symbol)
            repeated = _judged(known, envelope.sequence)
            if repeated is None:
                latest[envelope.symbol] = _noted(known, envelope)
                yield each.fate, True
                continue
            kind = OutcomeKind.DEAD_LETTERED if repeated is Fate.DUPLICATE else OutcomeKind.EXPIRED
            newest = known.newest if known else -1
            detail = f"sequence {envelope.sequence} after {newest}"
            yield seal(kind, _STAGE, repeated, detail=detail), False

    def _decisions(
        self,
        state: StrategicState,
        inputs: Sequence[Input],
        rows: Sequence[int],
        context: Context,
    ) -> Iterator[Draft]:
        """Yield a draft for each of the `rows` of `inputs`; with a fate it is not used."""
        if all(inputs[row].fate is not None for row in rows):
            yield from (Draft() for _ in rows)
            return
        packets: list[MarketData] = [inputs[row].packet for row in rows]
        symbols = [packet.envelope.symbol for packet in packets]
        windows, counts = state.windows.gather(symbols, bars_of(packets))
        times = np.array([packet.envelope.event_time for packet in packets], dtype=np.int64)
        batch = policy.decide(windows, counts, times, self._settings)
        agents = agent_views(
            policy.AGENTS, batch.agents, batch.agent_confidence, batch.agent_coherence
        )
        columns = zip(
            batch.signal_strength.tolist(),
            batch.confidence.tolist(),
            batch.coherence.tolist(),
            batch.action.tolist(),
            distributions(batch.distribution),
            batch.regime.tolist(),
            batch.volatility.tolist(),
            agents,
            rows,
            strict=True,
        )
        for strength, sure, coherent, action, mixed, regime, volatility, seen, row in columns:
            decision = Strategic(
                strength, sure, coherent, _ACTIONS[action], mixed, _REGIMES[regime], volatility
            )
            warming = decision.regime is Regime.WARMUP
            outcome = seal(OutcomeKind.HELD, _STAGE, "WARMUP") if warming else None
            yield Draft(
                {"strategic": decision, "views": seen},
                outcome,
                policy_stamp(_STAGE, self.policy_sha256, context, row),
            )


def _judged(known: _Decided | None, sequence: int) -> Fate | None:
    """Return why a sequence number cannot be decided, None where it can."""
    if known is None or sequence > known.newest:
        return None
    behind = known.newest - sequence
    if behind < _SEEN:
        return Fate.DUPLICATE if known.mask >> behind & 1 else Fate.SUPERSEDED
    # Beyond the mask nobody knows any more, but of those that urgent ones overtook; a flow decided
    # twice would be the worse error.
    return Fate.SUPERSEDED if sequence > known.normal else Fate.DUPLICATE


def _noted(known: _Decided | None, envelope: Envelope) -> _Decided:
    """Return what was decided of a symbol, this packet included."""
    sequence, urgent = envelope.sequence, is_urgent(envelope.priority)
    if known is None:
        return _Decided(sequence, 1, -1 if urgent else sequence)
    normal = known.normal if urgent else max(known.normal, sequence)
    if sequence <= known.newest:
        return _Decided(known.newest, known.mask | 1 << known.newest - sequence, normal)
    mask = (known.mask << min(sequence - known.newest, _SEEN) | 1) & _SEEN_MASK
    return _Decided(sequence, mask, normal)
