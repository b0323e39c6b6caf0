"""The closed lists of reason codes of the risk and execution stages.

They stand with the policies that give them, below the packets' reach; this is where everybody
above looks them up.
"""

from pipeline.policies.execution.reasons import ExecutionReason
from pipeline.policies.risk.reasons import Recommendation, RiskReason

__all__ = ["ExecutionReason", "Recommendation", "RiskReason"]
