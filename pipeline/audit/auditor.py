"""One auditor: recovers from the audit log, reads on, judges, adds to the audit log, says how far.

Of several that run one has the office (`pipeline.events.office`); the others stand by. An office
may change hands unnoticed for a moment, so nothing rests on it: the audit log takes each window
once (`pipeline.audit.chain`).

A term goes by this protocol:

1. Recover: the newest record that counts, where each partition is read on, and from where to read
   again to know what is under way.
2. Add a START record. Whoever cannot is not the auditor.
3. About once a second ask for the ends of all topics, and read up to them: judge, digest. What was
   read before by the digests' places is judged and not counted again.
4. Once all before these ends is read, what waits for its other side is due; add findings, security
   events, last the window with the new places, as one batch of records; and only then say that all
   before the moment of asking is audited. Rest until the next second.
5. Any error, or a chain that another has added to, ends the term: everything is dropped, from 1.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaException

from pipeline.audit.source import AuditSource
from pipeline.audit.term import Figures, Publish, Term
from pipeline.audit.writing import ChainWriter
from pipeline.clock import Clock
from pipeline.errors import PipelineError
from pipeline.rules.registry import RuleSet
from pipeline.settings import Settings

__all__ = ["GROUP", "Auditor"]

_logger = logging.getLogger(__name__)

GROUP: Final = "cascade.auditor.office"
"""Consumer group of all auditors of a namespace."""

_POLL_S = 0.2
_AGAIN_S = 1.0


class Auditor:
    """Audits a namespace while it has the office; `run` on a thread of its own.

    Args:
        name: As what it is told of, unique among all.
        connect: Returns settings with a broker, or raises `BrokerUnavailable`.
        office: Returns the number of its term in office; None while it has none.
        publish: Publishes its progress.
        clock: Clock.
        rules: Rules about packets.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Settings],
        office: Callable[[], int | None],
        publish: Publish,
        clock: Clock,
        *,
        rules: RuleSet | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._connect = connect
        self._office = office
        self._publish = publish
        self._clock = clock
        self._rules = rules or RuleSet()
        self._monotonic = monotonic
        self.figures = Figures()

    def run(self, stopping: threading.Event) -> None:
        """Audit until told to stop."""
        while not stopping.is_set():
            term = self._office()
            if term is not None:
                try:
                    self._serve(self._connect(), term, stopping)
                except (PipelineError, KafkaException) as error:
                    _logger.warning("audit_term_ended why=%s", error)
                except Exception:
                    _logger.exception("audit_term_ended")
            self.figures.active = False
            stopping.wait(_POLL_S if term is None else _AGAIN_S)

    def _serve(self, settings: Settings, term: int, stopping: threading.Event) -> None:
        writer, source = ChainWriter(settings), AuditSource(settings)
        try:
            work = Term(
                self._name, settings, writer, source,
                rules=self._rules, clock=self._clock, publish=self._publish,
                figures=self.figures, monotonic=self._monotonic,
            )  # fmt: skip
            work.begin()
            self.figures.active = True
            _logger.warning("audits_from sequence=%d term=%d", writer.head.sequence, term)
            while not stopping.is_set() and self._office() == term:
                work.step()
            work.end()
        finally:
            writer.close()
            source.close()
