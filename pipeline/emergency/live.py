"""The live cascade as checks of recovery plans see it: control log, workers, ends of the logs."""

import threading
import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException

from pipeline.control.log import fold
from pipeline.control.scope import STAGES, ScopeKind
from pipeline.control.state import TradingState, TradingStateMachine
from pipeline.emergency.membership import LiveWorkers
from pipeline.emergency.plans import Check, Finding
from pipeline.emergency.table import scope_of
from pipeline.errors import BrokerUnavailable
from pipeline.events import EventBus
from pipeline.transport.clients import log_consumer, watermarks
from pipeline.watch.offsets import Backlog, OffsetWatch

__all__ = ["LiveCascade", "log_of"]

_APART_S = 0.5
_ASK_S = 5.0
_AGE_S = 2.0
_EMERGENCY = "emergency"


def log_of(stage: str) -> str:
    """Return the topic of a stage's output log, without namespace."""
    return "cascade.fills" if stage == "gateway" else f"cascade.{stage}"


class LiveCascade:
    """Looks at a cascade that runs; thread-safe.

    Args:
        bus: Connection to Kafka.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._workers: LiveWorkers | None = None
        self._consumer: Consumer | None = None
        self._offsets: OffsetWatch | None = None

    def close(self) -> None:
        """Let go of its connections; the bus stays open."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def control(self) -> TradingStateMachine:
        """Return what the control log says now."""
        return fold(self._bus.connect())

    def workers(self) -> Mapping[str, int]:
        """Return the live workers by stage."""
        return self._counter().count(STAGES, _ASK_S)

    def emergency_workers(self) -> int:
        """Return how many emergency workers are live."""
        return self._counter().count((_EMERGENCY,), _ASK_S).get(_EMERGENCY, 0)

    def _counter(self) -> LiveWorkers:
        settings = self._bus.connect()
        with self._lock:
            if self._workers is None:
                self._workers = LiveWorkers(settings)
            return self._workers

    def ends(self, topic: str) -> Mapping[int, int]:
        """Return the end offsets of a topic by partition.

        Raises:
            BrokerUnavailable: If the broker does not tell.
        """
        settings = self._bus.connect()
        real = settings.topic(topic)
        with self._lock:
            if self._consumer is None:
                self._consumer = log_consumer(settings, "emergency-look")
            try:
                found = self._consumer.list_topics(real, timeout=_ASK_S).topics[real].partitions
            except KafkaException as error:
                raise BrokerUnavailable(f"Expected to find {real}, was: {error}") from error
            return {each: watermarks(self._consumer, real, each, _ASK_S)[1] for each in found}

    def log_end(self, stage: str) -> int:
        """Return the sum of the end offsets of a stage's log: it grows with each record."""
        return sum(self.ends(log_of(stage)).values())

    def backlog(self) -> Backlog:
        """Return what waits before each system.

        Raises:
            BrokerUnavailable: If the broker does not tell.
        """
        settings = self._bus.connect()
        with self._lock:
            if self._offsets is None:
                self._offsets = OffsetWatch(settings)
            return self._offsets.look()

    # -- checks ----------------------------------------------------------------------------------

    @property
    def checks(self) -> Mapping[str, Check]:
        """The checks of recovery plans, by name; each is a method below."""
        return {
            each.__name__: each
            for each in (
                self.isolated,
                self.released,
                self.breaker_open,
                self.halted,
                self.reducing,
                self.trading,
                self.alive,
                self.caught_up,
            )
        }

    def isolated(self, system: str) -> Finding:
        """Look whether a system is fenced off; a stage must also write nothing any more."""
        scope = scope_of(system)
        if scope is None or self.control().fences.isolated(scope) is None:
            return Finding(False, f"{system} is not isolated")
        if scope.kind is not ScopeKind.STAGE:
            return Finding(True, f"{scope} is isolated")
        found = self.quiet(scope.name)
        return Finding(found.met, f"{scope.name} is isolated, {found.seen}")

    def quiet(self, system: str) -> Finding:
        """Look whether a stage writes nothing to its log for half a second."""
        before = self.log_end(system)
        time.sleep(_APART_S)
        grown = self.log_end(system) - before
        return Finding(not grown, f"{system} writes {f'{grown} records' if grown else 'nothing'}")

    def released(self, system: str) -> Finding:
        """Look whether nothing fences a system off."""
        scope = scope_of(system)
        fenced = scope is not None and self.control().fences.isolated(scope) is not None
        return Finding(not fenced, f"{system} is {'still' if fenced else 'not'} isolated")

    def breaker_open(self, system: str) -> Finding:
        """Look whether the breaker of a stage's policy is forced open."""
        scope = scope_of(system)
        name = scope.name if scope else system
        opened = name in self.control().fences.fences.breakers
        return Finding(opened, f"breaker of {name} is {'' if opened else 'not '}forced open")

    def halted(self, system: str) -> Finding:
        """Look whether trading is HALTED."""
        del system
        state = self.control().trading_state
        return Finding(state is TradingState.HALTED, f"trading is {state}")

    def reducing(self, system: str) -> Finding:
        """Look whether trading is REDUCING or HALTED."""
        del system
        state = self.control().trading_state
        return Finding(state is not TradingState.ACTIVE, f"trading is {state}")

    def trading(self, system: str) -> Finding:
        """Look whether trading is ACTIVE."""
        del system
        state = self.control().trading_state
        return Finding(state is TradingState.ACTIVE, f"trading is {state}")

    def alive(self, system: str) -> Finding:
        """Look whether a stage has a live worker."""
        scope = scope_of(system)
        count = self.workers().get(scope.name if scope else system, 0)
        return Finding(count > 0, f"{system} has {count} live workers")

    def caught_up(self, system: str) -> Finding:
        """Look whether nothing has waited for a system for more than two seconds."""
        scope = scope_of(system)
        lag = self.backlog().systems.get(scope.name if scope else system)
        if lag is None or lag.records is None or lag.seconds is None:
            return Finding(False, f"nobody knows what waits for {system}")
        waits = f"{lag.records} records wait for {system}, the oldest for {lag.seconds:.1f} s"
        return Finding(lag.records == 0 or lag.seconds <= _AGE_S, waits)
