"""The mixture of the tactical agents, and the gate in front of BUY and SELL."""

from pipeline.errors import ConfigurationError
from pipeline.policies.actions import FloatArray, IntArray
from pipeline.policies.tactical import arrays, compiled
from pipeline.policies.tactical.batch import StrategicContext, TacticalBatch
from pipeline.policies.tactical.settings import TacticalSettings

__all__ = ["decide"]


def decide(
    windows: FloatArray,
    counts: IntArray,
    event_time_us: IntArray,
    context: StrategicContext,
    settings: TacticalSettings,
) -> TacticalBatch:
    """Decide on a batch of windows; a row's result does not depend on the rest of the batch.

    The agents' distributions are mixed with weight = configured weight x the agent's confidence.
    BUY or SELL is acted on only if the strategic stage leans the same way and both stages are sure
    enough; else the row is HOLD, with a reason. See `ReasonCode` for the order of the checks.

    Args:
        windows: [n, width, 5]: open, high, low, close, volume; latest bar last.
        counts: [n], bars in each window.
        event_time_us: [n], time of the last bar; no tactical agent looks at it, so that an agent
            that does can be added without changing callers.
        context: The strategic decisions on the same rows.
        settings: See `TacticalSettings`.

    Raises:
        ConfigurationError: Windows of another width, or a context of another length.
    """
    n = len(windows)
    if not len(event_time_us) == len(context.bias) == len(context.regime) == n:
        raise ConfigurationError(
            f"Expected {n} event times and contexts, one per window, was {len(event_time_us)} and "
            f"{len(context.bias)}; cut all by the same rows"
        )
    decide_rows = arrays.decide if compiled.kernel_of(settings) is None else compiled.decide
    return decide_rows(windows, counts, context, settings)
