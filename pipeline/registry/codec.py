"""Packets in a registry's framing, read and written without making the cascade wait for it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from fastavro import parse_schema
from msgspec import Struct

from pipeline.errors import ConfigurationError, MalformedPacket, PipelineError
from pipeline.packets import codec, schemas
from pipeline.registry.client import Registry
from pipeline.registry.framing import framed, split
from pipeline.settings import Settings

__all__ = ["RegistryCodec", "subject_of", "use"]

# An id that nobody knows costs a look-up, and bytes from outside can name any: in ten seconds so
# many are looked up, each waited for so long; a registry that is quick delays one packet a little.
_WAIT_S = 1.0
_WINDOW_S = 10.0
_MOST_LOOK_UPS = 3
_OUR_HEADER = 10


def subject_of(topic: str, name: str) -> str:
    """Return the subject of a record type on a topic (TopicRecordNameStrategy).

    Args:
        topic: Real name of the topic.
        name: Short name of the record type.
    """
    return f"{topic}-{schemas.NAMESPACE}.{name}"


class RegistryCodec:
    """Reads and writes packets in the framing; thread-safe.

    What was looked up once is kept: a registry never changes what an id means.

    Args:
        settings: Namespace, and address of the registry.
        registry: The registry; None: that of the settings, met at its first use.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._schemas: dict[int, Any] = {}
        self._ids: dict[str, int] = {}
        self._looked_up_s: list[float] = []

    def encode(self, packet: Struct, topic: str) -> bytes:
        """Return a packet in the framing, under the id of its schema on a topic.

        Args:
            packet: What to write.
            topic: Name without namespace.

        Raises:
            InvalidPacket: If a field breaks its constraint.
            RegistryUnavailable: If the registry does not answer, the first time.
            ConfigurationError: If the schema is not registered; `cascade schemas register` does.
        """
        name = type(packet).__name__
        subject = subject_of(self._settings.topic(topic), name)
        if (schema_id := self._ids.get(subject)) is None:
            schema_id = self._ids[subject] = self._id(subject, name)
        return framed(schema_id, codec.encode(packet)[_OUR_HEADER:])

    def find(self, value: bytes) -> Any | None:
        """Return the parsed schema that a value was written with; None where it has no framing.

        Raises:
            MalformedPacket: If the id that it names is not known in time.
        """
        schema_id = split(value)
        if schema_id is None:
            return None
        if schema_id not in self._schemas:
            self._look_up(schema_id)
        if (schema := self._schemas.get(schema_id)) is None:
            raise MalformedPacket(
                f"Expected a schema id that the registry knows, was {schema_id}; its record can be"
                " sent again from the dead letters"
            )
        return schema

    def _id(self, subject: str, name: str) -> int:
        found = self._connected().id_of(subject, schemas.plain(schemas.current(name)))
        if found is None:
            raise ConfigurationError(
                f"Expected {subject} in the registry with the current schema, was not there. Run"
                " `cascade schemas register`."
            )
        return found

    def _connected(self) -> Registry:
        with self._lock:
            if self._registry is None:
                self._registry = Registry(self._settings)
            return self._registry

    def _look_up(self, schema_id: int) -> None:
        with self._lock:
            now_s = self._monotonic()
            self._looked_up_s = [at for at in self._looked_up_s if now_s - at < _WINDOW_S]
            if len(self._looked_up_s) >= _MOST_LOOK_UPS:
                return
            self._looked_up_s.append(now_s)
        done: Future[None] = Future()
        thread = threading.Thread(
            target=self._ask, args=(schema_id, done), name="registry-look-up", daemon=True
        )
        thread.start()
        try:
            done.result(_WAIT_S)
        except FutureTimeout:
            return  # the answer is kept for the next one

    def _ask(self, schema_id: int, done: Future[None]) -> None:
        try:
            schema = self._connected().schema(schema_id)
            if schema is not None:
                self._schemas[schema_id] = parse_schema(schema)
        except (PipelineError, ValueError, LookupError, TypeError):
            pass  # as if it were not known: whoever waits says so
        finally:
            done.set_result(None)


def use(settings: Settings) -> None:
    """Have this process read packets in a registry's framing too, where one is configured.

    Raises:
        ConfigurationError: If the packages of the registry's client are not installed.
    """
    if settings.registry_url:
        # Made now, since its packages take longer to import than a look-up may take.
        codec.read_also(RegistryCodec(settings, Registry(settings)).find)
