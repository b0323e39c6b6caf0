"""`cascade run --autoscale`: local workers added and ended as the monitor recommends.

The monitor counts the workers of all machines, so only one supervisor of a namespace should scale.
After a change of a stage nothing more is changed there for `ScalingSettings.pause`, and until as
many workers send heartbeats as there should be then, or four times as long: the group rebalances,
the new worker takes over, and only then do figures say whether that was enough.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from pipeline.errors import PipelineError, UsageError
from pipeline.events import EventBus, Received
from pipeline.packets.events import MetricsSnapshot
from pipeline.run.supervisor import Supervisor
from pipeline.settings import Settings
from pipeline.stages.routes import ROUTES
from pipeline.watch.catalogue import spelled
from pipeline.watch.history import TOPIC, figures_of_snapshot
from pipeline.watch.scaling import RECOMMENDED

__all__ = ["Autoscaler", "local_target"]

_logger = logging.getLogger(__name__)

_AGAIN_S = 1.0
_PATIENCE = 4


def local_target(local: int, live: int, recommended: int) -> int:
    """Return how many workers of a stage are to run here.

    Args:
        local: How many do.
        live: How many do on all machines, as their heartbeats tell; those that run here count
            before their first one.
        recommended: How many should on all machines.
    """
    return max(1, local + recommended - max(live, local))


class Autoscaler:
    """Follows the recommendations on `cascade.metrics`, and has a supervisor act on them.

    Args:
        settings: Settings with a broker.
        supervisor: Runs the workers.
        stages: The stages that it runs.
        say: Told in a line of what is changed.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        stages: Sequence[str],
        say: Callable[[str], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pause_s = settings.scaling.pause
        self._supervisor = supervisor
        self._stages = [each for each in stages if each in ROUTES]
        self._say = say
        self._monotonic = monotonic
        self._bus = EventBus(settings=settings)
        began_s = monotonic()
        self._changed_s = dict.fromkeys(self._stages, began_s)
        self._awaited: dict[str, int] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="autoscale", daemon=True)

    def start(self) -> None:
        """Begin as soon as a broker answers, without waiting for anything."""
        self._thread.start()

    def close(self) -> None:
        """Change nothing any more; what runs goes on."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._bus.close()

    def take(self, snapshot: MetricsSnapshot) -> None:
        """Act on what a snapshot recommends."""
        figures = figures_of_snapshot(snapshot)
        for stage in self._stages:
            recommended = figures.get(spelled(RECOMMENDED, {"stage": stage}))
            live = figures.get(spelled("cascade_live_workers", {"system": stage}))
            if recommended is not None and live is not None and self._settled(stage, int(live)):
                self._scale(stage, int(live), int(recommended))

    def _settled(self, stage: str, live: int) -> bool:
        """Say whether a stage's last change has come to its end."""
        if self._awaited.get(stage) == live:
            del self._awaited[stage]
        pauses = _PATIENCE if stage in self._awaited else 1
        return self._monotonic() - self._changed_s[stage] >= pauses * self._pause_s

    def _scale(self, stage: str, live: int, recommended: int) -> None:
        local = sum(stage in each.stages for each in self._supervisor.workers())
        target = local_target(local, live, recommended)
        if target == local:
            return
        self._changed_s[stage] = self._monotonic()
        self._awaited[stage] = live + target - local
        try:
            started, ended = self._supervisor.scale(stage, target)
        except UsageError as error:
            _logger.warning("not scaled: %s", error)
            return
        what = f"starts {', '.join(started)}" if started else f"ends {', '.join(ended)}"
        self._say(f"{stage}: {recommended} workers are recommended, was {live}: {what}")

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                self._bus.subscribe(TOPIC, self._received)
            except PipelineError as error:
                _logger.debug("no recommendations yet: %s", error)
                self._closing.wait(_AGAIN_S)
            else:
                return

    def _received(self, received: Received) -> None:
        if isinstance(received.packet, MetricsSnapshot) and not self._closing.is_set():
            self.take(received.packet)
