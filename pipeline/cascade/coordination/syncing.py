"""Synchronisations, from the side of whoever asks for them; see `pipeline.coordination.epochs`."""

import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field

from pipeline.cascade.coordination.results import SyncResult
from pipeline.coordination.epochs import needed, timeout_s
from pipeline.coordination.messages import SyncBody, payload_of
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.vocabulary import SyncProtocol
from pipeline.errors import PipelineError
from pipeline.packets.events import CoordinationMessage, MessageType

__all__ = ["Synchroniser"]

_SENDER = "coordination"
Place = tuple[str, str]


@dataclass(slots=True)
class _Sync:
    """A synchronisation on its way."""

    protocol: SyncProtocol
    expected: frozenset[Place]
    started_s: float
    limit_s: float
    epoch: int = -1
    confirmed: set[Place] = field(default_factory=set)


class Synchroniser:
    """Brings the live systems to a new epoch, one synchronisation at a time."""

    def __init__(self, service: CoordinationService) -> None:
        self._service = service
        self._one = threading.Lock()
        self._syncs: dict[str, _Sync] = {}
        service.listen(MessageType.SYNC_RESPONSE, self._take)

    def run(self, protocol: SyncProtocol, reason: str, sync_timeout_s: float) -> SyncResult:
        """Synchronise, and return what became of it."""
        with self._one:
            limit_s = timeout_s(protocol, sync_timeout_s)
            sync = _Sync(protocol, self._live(), self._service.monotonic(), limit_s)
            try:
                return self._run(sync, reason)
            except (PipelineError, FutureTimeout) as error:
                return self._result(sync, f"the broker did not take it: {error!r}")

    def _run(self, sync: _Sync, reason: str) -> SyncResult:
        emergency = sync.protocol is SyncProtocol.EMERGENCY_SYNC
        kind = MessageType.EMERGENCY_BROADCAST if emergency else MessageType.SYNC_REQUEST
        # Step 1
        request = self._service.compose(
            kind, _SENDER, self._body(sync, reason=reason),
            priority=3 if emergency else 2, response_timeout_s=sync.limit_s,
        )  # fmt: skip
        self._syncs[request.message_id] = sync
        try:
            sync.epoch = self._service.post(request).result(self._left_s(sync)).offset
            if emergency:
                self._service.epochs.adopt(emergency_epoch=sync.epoch)
            elif not sync.expected:
                return self._result(sync, "Expected a live system to synchronise, was none")
            return self._collect(sync)
        finally:
            del self._syncs[request.message_id]

    def _collect(self, sync: _Sync) -> SyncResult:
        # Step 2
        enough = needed(sync.protocol, len(sync.expected))
        if not self._wait(sync, lambda: len(sync.confirmed & sync.expected) >= enough):
            got = len(sync.confirmed & sync.expected)
            return self._result(sync, f"Expected {enough} confirmations, was {got}")
        if sync.protocol is SyncProtocol.EMERGENCY_SYNC:
            return self._result(sync, "")
        # Step 3
        end = self._service.compose(
            MessageType.SYNC_RESPONSE, _SENDER, self._body(sync, complete=True), priority=2
        )
        self._service.post(end).result(max(0.1, self._left_s(sync)))
        self._service.epochs.adopt(epoch=sync.epoch)
        if sync.protocol is SyncProtocol.RELIABLE_SYNC:
            return self._until_announced(sync)
        return self._result(sync, "")

    def _until_announced(self, sync: _Sync) -> SyncResult:
        def at_epoch() -> frozenset[Place]:
            live = self._service.directory.live(self._service.monotonic())
            return frozenset(
                (each.system_id, each.said.instance)
                for each in live
                if each.said.epoch >= sync.epoch
            )

        if self._wait(sync, lambda: sync.expected <= at_epoch()):
            return self._result(sync, "")
        sync.confirmed = set(at_epoch())
        return self._result(sync, "Expected all to announce the epoch, was not so in time")

    def _wait(self, sync: _Sync, condition: Callable[[], bool]) -> bool:
        changed = self._service.changed
        with changed:
            changed.wait_for(lambda: condition() or self._service.closed, self._left_s(sync))
            return condition()

    def _left_s(self, sync: _Sync) -> float:
        return max(0.0, sync.started_s + sync.limit_s - self._service.monotonic())

    def _live(self) -> frozenset[Place]:
        members = self._service.directory.live(self._service.monotonic())
        return frozenset((each.system_id, each.said.instance) for each in members)

    def _body(self, sync: _Sync, *, complete: bool = False, reason: str = "") -> SyncBody:
        return SyncBody(
            instance=self._service.instance, protocol=sync.protocol, epoch=sync.epoch,
            complete=complete, reason=reason,
        )  # fmt: skip

    def _take(self, message: CoordinationMessage, offset: int) -> None:
        del offset
        sync = self._syncs.get(message.correlation_id)
        if sync is not None:
            body = payload_of(message, SyncBody)
            sync.confirmed.add((message.sender_system, body.instance))

    def _result(self, sync: _Sync, reason: str) -> SyncResult:
        confirmed = sync.confirmed & sync.expected
        return SyncResult(
            protocol=sync.protocol,
            success=not reason,
            epoch=sync.epoch,
            confirmed=_named(confirmed),
            missing=_named(sync.expected - confirmed),
            reason=reason,
            duration_ms=(self._service.monotonic() - sync.started_s) * 1000,
        )


def _named(places: "set[Place] | frozenset[Place]") -> tuple[str, ...]:
    return tuple(sorted(f"{system}@{instance}" for system, instance in places))
