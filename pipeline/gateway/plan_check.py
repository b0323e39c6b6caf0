"""The gateway's check of a plan's signature, before anything is done about its orders."""

import logging
from collections.abc import Callable
from typing import Protocol

from pipeline.clock import Clock
from pipeline.errors import SignatureRefused
from pipeline.keys import Purpose, Verifier
from pipeline.keys.signing import GivenHeaders
from pipeline.packets.models import ExecutionPlan
from pipeline.stages.plans import orders_of

__all__ = ["PlanCheck", "PlanRefused", "SignedRecord"]

_logger = logging.getLogger(__name__)

PlanRefused = Callable[[ExecutionPlan, str], None]
"""Called with a plan and why its signature does not count."""


class SignedRecord(Protocol):
    """A record as Kafka hands it out."""

    def topic(self) -> str | None:
        """Return its topic's real name."""
        ...

    def value(self) -> bytes | None:
        """Return its value."""
        ...

    def headers(self) -> GivenHeaders:
        """Return its headers."""
        ...


class PlanCheck:
    """Checks the signatures of plans that carry orders.

    The key must count now, not only when the plan was written: what a key has signed that was
    revoked since is not sent.

    Args:
        verifier: Knows the keys.
        clock: Says when.
        refused: Told of each plan that does not pass.
    """

    def __init__(self, verifier: Verifier, clock: Clock, refused: PlanRefused) -> None:
        self._verifier = verifier
        self._clock = clock
        self._refused = refused

    def passes(self, record: SignedRecord, plan: ExecutionPlan) -> bool:
        """Say whether the orders of a plan may be sent, as far as its signature goes."""
        if not orders_of(plan):
            return True
        topic, now = str(record.topic()), self._clock.now_us()
        try:
            self._verifier.check(topic, record.value(), record.headers(), now, (Purpose.PLANS,))
        except SignatureRefused as error:
            _logger.error("plan_refused flow_id=%s why=%s", plan.envelope.flow_id, error)  # noqa: TRY400  # the reason says it all
            self._refused(plan, str(error))
            return False
        return True
