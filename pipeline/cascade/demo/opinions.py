"""What the peers of `--split` answer; each says in which process it did."""

import os

from pipeline.coordination.answers import Answer, CoordinationRequest

__all__ = ["risk", "tactical"]


def tactical(request: CoordinationRequest) -> Answer:
    """Agree with what is proposed, as surely as its strength says."""
    strength = float(request.decision_data.get("strength", 0.0))
    decision = str(request.decision_data.get("signal", "hold"))
    return Answer(decision=decision, confidence=strength, details={"process": os.getpid()})


def risk(request: CoordinationRequest) -> Answer:
    """Approve, up to a size."""
    quantity = 50 if request.decision_type == "entry_signal" else 0
    return Answer(
        decision="APPROVE", terms={"quantity": quantity}, details={"process": os.getpid()}
    )
