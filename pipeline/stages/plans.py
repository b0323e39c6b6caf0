"""Order plans and their signatures: which plans carry orders, and who says so.

A plan is signed where it carries orders that are to be sent; what ends without one moves no money,
and costs no signature.
"""

import logging
from typing import Any

from pipeline.errors import SignatureRefused
from pipeline.keys import Purpose, Signer
from pipeline.keys.signing import Headers
from pipeline.packets.models import ChildOrder, ExecutionPlan
from pipeline.packets.vocabulary import OutcomeKind

__all__ = ["PlanSigner", "orders_of"]

_logger = logging.getLogger(__name__)


def orders_of(plan: ExecutionPlan) -> tuple[ChildOrder, ...]:
    """Return the orders that a plan has sent; none where its flow ended otherwise."""
    outcome = plan.envelope.outcome
    if outcome is None or outcome.kind is not OutcomeKind.EXECUTED or plan.execution is None:
        return ()
    return plan.execution.orders


class PlanSigner:
    """Signs the records of a log that are order plans with orders.

    Args:
        signer: Signs with this process's key.
        topic: Real name of the log.
    """

    def __init__(self, signer: Signer, topic: str) -> None:
        self._signer = signer
        self._topic = topic

    def check(self) -> None:
        """Look whether there is a key to sign with.

        Raises:
            SignatureRefused: If there is none that is valid now.
        """
        self._signer.key((Purpose.PLANS,))

    def headers(self, record: Any, value: bytes) -> Headers | None:
        """Return the header that signs a record; None where it needs none.

        A key that was revoked meanwhile leaves the plan unsigned: the gateway refuses it, and risk
        gets its reservation back.
        """
        if not isinstance(record, ExecutionPlan) or not orders_of(record):
            return None
        try:
            return self._signer.sign(self._topic, value, Purpose.PLANS)
        except SignatureRefused as error:
            _logger.error("plan_unsigned flow_id=%s why=%s", record.envelope.flow_id, error)  # noqa: TRY400  # the reason says it all
            return None
