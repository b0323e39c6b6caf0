"""The risk decision: whether an order may go, and within which bounds."""

from pipeline.policies.risk.book import Account, Exposure, Reservation
from pipeline.policies.risk.decision import AGENTS, Assessment, Signal, assess
from pipeline.policies.risk.market import Market
from pipeline.policies.risk.monitor import Moments, moments
from pipeline.policies.risk.reasons import Recommendation, RiskReason, recommend
from pipeline.policies.risk.settings import RiskSettings
from pipeline.policies.risk.sizing import SizingBatch, size
from pipeline.policies.risk.state import RiskState
from pipeline.policies.risk.views import VERDICTS, View

__all__ = [
    "AGENTS",
    "VERDICTS",
    "Account",
    "Assessment",
    "Exposure",
    "Market",
    "Moments",
    "Recommendation",
    "Reservation",
    "RiskReason",
    "RiskSettings",
    "RiskState",
    "Signal",
    "SizingBatch",
    "View",
    "assess",
    "moments",
    "recommend",
    "size",
]
