import numpy as np
import numpy.typing as npt

from pipeline.policies.actions import FloatArray, IntArray
from pipeline.policies.tactical.settings import TacticalSettings

class Kernel:
    def __init__(
        self, settings: TacticalSettings, wilder_weights: FloatArray, fading: FloatArray
    ) -> None: ...
    def decide(
        self,
        windows: FloatArray,
        counts: IntArray,
        context: FloatArray,
        regime: npt.NDArray[np.int8],
        distributions: FloatArray,
        confidence: FloatArray,
        numbers: FloatArray,
        action: IntArray,
        reason: npt.NDArray[np.int8],
    ) -> None: ...
