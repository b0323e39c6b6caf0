"""One contender's turn: topics, workers, warm-up, phases of load; all gone at the end."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.bench.contenders import Contender, Site
from pipeline.bench.cost import CostMeter
from pipeline.bench.driver import Load, Sent, Task
from pipeline.bench.measurement import Measurement, measured
from pipeline.bench.peers.hops import TOPICS
from pipeline.bench.reader import Checked, EndReader, check
from pipeline.broker import Broker
from pipeline.demo.rig import rig
from pipeline.errors import BrokerUnavailable, PipelineError
from pipeline.run import Supervisor, bound, child_environment
from pipeline.settings import Settings
from pipeline.transport.clients import log_consumer, watermarks

__all__ = ["Ground", "LoadProcess", "Turn"]

_POLL_S = 0.05
_PROBES = 5
_PROBE_RATE = 20.0
_READY_S = 120.0
_STOP_S = 10.0
_TOPIC_TIMEOUT_S = 30.0
_LEAST_DRAIN_S = 20.0
# Longer than a group's session: a worker that is replaced has come back by then.
_QUIET_S = 10.0
_MOST_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Ground:
    """What all turns have in common.

    Attributes:
        settings: Settings, the broker among them.
        broker: The broker.
        symbols: How many symbols the load has.
        partitions: Partitions of what is keyed by symbol.
        say: Told in a sentence what is done.
    """

    settings: Settings
    broker: Broker
    symbols: int
    partitions: int
    say: Callable[[str], None]


class Turn:
    """A contender, running; a context manager that ends all it started and deletes its topics.

    Args:
        ground: What all turns have in common.
        who: The contender.

    Raises:
        BrokerUnavailable: If it does not come up.
    """

    def __init__(self, ground: Ground, who: Contender) -> None:
        self.ground = ground
        self.who = who
        stamp = time.strftime("%H%M%S", time.gmtime())
        namespace = f"bench-{who.name}-{stamp}-{time.time_ns() // 1_000_000 % 1000:03d}"
        changes = {**who.overrides, "namespace": namespace, "home": ground.settings.home.absolute()}
        self.settings = ground.settings.model_copy(update=changes)
        self.restarts = 0
        self.sent = 0
        self._base = self._first = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._prepare()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _prepare(self) -> None:
        who, ground = self.who, self.ground
        self.folder = self._topics()
        ends = 1 if who.ours else ground.partitions
        self.reader = EndReader(self.settings, who.output, ends, ground.symbols, log=who.log)
        self._stack.callback(self.reader.close)
        self._driver = self._stack.enter_context(LoadProcess(self._load(), self.settings))
        self.supervisor = Supervisor(
            who.workers(Site(self.settings, self.folder, ground.say)),
            environment=child_environment(self.settings, os.environ),
            log_folder=self.folder / "logs",
        )
        self._stack.callback(self.supervisor.stop, _STOP_S)
        self.supervisor.start()
        self._await_first()

    def _load(self) -> Load:
        timeout_ms = self.who.timeout_ms or self.settings.cascade_timeout_ms
        topic = self.settings.topic(self.who.input)
        ground = self.ground
        return Load(self.who.kind, topic, ground.partitions, ground.symbols, timeout_ms)

    def _topics(self) -> Path:
        ground = self.ground
        self._stack.callback(_delete_topics, self.settings)
        if self.who.ours:
            ready = rig(
                self.settings, say=lambda _: None, keep=True,
                partitions=ground.partitions, namespace=self.settings.namespace,
            )  # fmt: skip
            return self._stack.enter_context(ready).folder
        folder = self.settings.home / "bench" / self.settings.namespace
        folder.mkdir(parents=True, exist_ok=True)
        _make_topics(self.settings, ground.partitions)
        return folder

    def _await_first(self) -> None:
        """Send a few packets and wait until they are through: then all hops work."""
        self._send(_PROBES, _PROBE_RATE, _READY_S, "to come up")
        self._check_phase_is_over()

    def warm_up(self, count: int, rate: float) -> None:
        """Send packets that do not count, and wait until they are through."""
        self._send(count, rate, _READY_S + count / rate, "to get warm")
        self._check_phase_is_over()

    def _check_phase_is_over(self) -> None:
        self.reader.read()
        self.restarts = self._restarted()

    def measure(
        self, rate: float, seconds: float, labels: Mapping[str, Any] | None = None
    ) -> Measurement:
        """Offer a rate for some time, let it drain, and check what came out."""
        count = max(1, round(rate * seconds))
        meter = self.meter()
        before = meter.cpu_s()
        drain_s = max(_LEAST_DRAIN_S, 2.0 * seconds)
        sent = self._send(count, rate, drain_s, None)
        after = meter.cpu_s()
        cpu_s = {name: after[name] - before[name] for name in after}
        rss_mb = meter.rss_mb()
        restarts, self.restarts = self.restarts, self._restarted()
        seen = self.seen(sent)
        return measured(
            self.who.name, rate, sent, seen, cpu_s=cpu_s, rss_mb=rss_mb,
            restarts=self.restarts - restarts, labels=labels,
        )  # fmt: skip

    def seen(self, sent: Sent) -> Checked:
        """Return what came out of the packets sent."""
        return check(self.reader.read(), sent.first, sent.count, self.ground.symbols)

    def _send(
        self,
        count: int,
        rate: float,
        drain_s: float,
        what: str | None,
    ) -> Sent:
        """Send packets and wait until as many came out, or until time is up.

        Args:
            count: How many.
            rate: Packets a second.
            drain_s: How long to wait after the last.
            what: For the error where they do not all come out; None where that is no error.
        """
        self.begin(count, rate)
        return self.end(count, drain_s, what)

    def begin(
        self,
        count: int,
        rate: float,
        then_count: int = 0,
        then_rate: float = 1.0,
        *,
        made_ahead: bool = False,
    ) -> Task:
        """Have packets sent from now on, see `Task`; return what is sent."""
        task = Task(count, rate, then_count, then_rate, made_ahead)
        self._first = self.sent
        self._base = self.reader.end()
        self.sent += task.total
        self._driver.begin(task)
        return task

    def sent_all(self) -> Sent | None:
        """Return what became of the packets of `begin`; None while they are being sent."""
        return self._driver.poll()

    def end(self, count: int, drain_s: float, what: str | None = None) -> Sent:
        """Wait until packets are sent and as many came out, or until time is up; see `_send`."""
        while (sent := self._driver.poll()) is None:
            time.sleep(_POLL_S)
        if what is None:
            self._await_rest(count, drain_s)
        else:
            self._await_all(count, drain_s, what)
        return sent

    def _await_rest(self, count: int, drain_s: float) -> None:
        """Wait until as many records came out, or nothing more for a while.

        Counting records costs those measured nothing, but one may stand for many that were shed.
        """
        now_s = time.monotonic()
        deadline_s, last, quiet_s = now_s + drain_s, -1, now_s
        while (came := self.reader.end() - self._base) < count:
            now_s = time.monotonic()
            if came != last:
                last, quiet_s = came, now_s
            if now_s > min(deadline_s, quiet_s + _QUIET_S):
                return
            time.sleep(_POLL_S)

    def _await_all(self, count: int, limit_s: float, what: str) -> None:
        """Wait until as many packets came out; none of them is measured."""
        deadline_s = time.monotonic() + limit_s
        came = self._newly_arrived()
        while came < count:
            if time.monotonic() > deadline_s:
                raise self._stuck(f"{what} within {limit_s:g} s", came, count)
            if self.supervisor.restarts - self.restarts > _MOST_RESTARTS:
                raise self._stuck(f"{what} without falling over", came, count)
            time.sleep(_POLL_S)
            came += self._newly_arrived()

    def _newly_arrived(self) -> int:
        return sum(each.seen.number >= self._first for each in self.reader.read())

    def _stuck(self, what: str, came: int, count: int) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"Expected {self.who.name} {what}, was {came} of {count} packets. See the logs in"
            f" {self.folder}."
        )

    def meter(self) -> CostMeter:
        """Return a meter of the contender's workers, the broker and the load."""
        workers = [each.pid for each in self.supervisor.workers() if each.pid is not None]
        broker = self.ground.broker.pid
        return CostMeter(
            {
                "worker": workers,
                "broker": [broker] if broker is not None else [],
                "load": [self._driver.pid],
            }
        )

    def _restarted(self) -> int:
        return self.supervisor.restarts


class LoadProcess:
    """The load's process; see `pipeline.bench.driver`."""

    def __init__(self, load: Load, settings: Settings) -> None:
        argument = msgspec.json.encode(load).decode()
        self._process = subprocess.Popen(
            bound([sys.executable, "-m", "pipeline.bench.driver", argument]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(settings, os.environ),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._answers: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, name="bench-driver", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None  # noqa: S101  # it was opened with a pipe
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()

    def begin(self, task: Task) -> None:
        """Have the packets made, then begin to send them."""
        self._tell(msgspec.json.encode(task) + b"\n")
        while self._next() is None:
            time.sleep(_POLL_S)
        self._tell(b"\n")

    def poll(self) -> Sent | None:
        """Return what became of the task; None while it goes on."""
        answer = self._next()
        return None if answer is None else msgspec.json.decode(answer, type=Sent)

    def _next(self) -> bytes | None:
        if self._answers:
            return self._answers.pop(0)
        if self._process.poll() is not None:
            raise PipelineError(
                f"Expected the load to go on, was a process that ended: {self._process.returncode}"
            )
        return None

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101  # it was opened with a pipe
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # it was opened with a pipe
        with self._process.stdout as answers:
            for line in answers:
                self._answers.append(line)


def _make_topics(settings: Settings, partitions: int) -> None:
    admin = AdminClient(settings.client(client_id="bench"))
    config = {"message.timestamp.type": "LogAppendTime"}
    new = [
        NewTopic(settings.topic(name), partitions, replication_factor=1, config=config)
        for name in TOPICS
    ]
    for future in admin.create_topics(new, operation_timeout=_TOPIC_TIMEOUT_S).values():
        future.result()
    _await_leaders(settings, partitions)


def _await_leaders(settings: Settings, partitions: int) -> None:
    """Wait until the new topics answer: they are created before they have a leader."""
    consumer = log_consumer(settings, "bench-leaders")
    deadline_s = time.monotonic() + _TOPIC_TIMEOUT_S
    try:
        for name in TOPICS:
            for partition in range(partitions):
                while True:
                    try:
                        watermarks(consumer, settings.topic(name), partition, 1.0)
                        break
                    except BrokerUnavailable:
                        if time.monotonic() > deadline_s:
                            raise
                        time.sleep(_POLL_S)
    finally:
        consumer.close()


def _delete_topics(settings: Settings) -> None:
    """Delete what the turn made, so that a long run does not fill the disk."""
    admin = AdminClient(settings.client(client_id="bench"))
    with contextlib.suppress(KafkaException):
        names = admin.list_topics(timeout=_TOPIC_TIMEOUT_S).topics
        mine = [name for name in names if name.startswith(f"{settings.namespace}.")]
        for future in admin.delete_topics(mine).values() if mine else ():
            with contextlib.suppress(KafkaException):
                future.result()
