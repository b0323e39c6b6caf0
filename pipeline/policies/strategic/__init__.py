"""The strategic decision: which way, how sure, in which regime, from the last 48 bars."""

from pipeline.policies.strategic.batch import AGENTS, StrategicBatch
from pipeline.policies.strategic.decide import decide
from pipeline.policies.strategic.regime import REGIMES, RegimeCode
from pipeline.policies.strategic.settings import StrategicSettings

__all__ = ["AGENTS", "REGIMES", "RegimeCode", "StrategicBatch", "StrategicSettings", "decide"]
