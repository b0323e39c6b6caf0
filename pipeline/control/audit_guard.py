"""No trading blind: how far the auditor has come, for those that must not go on without it.

The auditor says about once a second up to when all that was appended stands in the audit log. From
then on the guard lets trading go on for `audit_max_lag_s`; each word of the auditor prolongs that,
silence does not. So an auditor that falls behind, hangs, or cannot write is the same as none.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.errors import PoisonError
from pipeline.kafka_logging import ClientLog
from pipeline.packets.codec import decode_as
from pipeline.packets.events import AuditProgress
from pipeline.settings import Settings

__all__ = ["TOPIC", "AuditGuard", "behind"]

_logger = logging.getLogger(__name__)

TOPIC: Final = "cascade.audit.progress"

_POLL_S = 0.5
_AGAIN_S = 1.0


class AuditGuard:
    """Knows until when the last word of the auditor lets trading go on.

    Args:
        settings: Settings; `audit_max_lag_s` is above 0.
        monotonic: Seconds that only run forward.
        now_us: Wall clock, microseconds since the Unix epoch, UTC.
    """

    def __init__(
        self,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._settings = settings
        self._limit_s = settings.audit_max_lag_s
        self._monotonic = monotonic
        self._now_us = now_us
        self._until_s = float("-inf")
        self._said = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-guard", daemon=True)

    @classmethod
    def of(cls, settings: Settings, stage: str) -> Self | None:
        """Return the guard of a stage; None where it is off, and for who sends nothing out."""
        guarded = stage in ("execution", "gateway") and settings.audit_max_lag_s > 0.0
        return cls(settings) if guarded else None

    def start(self) -> None:
        """Begin to listen, without waiting for anything."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; trading may not go on from then on."""
        self._stopping.set()
        self._until_s = float("-inf")

    def refusal(self) -> str:
        """Return why trading may not go on; empty where it may. One comparison."""
        if self._monotonic() < self._until_s:
            return ""
        return f"the auditor is more than {self._limit_s:g} s behind, or silent"

    def take(self, progress: AuditProgress) -> None:
        """Take a word of the auditor."""
        behind_s = behind(progress, self._now_us())
        self._until_s = max(self._until_s, self._monotonic() + self._limit_s - behind_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except KafkaException as error:
                _logger.warning("audit guard lost its connection: %s", error)
            except Exception:
                _logger.exception("audit guard failed; it begins anew")
            self._stopping.wait(_AGAIN_S)

    def _listen(self) -> None:
        properties: dict[str, Any] = self._settings.client(
            group_id=self._settings.group("audit-guard-unused"),
            client_id=self._settings.group("audit-guard"),
            enable_auto_commit=False,
            auto_offset_reset="latest",
            allow_auto_create_topics=False,
            fetch_wait_max_ms=500,
        )
        consumer = Consumer({**properties, "error_cb": _noted}, logger=ClientLog(_logger))
        try:
            # From the end: what was said before this worker began says nothing about now.
            consumer.assign([TopicPartition(self._settings.topic(TOPIC), 0, OFFSET_END)])
            while not self._stopping.is_set():
                message = consumer.poll(_POLL_S)
                if message is not None and message.error() is None:
                    try:
                        self.take(decode_as(message.value(), AuditProgress))
                    except PoisonError as error:
                        _logger.warning("progress of the auditor not read: %s", error)
                self._tell_of_change()
        finally:
            consumer.close()

    def _tell_of_change(self) -> None:
        refusal = self.refusal()
        if bool(refusal) != bool(self._said):
            if refusal:
                _logger.warning("halts_without_audit why=%s", refusal)
            else:
                _logger.warning("goes_on_with_audit")
        self._said = refusal


def behind(progress: AuditProgress, now_us: int) -> float:
    """Return how far the auditor is behind by its last word, seconds.

    Its own figure is trusted where the clocks of two machines differ, the age by the own clock
    where a word was long on its way: whichever is worse counts.
    """
    return max(progress.lag_s, (now_us - progress.audited_until) / 1e6)


def _noted(error: KafkaError) -> None:
    _logger.debug("kafka client: %s", error)
