"""Part 1, normal flow: a user's policy in place of the tactical agents, from bar to order plan."""

import time
from collections import Counter
from collections.abc import Sequence

from pipeline.cascade import FlowOutcome, SuperpositionType
from pipeline.cascade.demo.checks import Checks, wait_for
from pipeline.cascade.demo.policy import SURE, follow_the_bar
from pipeline.cascade.demo.running import SYMBOL, Running
from pipeline.packets.models import Bar, StrategicSignal, TacticalSignal
from pipeline.packets.vocabulary import Action

__all__ = ["bars", "inject", "show"]

FLOWS = 90
_PACE_S = 0.03
_EXACT = 1e-9
_REGISTER_S = 20.0
_OUTCOME_S = 15.0


def show(running: Running, checks: Checks) -> None:
    """Register the policy, inject bars, and see what became of each; broken: another policy."""
    emitted: Counter[str] = Counter()

    def output(packet: TacticalSignal) -> None:
        emitted.update([packet.envelope.flow_id])
        running.packets.append(packet)

    manager = running.manager
    manager.register_marl_system(
        system_id="tactical",
        system_name="Tactical MARL of the demo",
        input_callback=_less_sure if running.broken else follow_the_bar,
        output_callback=output,
    )
    decides = wait_for(lambda: manager.get_cascade_status().systems["tactical"].here, _REGISTER_S)
    checks.equal("tactical is decided by the demo's own policy", True, decides)

    outcomes = inject(running, FLOWS)
    checks.equal("outcomes of injected flows", FLOWS, len(outcomes))
    kinds = ", ".join(
        f"{count} {kind}"
        for kind, count in Counter(each.kind.value for each in outcomes).most_common()
    )
    executed = [each for each in outcomes if each.executed]
    checks.holds(
        "what they ended as",
        "some executed, with orders",
        kinds,
        any(each.orders for each in executed),
    )
    checks.equal(
        "order plans that decide as the policy does", len(executed), sum(map(_as_decided, executed))
    )
    ours = {each.flow_id for each in outcomes}
    wait_for(lambda: ours <= emitted.keys(), _OUTCOME_S)
    checks.equal(
        "packets handed to output_callback, each once",
        FLOWS,
        sum(emitted[flow] == 1 for flow in ours),
    )


def bars(count: int, first: int = 0) -> Sequence[Bar]:
    """Return bars that rise for five and fall for four, slowly upwards; no two are alike."""
    made = []
    for index in range(first, first + count):
        rising = index % 9 < 5  # noqa: PLR2004  # the docstring says it
        open_ = 100.0 + index % 9 * 0.05 * (1 if rising else -1) + index * 0.002
        close = open_ + (0.06 if rising else -0.05)
        made.append(
            Bar(
                open_,
                max(open_, close) + 0.03,
                min(open_, close) - 0.03,
                close,
                50_000.0 + index,
                60,
            )
        )
    return made


def inject(running: Running, count: int) -> list[FlowOutcome]:
    """Inject bars at an even pace; return how their flows ended."""
    ids = []
    for bar in bars(count, running.injected):
        ids.append(
            running.manager.inject_superposition(
                packet_type=SuperpositionType.CONTEXT_UPDATE,
                data=bar,
                source_system="market_data",
                priority=1,
                symbol=SYMBOL,
            )
        )
        time.sleep(_PACE_S)
    running.injected += count
    outcomes = [running.manager.wait_for(packet_id, _OUTCOME_S) for packet_id in ids]
    running.outcomes.extend(outcomes)
    return outcomes


def _less_sure(packet: StrategicSignal) -> dict[str, float] | None:
    """Decide as the policy does, but not as surely: another policy, as its decisions show."""
    decided = follow_the_bar(packet)
    return decided and {**dict.fromkeys(decided, SURE - 0.1), "HOLD": 1.1 - SURE}


def _as_decided(outcome: FlowOutcome) -> bool:
    """Say whether a plan carries the policy's own decision on its bar."""
    plan = outcome.plan
    if plan.tactical is None or plan.bar is None:
        return False
    expected = Action.BUY if plan.bar.close >= plan.bar.open else Action.SELL
    return plan.tactical.action is expected and abs(plan.tactical.probability - SURE) < _EXACT
