"""The mixture of the strategic agents."""

from pipeline.policies.actions import FloatArray, IntArray
from pipeline.policies.strategic import arrays, compiled
from pipeline.policies.strategic.batch import StrategicBatch
from pipeline.policies.strategic.settings import StrategicSettings

__all__ = ["decide"]


def decide(
    windows: FloatArray, counts: IntArray, event_time_us: IntArray, settings: StrategicSettings
) -> StrategicBatch:
    """Decide on a batch of windows; a row's result does not depend on the rest of the batch.

    Each agent gives a distribution; they are mixed with weight = configured weight x the regime's
    gate x the agent's confidence. Rows with fewer than `width` bars, or with broken ones (not
    finite, a price not above 0), are WARMUP and all HOLD.

    Args:
        windows: [n, width, 5]: open, high, low, close, volume; latest bar last.
        counts: [n], bars in each window.
        event_time_us: [n], time of the last bar, microseconds since the Unix epoch, UTC.
        settings: See `StrategicSettings`.

    Raises:
        ConfigurationError: Windows of another width.
    """
    decide_rows = arrays.decide if compiled.kernel_of(settings) is None else compiled.decide
    return decide_rows(windows, counts, event_time_us, settings)
