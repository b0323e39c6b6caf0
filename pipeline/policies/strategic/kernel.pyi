from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.policies.actions import FloatArray, IntArray
from pipeline.policies.strategic.settings import StrategicSettings

class Kernel:
    def __init__(
        self,
        settings: StrategicSettings,
        gates: FloatArray,
        decays: Sequence[float],
        corrections: FloatArray,
        kernel_weights: FloatArray,
        volatility_weights: FloatArray,
        season: Sequence[float],
    ) -> None: ...
    def decide(
        self,
        windows: FloatArray,
        counts: IntArray,
        sine: FloatArray,
        cosine: FloatArray,
        distributions: FloatArray,
        confidence: FloatArray,
        numbers: FloatArray,
        action: IntArray,
        regime: npt.NDArray[np.int8],
    ) -> None: ...
