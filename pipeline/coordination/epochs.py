"""Synchronisation by epochs: what everybody agrees to have been before, and what after.

An epoch is the offset of the request in the topic's one partition, so epochs are unique, only grow,
and mean the same to all readers.

FAST_SYNC (2 s)
    1. SYNC_REQUEST; its offset is the epoch.
    2. Each system confirms with SYNC_RESPONSE.
    3. More than half of the live instances confirmed: SYNC_RESPONSE with complete=true goes to
       everybody, and every reader of it has the epoch.

RELIABLE_SYNC (10 s)
    As before, but all live instances must confirm, and then announce the epoch in a STATE_UPDATE:
    when it succeeds, everybody is known to have it.

EMERGENCY_SYNC (1 s)
    EMERGENCY_BROADCAST; every reader is in an emergency since its offset, at once and without
    asking. Until it ends requests are refused, and those in flight fail. It ends with the next
    FAST_SYNC or RELIABLE_SYNC that completes.

An emergency is in force while its epoch is above that of the last complete synchronisation. Both
numbers only grow and travel with every announcement, so whoever joins late knows them too, whatever
order the messages came in.
"""

import threading

from pipeline.coordination.vocabulary import SyncProtocol

__all__ = ["Epochs", "needed", "timeout_s"]

_FAST_S = 2.0
_EMERGENCY_S = 1.0


class Epochs:
    """The two epochs that a process knows of; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch = -1
        self._emergency_epoch = -1

    @property
    def epoch(self) -> int:
        """Last complete synchronisation; -1 for none."""
        return self._epoch

    @property
    def emergency_epoch(self) -> int:
        """Last emergency; -1 for none."""
        return self._emergency_epoch

    @property
    def newest(self) -> int:
        """The higher one of both."""
        return max(self._epoch, self._emergency_epoch)

    @property
    def in_emergency(self) -> bool:
        """Whether an emergency is in force."""
        return self._emergency_epoch > self._epoch

    def adopt(self, epoch: int = -1, emergency_epoch: int = -1) -> bool:
        """Take higher epochs over; return whether one was."""
        with self._lock:
            before = self._epoch, self._emergency_epoch
            self._epoch = max(self._epoch, epoch)
            self._emergency_epoch = max(self._emergency_epoch, emergency_epoch)
            return before != (self._epoch, self._emergency_epoch)


def timeout_s(protocol: SyncProtocol, sync_timeout_s: float) -> float:
    """Return how long a synchronisation may take; `sync_timeout_s` bounds all of them."""
    if protocol is SyncProtocol.RELIABLE_SYNC:
        return sync_timeout_s
    limit_s = _FAST_S if protocol is SyncProtocol.FAST_SYNC else _EMERGENCY_S
    return min(limit_s, sync_timeout_s)


def needed(protocol: SyncProtocol, instances: int) -> int:
    """Return how many of the live instances must confirm."""
    return instances // 2 + 1 if protocol is SyncProtocol.FAST_SYNC else instances
