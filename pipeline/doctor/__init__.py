"""What is wrong with an installation or with the cascade that runs, and what to do about it."""

from pipeline.doctor.evidence import Evidence, gather
from pipeline.doctor.finding import Finding, State, verdict
from pipeline.doctor.installation import examine
from pipeline.doctor.symptoms import CHECKS, SYMPTOMS, Check, judge

__all__ = [
    "CHECKS",
    "SYMPTOMS",
    "Check",
    "Evidence",
    "Finding",
    "State",
    "examine",
    "gather",
    "judge",
    "verdict",
]
