"""What a manager observes of a running cascade: who is there, what control says, how flows end."""

import logging
import time
from collections.abc import Mapping

from msgspec import Struct

from pipeline.cascade.manager.flows import FlowBook
from pipeline.cascade.manager.following import LogFollower
from pipeline.cascade.manager.health import (
    FLOWING_S,
    STAGES,
    CascadeMetrics,
    FlowFigures,
    SystemStatus,
)
from pipeline.cascade.manager.queues import QueueDepth
from pipeline.cascade.manager.systems import RegisteredSystem, statuses
from pipeline.control.reader import ControlReader
from pipeline.control.state import ControlView
from pipeline.coordination.membership import Member
from pipeline.coordination.service import CoordinationService
from pipeline.errors import BrokerUnavailable, PipelineError
from pipeline.events import EventBus
from pipeline.packets.models import ExecutionPlan
from pipeline.packets.runs import unrolled
from pipeline.settings import Settings

__all__ = ["Observation"]

_logger = logging.getLogger(__name__)
_LOG = "cascade.execution"
_START_S = 15.0
_GREETINGS_S = 1.0
_LOOK_S = 0.02
_DEPTH_S = 1.0


class Observation:
    """Reads execution's log, control and coordination along.

    Args:
        bus: Connection to Kafka, connected.
        settings: Settings with a broker.
        book: Told how flows end.
    """

    def __init__(self, bus: EventBus, settings: Settings, book: FlowBook) -> None:
        self.figures = FlowFigures()
        self._book = book
        self._service = CoordinationService(
            bus, heartbeat_interval_s=settings.coordination.heartbeat_interval
        )
        self._control = ControlReader(settings, name="manager-control")
        self._ends = LogFollower(settings, _LOG, self._take_end, client="manager")
        self._queues = QueueDepth(settings)
        self._depth: tuple[float, int | None] = (float("-inf"), None)

    @property
    def error(self) -> PipelineError | None:
        """Why outcomes cannot be read now; None where they can."""
        return self._ends.error

    def start(self) -> None:
        """Start; from when this returns no outcome is missed, and who is there has been heard of.

        Raises:
            BrokerUnavailable, ConfigurationError, PositionLost: If there is no cascade to observe.
        """
        self._ends.start(_START_S)
        try:
            self._service.start()
        except PipelineError:
            self._ends.stop()
            raise
        self._control.start()
        until_s = time.monotonic() + _GREETINGS_S
        while time.monotonic() < until_s and not set(STAGES) <= self._service.systems().keys():
            time.sleep(_LOOK_S)
        self._control.wait_ready(max(0.0, until_s - time.monotonic()))

    def stop(self) -> None:
        """End it."""
        self._ends.stop()
        self._service.close()
        self._control.stop()

    def control(self) -> ControlView:
        """Return what control says now."""
        return self._control.view()

    def members(self, system_id: str) -> list[Member]:
        """Return the live instances of a system."""
        return self._service.directory.members(system_id, self._service.monotonic())

    def systems(self, here: Mapping[str, RegisteredSystem]) -> dict[str, SystemStatus]:
        """Return the status of each of the four systems."""
        live = self._service.directory.live(self._service.monotonic())
        return statuses(self._service.systems(), live, here, self._control.view().fences)

    def flowing(self) -> bool:
        """Say whether a flow ended within the last two seconds."""
        since_s = self.figures.since_last_s(time.monotonic())
        return since_s is not None and since_s <= FLOWING_S

    def queue_depth(self) -> int | None:
        """Return how many records wait before the stages; None where nobody can tell."""
        asked_s, depth = self._depth
        if time.monotonic() - asked_s > _DEPTH_S:
            try:
                depth = self._queues.records()
            except BrokerUnavailable as error:
                _logger.debug("no queue depth: %s", error)
                depth = None
            self._depth = (time.monotonic(), depth)
        return depth

    @staticmethod
    def metrics(
        figures: FlowFigures | None, systems: Mapping[str, SystemStatus], depth: int | None
    ) -> CascadeMetrics:
        """Return the figures as of now."""
        return (figures or FlowFigures()).metrics(time.monotonic(), systems, depth)

    def _take_end(self, record: Struct) -> None:
        if isinstance(record, ExecutionPlan):
            for each in unrolled(record):
                self.figures.note(each, time.monotonic())
                self._book.ended(each.envelope.flow_id, each)
