from collections.abc import Sequence

from pipeline.policies.actions import FloatArray, IntArray

def gather(
    symbols: list[str],
    bars: FloatArray,
    slots: dict[str, int],
    rings: FloatArray,
    heads: IntArray,
    counts: IntArray,
    width: int,
    windows: FloatArray,
    sizes: IntArray,
) -> None: ...
def push(
    slot: int,
    bar: Sequence[float] | FloatArray,
    rings: FloatArray,
    heads: IntArray,
    counts: IntArray,
    width: int,
) -> None: ...
def coherence(
    distributions: FloatArray, logarithms: FloatArray, most: float, coherences: FloatArray
) -> None: ...
def moments(
    scaled: FloatArray, volatility: FloatArray, weights: FloatArray, position: int
) -> tuple[float, float, float]: ...
