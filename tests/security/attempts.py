"""What somebody tries who has stolen a login, and what comes of it."""

import uuid
from typing import Any

from confluent_kafka import KafkaError, Producer

from pipeline.clock import WallClock
from pipeline.control.log import TOPIC, fold
from pipeline.control.state import TradingState
from pipeline.control.writer import ControlWriter, new_command
from pipeline.errors import AccessDenied
from pipeline.packets.codec import encode
from pipeline.packets.events import ControlKind
from pipeline.settings import Settings
from tests.kafka_workers import Worker
from tests.security.ground import Ground

__all__ = ["Attempts", "Finding", "forged_halt", "written"]

Finding = tuple[bool, str]
"""Whether a promise was kept, and what was seen."""

_REFUSED = KafkaError.TOPIC_AUTHORIZATION_FAILED
_EXECUTION = (
    "cascade.execution",
    "cascade.execution.snapshots",
    "cascade.execution.dead",
    "cascade.risk",
    "cascade.risk.dead",
    "cascade.fills",
)
_LIMIT_S = 120.0


def written(
    settings: Settings, topic: str, value: bytes | None = None, headers: Any = None
) -> int | None:
    """Write a record as anybody can who has the login; return the code of its failure."""
    codes: list[int | None] = []
    producer = Producer(settings.client(message_timeout_ms=60_000))
    producer.produce(
        settings.topic(topic), value or uuid.uuid4().bytes, partition=0, headers=headers,
        on_delivery=lambda error, _: codes.append(error.code() if error else None),
    )  # fmt: skip
    producer.flush(70.0)
    return codes[0]


def forged_halt(settings: Settings) -> int | None:
    """Write a HALT without a signature, in the operator's name; return the code of its failure."""
    command = new_command(ControlKind.HALT, author="operator", reason="forged", clock=WallClock())
    return written(settings, TOPIC, encode(command))


class Attempts:
    """Tries it on a ground where trading is allowed.

    Args:
        ground: The ground.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._thief = ground.of("strategic", signed=False)

    def plans(self) -> Finding:
        """With strategic's login, write to the topics of execution and what lies before it."""
        codes = {topic: written(self._thief, topic) for topic in _EXECUTION}
        let_in = [topic for topic, code in codes.items() if code != _REFUSED]
        own = written(self._thief, "cascade.coordination") is None
        seen = f"{len(codes) - len(let_in)} of {len(codes)} topics refuse it"
        return not let_in and own, seen + ("" if own else "; neither may it write its own")

    def halt(self) -> Finding:
        """With strategic's login, halt: as the project does it, and by a bare record."""
        try:
            command = new_command(
                ControlKind.HALT, author="strategic", reason="forged", clock=WallClock()
            )
            ControlWriter(self._thief).issue(command)
        except AccessDenied as error:
            said = str(error)
        else:
            return False, "the command was written"
        bare = forged_halt(self._thief)
        return bare == _REFUSED and self._trading(), said

    def unsigned_halt(self) -> Finding:
        """With the operator's login, which may write commands, and without a key."""
        before = fold(self._ground.of("operator"), timeout_s=_LIMIT_S).refused.keys()
        code = forged_halt(self._ground.of("operator", signed=False))
        refused = fold(self._ground.of("operator"), timeout_s=_LIMIT_S).refused
        new = [why for epoch, why in refused.items() if epoch not in before]
        return code is None and len(new) == 1 and self._trading(), "; ".join(new) or "it counts"

    def worker(self) -> Finding:
        """Start strategic's worker with tactical's login."""
        worker = Worker("pipeline.stages.strategic", self._ground.of("tactical"), 1)
        try:
            code = worker.wait_for_end(_LIMIT_S)
        finally:
            worker.kill()
        said = [line for line in worker.log.splitlines() if "worker_stops" in line]
        text = said[0].partition("why=")[2] if said else "it says nothing"
        return code != 0 and "Expected the principal" in text, text

    def _trading(self) -> bool:
        machine = fold(self._ground.of("operator"), timeout_s=_LIMIT_S)
        return machine.trading_state is TradingState.ACTIVE
