"""A monitor worker with a stage beside it, as real processes, and a webhook that is told."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from pipeline.coordination.vocabulary import TOPIC
from pipeline.packets.codec import decode
from pipeline.packets.events import CoordinationMessage
from pipeline.settings import Settings, load_settings
from tests.alerts.receiver import Receiver, Told
from tests.cluster import prepare
from tests.kafka_workers import Worker, as_bytes, read_topic, wait_until

__all__ = ["AlertRig", "alert_rig"]

STAGE = "strategic"
SUBJECT = f"system_silent/{STAGE}"
_CHANNELS = "CASCADE_ALERTS__CHANNELS"
_UNREACHABLE = "http://127.0.0.1:9/nobody"
_HEARTBEATS = 3


@dataclass(slots=True)
class AlertRig:
    """What is under test.

    Attributes:
        settings: Broker, namespace, home.
        receiver: What the channel `ops` is told; a channel `nobody` cannot be reached.
        workers: The processes that were started.
    """

    settings: Settings
    receiver: Receiver
    workers: list[Worker] = field(default_factory=list)

    def start(self, module: str) -> Worker:
        """Start a worker."""
        worker = Worker(module, self.settings, len(self.workers))
        self.workers.append(worker)
        return worker

    def start_monitor(self) -> Worker:
        """Start a monitor worker."""
        return self.start("pipeline.watch.monitor")

    def start_stage(self) -> Worker:
        """Start the stage that is going to be killed; return when it is heard of."""
        before = len(self.heartbeats())
        worker = self.start(f"pipeline.stages.{STAGE}")
        wait_until(lambda: len(self.heartbeats()) >= before + _HEARTBEATS, f"{STAGE} to be alive")
        return worker

    def heartbeats(self) -> list[int]:
        """Return when the stage was heard of, by the broker's clock, microseconds."""
        messages = read_topic(self.settings, TOPIC)[0]
        return [
            each.timestamp()[1] * 1000
            for each in messages
            if (value := as_bytes(each.value())) is not None
            and isinstance(packet := decode(value), CoordinationMessage)
            and packet.sender_system == STAGE
        ]

    def told(self, *, ended: bool, since_us: int, subject: str = SUBJECT) -> Told:
        """Wait until the receiver was told of an alert from a moment on; return what it was."""

        def find() -> Told | None:
            return self.receiver.find(subject, ended=ended, since_us=since_us)

        wait_until(find, f"{subject} to be {'over' if ended else 'raised'}", every_s=0.02)
        found = find()
        assert found is not None
        return found


@contextmanager
def alert_rig(kafka: str, home: Path) -> Iterator[AlertRig]:
    """Make a rig with topics and without workers; none is left at the end."""
    settings = load_settings(broker=kafka, namespace=f"alerts-{uuid.uuid4().hex[:10]}", home=home)
    prepare(settings)
    receiver = Receiver()
    channels = [
        {"name": "nobody", "contact": _UNREACHABLE},
        {"name": "ops", "contact": receiver.url},
        {"name": "log", "contact": "alerts", "type": "log"},
    ]
    rig = AlertRig(settings, receiver)
    # Channels may hold secrets, so workers find them where this process does.
    with mock.patch.dict(os.environ, {_CHANNELS: json.dumps(channels)}):
        try:
            yield rig
        finally:
            for each in rig.workers:
                each.kill()
            receiver.close()
