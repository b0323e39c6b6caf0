"""A monitor without Kafka and threads, to which tests do what happens to a cascade."""

from collections.abc import Iterable

from pipeline.control.state import TradingStateMachine
from pipeline.coordination.messages import Announcement, compose
from pipeline.packets.events import ControlCommand, ControlKind, CoordinationMessage, MessageType
from pipeline.settings import load_settings
from pipeline.stages.routes import ROUTES
from pipeline.watch.catalogue import CATALOGUE, samples, spelled
from pipeline.watch.core import PerformanceCore
from pipeline.watch.host import HostFigures
from pipeline.watch.lag import PartitionLag, together
from pipeline.watch.observations import FlowEnd
from pipeline.watch.offsets import Backlog, GroupLag
from pipeline.watch.uptime import Uptime
from pipeline.watch.view import MonitorView, view_of
from tests.unit.watch.factories import BEGIN_US, flow_end, seconds

__all__ = ["MonitorRig"]

WINDOW_S = 10.0
SETTINGS = load_settings()


class MonitorRig:
    """Ten quiet seconds have passed: 20 packets a second, no failures, all workers there."""

    skewed = False

    def __init__(self, target_latency_ms: float = 100.0) -> None:
        self.core = PerformanceCore(SETTINGS, target_latency_ms, 10_000, BEGIN_US)
        self.uptime = Uptime()
        self.machine = TradingStateMachine(("operator",))
        self.host = HostFigures(0.1, 0.2, 0.1, {})
        self.undecodable = 0
        self.now_s = 0.0
        self.offered = 0
        self.committed = 0
        self.earliest = 0
        self._lags = {stage: PartitionLag() for stage in ROUTES}
        self._number = 0
        self.command(ControlKind.BOOTSTRAP)
        for _ in range(10):
            self.second()

    def second(
        self,
        *,
        packets: int = 20,
        offered: int | None = None,
        committed: int | None = None,
        workers: Iterable[str] = tuple(ROUTES),
        vitals: dict[str, float] | None = None,
        load: float = 0.3,
        **times: float,
    ) -> None:
        """Let a second pass.

        Args:
            packets: How many end.
            offered: How many are offered; as many as end where None.
            committed: How many each stage has taken by its offsets; as many as end where None.
            workers: Stages with a live worker.
            vitals: What workers tell of themselves.
            load: Their load.
            **times: Of each stage, see `flow_end`.
        """
        self.now_s += 1.0
        for place in range(packets):
            self.flow(self.now_s - 1.0 + place / packets, **times)
        self.offered += packets if offered is None else offered
        self.committed += packets if committed is None else committed
        self._look()
        for stage in workers:
            self.announce(stage, load, vitals or {})
        self.core.sample(self.now_us(), self.host)
        self.view()

    def flow(self, ended_s: float, **changes: object) -> None:
        """Let a flow end, see `flow_end`."""
        self.take(flow_end(self._number, ended_s, **changes))  # type: ignore[arg-type]  # as there

    def take(self, end: FlowEnd) -> None:
        """Let a flow end."""
        self._number += 1
        self.core.take_end(end, self.now_us())

    def announce(self, stage: str, load: float, vitals: dict[str, float]) -> None:
        """Let a worker of a stage send its heartbeat."""
        said = Announcement(instance=f"{stage}-1", load=load, performance=vitals)
        self.say(compose(MessageType.HEARTBEAT, stage, said, self))

    def say(self, message: CoordinationMessage, *, late_ms: int = 0) -> None:
        """Let a coordination message arrive."""
        self.core.take_message(message, message.timestamp // 1000 + late_ms)

    def command(self, kind: ControlKind, scope: str = "*") -> None:
        """Let a control command be given."""
        epoch = self.machine.view(current=True).epoch + 1
        command = ControlCommand(
            f"{epoch} {kind}", kind, scope, "operator", "test", self.now_us(), 0, -1
        )
        assert self.machine.apply(command, epoch) is None

    def now_us(self) -> int:
        """Now, microseconds since the Unix epoch."""
        return seconds(self.now_s)

    def view(self) -> MonitorView:
        """Return what the monitor knows now."""
        return view_of(
            self.core,
            self.uptime,
            self.machine.view(current=True),
            self.now_us(),
            WINDOW_S,
            connected=True,
            undecodable=self.undecodable,
        )

    def level(self, series: str) -> float:
        """Return the number of a series, or the sum over all series of a metric."""
        view = self.view()
        return sum(
            number
            for metric, labels, number in samples(view)
            if series
            in (metric.name, spelled(metric.name, dict(zip(metric.labels, labels, strict=True))))
        )

    def _look(self) -> None:
        partitions = []
        for stage, lag in self._lags.items():
            lag.take(self.offered, self.committed, self.now_s)
            partitions.append(
                GroupLag(
                    f"cascade.{stage}", f"cascade.{stage}.in", 0, self.earliest,
                    self.offered, self.committed, lag.now(self.now_s),
                )
            )  # fmt: skip
        systems = {each.group.removeprefix("cascade."): together([each.lag]) for each in partitions}
        self.core.take_backlog(
            Backlog(self.offered, systems, tuple(partitions), "cluster"), self.now_us()
        )


NAMES = tuple(metric.name for metric in CATALOGUE)
