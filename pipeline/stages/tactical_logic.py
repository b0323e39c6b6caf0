"""The tactical stage: strategic signals in, entries out."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.packets.models import StrategicSignal, Tactical, TacticalSignal
from pipeline.packets.vocabulary import Action, OutcomeKind
from pipeline.policies import strategic as strategic_policy
from pipeline.policies import tactical as policy
from pipeline.policies.actions import ACTIONS
from pipeline.policies.windows import BarWindows
from pipeline.stages.contract import Context, Draft, Input, seal
from pipeline.stages.views import agent_views, bars_of, distributions, policy_hash, policy_stamp

__all__ = ["TacticalLogic"]

_STAGE = "tactical"
_WINDOW = 60
_ACTIONS = tuple(Action(name) for name in ACTIONS)
_REGIME_CODES = {name: code for code, name in enumerate(strategic_policy.REGIMES)}


class TacticalLogic:
    """Decides by `pipeline.policies.tactical`, over the whole round at once.

    Its state is nothing but the last 60 bars of each symbol; bars of flows that ended early count.
    """

    stage = _STAGE

    def __init__(self, settings: policy.TacticalSettings | None = None) -> None:
        self._settings = settings or policy.TacticalSettings()
        self.policy_sha256 = policy_hash(policy, self._settings)

    def initial(self) -> BarWindows:
        """Return the state before the first bar."""
        return BarWindows(_WINDOW)

    def decide(
        self, state: BarWindows, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft]:
        """Yield a draft per input; see `StageLogic`."""
        rows = [i for i, each in enumerate(inputs) if each.packet and each.packet.bar is not None]
        decided = self._decisions(state, inputs, rows, context)
        drafts = dict(zip(rows, decided, strict=True))
        for index, each in enumerate(inputs):
            if each.fate is not None:
                yield Draft(outcome=each.fate)
            else:
                yield drafts[index]

    def apply(self, state: BarWindows, record: TacticalSignal) -> None:
        """Fold a record: its bar."""
        if (bar := record.bar) is not None:
            state.push(record.envelope.symbol, (bar.open, bar.high, bar.low, bar.close, bar.volume))

    def dump(self, state: BarWindows) -> bytes:
        """Return the state as bytes."""
        return state.dump()

    def load(self, data: bytes) -> BarWindows:
        """Return the state of `dump`."""
        state = self.initial()
        state.load(data)
        return state

    def _decisions(
        self, state: BarWindows, inputs: Sequence[Input], rows: Sequence[int], context: Context
    ) -> Iterator[Draft]:
        """Yield a draft for each of the `rows` of `inputs`; with a fate it is not used."""
        if all(inputs[row].fate is not None for row in rows):
            yield from (Draft() for _ in rows)
            return
        packets: list[StrategicSignal] = [inputs[row].packet for row in rows]
        symbols = [packet.envelope.symbol for packet in packets]
        windows, counts = state.gather(symbols, bars_of(packets))
        times = np.array([packet.envelope.event_time for packet in packets], dtype=np.int64)
        batch = policy.decide(windows, counts, times, _context(packets), self._settings)
        columns = zip(
            batch.action.tolist(),
            batch.probability.tolist(),
            batch.confidence.tolist(),
            batch.coherence.tolist(),
            distributions(batch.distribution),
            batch.entry.tolist(),
            batch.momentum.tolist(),
            batch.volume_ratio.tolist(),
            batch.atr.tolist(),
            batch.reason.tolist(),
            agent_views(policy.AGENTS, batch.agents, batch.agent_confidence, batch.agent_coherence),
            rows,
            strict=True,
        )
        for (
            action,
            probability,
            sure,
            coherent,
            mixed,
            entry,
            move,
            ratio,
            atr,
            why,
            seen,
            row,
        ) in columns:
            reasons = (policy.REASONS[why],) if why else ()
            decision = Tactical(
                _ACTIONS[action], probability, sure, coherent, mixed,
                entry, move, ratio, atr, reasons,
            )  # fmt: skip
            hold = decision.action is Action.HOLD
            outcome = seal(OutcomeKind.HELD, _STAGE, *(reasons or ("NEUTRAL",))) if hold else None
            yield Draft(
                {"tactical": decision, "views": seen},
                outcome,
                policy_stamp(_STAGE, self.policy_sha256, context, row),
            )


def _context(packets: Sequence[StrategicSignal]) -> policy.StrategicContext:
    """Return the strategic decisions as arrays; a packet without one counts as warming up."""
    rows = [
        (s.signal_strength, s.confidence, s.volatility, _REGIME_CODES[s.regime])
        if (s := packet.strategic) is not None
        else (0.0, 0.0, 0.0, _REGIME_CODES["WARMUP"])
        for packet in packets
    ]
    bias, confidence, volatility, regime = zip(*rows, strict=True)
    return policy.StrategicContext(
        np.array(bias), np.array(confidence), np.array(regime, dtype=np.int8), np.array(volatility)
    )
