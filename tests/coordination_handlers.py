"""Handlers for systems that tests run in processes of their own."""

import threading

from pipeline.coordination.answers import CoordinationRequest


def never(request: CoordinationRequest) -> str:
    """Never answer."""
    threading.Event().wait()
    return request.decision_type
