"""What an embedded worker emitted, once it stands in the log.

The host says what it hands to the producer, with the epoch and the log sequence. The reader
follows the log by the reading rule and hands over what counts of it: a record is known to be
emitted when it was read back, before any other owner's marker. So each record comes once, whatever
happens to the worker, and one that a take-over made void never comes.
"""

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Message, TopicPartition
from msgspec import Struct

from pipeline.cascade.manager.following import partitions_of
from pipeline.errors import BrokerUnavailable, PipelineError
from pipeline.keys.signing import Headers
from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, offset_of, partition_of, watermarks
from pipeline.transport.host import NO_HEADERS, LogHost
from pipeline.transport.journal import Ownership
from pipeline.transport.log import LogReader, Position

__all__ = ["EmissionReader", "Emissions", "ObservedHost", "run_callback"]

_logger = logging.getLogger(__name__)
_ASK_S = 5.0
_POLL_S = 0.2
_LOOK_S = 0.02
_BATCH = 1000


class Emissions:
    """First and last log sequence that a worker wrote under each of its epochs; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: dict[tuple[int, int], tuple[int, int]] = {}

    def note(self, partition: int, epoch: int, first: int, last: int) -> None:
        """Note records, by their log sequences, that are about to be handed to the producer."""
        with self._lock:
            first, _ = self._written.get((partition, epoch), (first, last))
            self._written[partition, epoch] = (first, last)

    def first(self, partition: int, epoch: int) -> int | None:
        """Return the first sequence of an epoch; None where the worker wrote nothing under it."""
        with self._lock:
            found = self._written.get((partition, epoch))
        return None if found is None else found[0]

    def newest(self) -> dict[int, tuple[int, int]]:
        """Return, of each partition written to, its last epoch and the last sequence in it."""
        with self._lock:
            items = sorted(self._written.items())
        return {partition: (epoch, last) for (partition, epoch), (_, last) in items}


class ObservedHost(LogHost):
    """A host that notes what it writes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.emissions = Emissions()

    def write(
        self,
        ownership: Ownership,
        records: Sequence[tuple[bytes | None, bytes]],
        headers: Mapping[int, Headers] = NO_HEADERS,
    ) -> None:
        """Hand records to the producer; see `LogHost.write`."""
        first = ownership.sequence - len(records) + 1
        last = ownership.sequence
        self.emissions.note(ownership.partition, ownership.epoch, first, last)
        super().write(ownership, records, headers)


class EmissionReader:
    """Calls back for each packet that a worker emitted.

    Args:
        settings: Settings with a broker.
        log: The stage's log, without namespace.
        callback: Called with each packet on the reader's thread, in the order of each partition; a
            function or a coroutine function. What it raises is logged and changes nothing.
    """

    def __init__(self, settings: Settings, log: str, callback: Callable[[Any], Any]) -> None:
        self._topic = settings.topic(log)
        self._callback = callback
        self._sources: list[Emissions] = []
        self._handed_over: dict[int, tuple[int, int]] = {}
        self._epochs: dict[int, int] = {}
        self._readers: dict[int, LogReader] = {}
        self._stopping = threading.Event()
        self._consumer = log_consumer(settings, f"{log}.emissions")
        self._thread = threading.Thread(target=self._run, name=f"{log}-emissions", daemon=True)

    def start(self) -> None:
        """Start reading at the log's end.

        Raises:
            BrokerUnavailable, ConfigurationError: If the log cannot be read.
        """
        try:
            ends = {
                partition: watermarks(self._consumer, self._topic, partition, _ASK_S)[1]
                for partition in partitions_of(self._consumer, self._topic)
            }
        except PipelineError:
            self._consumer.close()
            raise
        self._consumer.assign([TopicPartition(self._topic, p, end) for p, end in ends.items()])
        self._thread.start()

    def add(self, emissions: Emissions) -> None:
        """Hand over what this worker emits, too; before it starts."""
        self._sources = [*self._sources, emissions]

    def stop(self, timeout_s: float = 0.0) -> None:
        """End it, once all that was emitted was handed over, or the time is over."""
        until_s = time.monotonic() + timeout_s
        while self._thread.is_alive() and not self._is_done() and time.monotonic() < until_s:
            self._stopping.wait(_LOOK_S)
        self._stopping.set()
        if not self._thread.is_alive():
            return
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _is_done(self) -> bool:
        return all(
            self._handed_over.get(partition, (-1, -1)) >= written
            for source in self._sources
            for partition, written in source.newest().items()
        )

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._poll()
        except Exception:
            _logger.exception("reading what %s emitted failed", self._topic)
        finally:
            self._consumer.close()

    def _poll(self) -> None:
        try:
            messages = drain(self._consumer, _BATCH, _POLL_S)
        except BrokerUnavailable as error:
            _logger.warning("cannot read %s: %s", self._topic, error)
            self._stopping.wait(_POLL_S)
            return
        for message in messages:
            packet = self._emitted(message)
            if packet is not None and hasattr(packet, "envelope"):
                run_callback(self._callback, packet)
            partition = partition_of(message)
            if (reader := self._readers.get(partition)) is not None:
                self._handed_over[partition] = (reader.epoch, reader.sequence)

    def _emitted(self, message: Message) -> Struct | None:
        partition, offset, value = partition_of(message), offset_of(message), message.value()
        if is_marker(value):
            self._epochs[partition] = offset
            if partition in self._readers:
                self._readers[partition].marker(offset)
            return None
        head = journal_head(value)
        epoch = self._epochs.get(partition)
        if head is None or epoch is None:
            return None
        first = self._first(partition, epoch)
        reader = self._readers.get(partition)
        if reader is None and first is not None:
            # Just behind the marker, where the owner itself began.
            at = Position(epoch + 1, epoch, first - 1)
            reader = self._readers[partition] = LogReader(at)
        if reader is None or not reader.accepts(offset, head.epoch, head.sequence):
            return None
        return decode(value) if first is not None else None

    def _first(self, partition: int, epoch: int) -> int | None:
        found = (source.first(partition, epoch) for source in self._sources)
        return next((first for first in found if first is not None), None)


def run_callback(callback: Callable[[Any], Any], argument: Any) -> None:
    """Call a user's function or coroutine function; what it raises is only logged."""
    try:
        found = callback(argument)
        if inspect.iscoroutine(found):
            asyncio.run(found)
    except Exception:
        _logger.exception("callback %r failed", getattr(callback, "__qualname__", callback))
