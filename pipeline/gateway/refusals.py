"""Telling people and the audit log what was refused for its signature: plans and commands.

The gateway does it for everybody, since nothing reaches a venue past it. Who floods a topic with
forgeries gets a few alerts, and then their count.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable

from pipeline.clock import Clock
from pipeline.control.log import TOPIC, Entry
from pipeline.control.security_log import UNKNOWN, SecurityLog
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.packets.events import Alert, PerformanceAlert, SecurityEventKind
from pipeline.packets.models import ExecutionPlan

__all__ = ["Refusals"]

_logger = logging.getLogger(__name__)
_ALERTS = "cascade.alerts"
_MOST = 5
_WINDOW_S = 60.0


class Refusals:
    """Tells of refused plans and commands; never waits, and never raises.

    Args:
        log: The audit's way in.
        bus: Connection to Kafka.
        clock: Says when.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        log: SecurityLog,
        bus: EventBus,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._bus = bus
        self._clock = clock
        self._monotonic = monotonic
        self._told_s: deque[float] = deque(maxlen=_MOST)
        self._untold = 0

    def plan(self, plan: ExecutionPlan, why: str) -> None:
        """Tell of a plan whose orders are not sent."""
        flow = plan.envelope.flow_id
        subject = f"order plan of flow {flow}"
        self._tell(f"plan-refused-{flow}", subject, why, UNKNOWN, PerformanceAlert.EMERGENCY)

    def command(self, entry: Entry) -> None:
        """Tell of a record of the control log that does not count."""
        forgery = entry.forgery
        if forgery is None:
            return
        claimed = forgery.claimed
        what = "unreadable" if claimed is None else f"{claimed.kind} {claimed.scope}"
        author = UNKNOWN if claimed is None else claimed.author
        subject = f"{TOPIC}[0]@{entry.epoch}: {what}, in the name of {author}"
        name = f"command-refused-{entry.epoch}"
        level = PerformanceAlert.CRITICAL if forgery.alarming else None
        self._tell(name, subject, forgery.reason, author, level)

    def _tell(
        self, name: str, subject: str, why: str, author: str, level: PerformanceAlert | None
    ) -> None:
        now_s = self._monotonic()
        if len(self._told_s) == _MOST and now_s - self._told_s[0] < _WINDOW_S:
            self._untold += 1
            return
        self._told_s.append(now_s)
        more, self._untold = self._untold, 0
        why = f"{why}; {more} more before it" if more else why
        try:
            self._log.tell(SecurityEventKind.REFUSAL, author=author, subject=subject, detail=why)
            if level is not None:
                context = json.dumps({"subject": subject[:1000], "more": more})
                alert = Alert(
                    name[:128], level, f"refused: {subject}: {why}"[:4096], context,
                    self._clock.now_us(), acknowledged=False,
                )  # fmt: skip
                self._bus.publish_soon(_ALERTS, alert, key=name.encode())
        except PipelineError as error:
            _logger.error("refusal_untold subject=%s why=%s", subject, error)  # noqa: TRY400  # the reason says it all
