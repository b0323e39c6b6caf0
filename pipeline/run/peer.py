"""The supervisor in the coordination: it announces its workers, and restarts them when asked.

What it can be asked for stands in `pipeline.emergency.supervising`.
"""

import logging
import threading
from collections import OrderedDict
from typing import Any

import msgspec
import psutil

from pipeline import __version__
from pipeline.coordination.answers import Abstention, Answer, CoordinationRequest
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.systems import LocalSystem, Vitals
from pipeline.coordination.vocabulary import Role
from pipeline.emergency.supervising import DONE, SUPERVISOR, Request, WorkerSeen
from pipeline.errors import UsageError
from pipeline.events import EventBus
from pipeline.run.supervisor import Supervisor
from pipeline.settings import Settings

__all__ = ["SupervisorPeer"]

_logger = logging.getLogger(__name__)
_MEBIBYTE = 1 << 20
_REMEMBERED = 1000


class SupervisorPeer:
    """Announces a supervisor while it runs.

    Args:
        settings: Settings with a broker.
        supervisor: The supervisor.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._done: OrderedDict[str, Answer | Abstention] = OrderedDict()
        self._exited = threading.Event()
        self._bus = EventBus(settings=settings)
        self._service = CoordinationService(
            self._bus, heartbeat_interval_s=settings.coordination.heartbeat_interval
        )
        self._system = LocalSystem(
            SUPERVISOR,
            "Supervisor of worker processes",
            role=Role.WORKER,
            capabilities=tuple(Request),
            version=__version__,
            vitals=self._look,
            handler=self.answer,
            steadfast=True,
        )
        self._service.add(self._system)
        self._service.watch(self._tell_of_exits)

    def start(self) -> None:
        """Announce it as soon as a broker answers; waits for nothing."""
        self._service.start_soon()

    def note_exit(self) -> None:
        """Have everybody told soon that a worker ended; waits for nothing."""
        self._exited.set()

    def close(self) -> None:
        """Say farewell; waits for the broker, up to a few seconds."""
        self._service.close()
        self._bus.close()

    def answer(self, request: CoordinationRequest) -> Answer | Abstention:
        """Carry a request out, unless that was done; abstain where it is none of its workers."""
        request_id = str(request.decision_data.get("request_id") or request.coordination_id)
        # One after the other: a second restart of the same worker waits for the first.
        with self._lock:
            known = self._done.get(request_id)
            if known is None:
                known = self._carried_out(request)
                self._done[request_id] = known
                while len(self._done) > _REMEMBERED:
                    self._done.popitem(last=False)
        return known

    def _carried_out(self, request: CoordinationRequest) -> Answer | Abstention:
        stage = str(request.decision_data.get("stage") or "")
        if request.decision_type not in set(Request):
            return Abstention(f"Expected {', '.join(Request)}, was {request.decision_type!r}")
        try:
            if request.decision_type == Request.RESTART:
                names, what = self._supervisor.restart(stage), "started again"
            else:
                names, what = self._supervisor.reroute(stage), "took over"
        except UsageError as error:
            return Abstention(str(error))
        _logger.warning("%s workers=%s for=%s", what, names, request.requesting_system)
        return Answer(decision=DONE, reason=f"{', '.join(names)} {what}")

    def _look(self) -> Vitals:
        """Bring what is announced of the workers up to date."""
        seen = [
            WorkerSeen(each.name, each.stages, each.pid, _rss_mb(each.pid), each.exits)
            for each in self._supervisor.workers()
        ]
        workers: list[dict[str, Any]] = msgspec.to_builtins(seen)
        self._system.configuration = {"workers": workers}
        return Vitals()

    def _tell_of_exits(self) -> None:
        if self._exited.is_set():
            self._exited.clear()
            self._service.update(SUPERVISOR)


def _rss_mb(pid: int | None) -> float:
    """Return the memory that a process and those below it hold, mebibytes; 0 where it is gone."""
    if pid is None:
        return 0.0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return round(sum(each.memory_info().rss for each in family) / _MEBIBYTE, 1)
    except psutil.Error:
        return 0.0
