"""From what a user injects to a packet: ids, times, deadline, route, checks. No Kafka.

A context update gets the flow id `flow_id(source_system, symbol, sequence)`, a pure function, so
that a repeated injection with the same three is the same flow, and the second is dead-lettered as a
duplicate. Where they are not given:

- symbol: `UNNAMED`. All unnamed bars are one instrument, with one history.
- sequence: microseconds since the Unix epoch, at least one more than the last one given out for the
  symbol here. So two injections are two flows, and later ones follow those of `cascade publish`,
  which counts in the same unit.
"""

import threading
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from pipeline.clock import Clock
from pipeline.errors import InvalidPacket, RoutingError
from pipeline.packets.codec import encode
from pipeline.packets.events import EmergencyEvent
from pipeline.packets.identity import flow_id, packet_id
from pipeline.packets.lanes import ingest_topic
from pipeline.packets.models import Bar, Envelope, MarketData
from pipeline.packets.vocabulary import Priority, SuperpositionType
from pipeline.rules.market import check_market_data
from pipeline.settings import Settings

__all__ = ["EMERGENCY_TOPIC", "SOURCES", "UNNAMED", "Injection", "Injector"]

EMERGENCY_TOPIC = "cascade.emergency"
INGEST_STAGE = "market"
UNNAMED = "UNNAMED"
SOURCES = ("market_data", "market")
"""Who may send context updates."""

_PRICES = ("open", "high", "low", "close")
_ABOUT = {"symbol": str, "sequence": int, "event_time": int, "account": str}


class Injection(NamedTuple):
    """What to publish.

    Attributes:
        topic: Where.
        packet: What.
        key: Its key.
        headers: Copies for tools; nothing is decided from them.
        packet_id: Its id.
        flow_id: Its flow; empty where it is none.
    """

    topic: str
    packet: Struct
    key: bytes
    headers: dict[str, bytes]
    packet_id: str
    flow_id: str


class Injector:
    """Makes packets of what is injected; thread-safe.

    Args:
        settings: Account, time-out and retries.
        clock: Clock.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, int] = {}

    def kind_of(self, packet_type: SuperpositionType | str, source: str) -> SuperpositionType:
        """Return the type of what is injected, CONTEXT_UPDATE or EMERGENCY_SIGNAL.

        Raises:
            RoutingError: If this type from this source goes nowhere.
        """
        try:
            kind = SuperpositionType(packet_type)
        except ValueError as error:
            names = ", ".join(SuperpositionType)
            raise RoutingError(f"Expected a packet type of {names}, was {packet_type!r}") from error
        if kind is SuperpositionType.EMERGENCY_SIGNAL:
            return kind
        if kind is not SuperpositionType.CONTEXT_UPDATE:
            raise RoutingError(
                f"Expected CONTEXT_UPDATE or EMERGENCY_SIGNAL, was {kind} from {source!r}: only its"
                " own stage writes it. To decide in that stage's place, register a system with"
                " register_marl_system."
            )
        if source not in SOURCES:
            raise RoutingError(
                f"Expected a CONTEXT_UPDATE from {' or '.join(SOURCES)}, was from {source!r}"
            )
        return kind

    def context_update(
        self,
        data: Any,
        source: str,
        priority: int,
        symbol: str | None = None,
        sequence: int | None = None,
    ) -> Injection:
        """Return the packet of a context update, checked.

        Args:
            data: A `Bar`, a `MarketData` (its bar, symbol, sequence, event time and account), or a
                mapping with open, high, low, close, volume (0 where missing), and perhaps
                interval_s (60), symbol, sequence, event_time, account. Instead of the four prices
                it may have one `price`.
            source: Who sends it.
            priority: 1 normal, 2 high, 3 emergency.
            symbol: Instrument.
            sequence: Number of the bar; those of a symbol rise.

        Raises:
            InvalidPacket: If the data breaks a rule.
        """
        bar, about = _bar(data)
        now_us = self._clock.now_us()
        name = symbol if symbol is not None else about.get("symbol", UNNAMED)
        number = self._number(name, about.get("sequence") if sequence is None else sequence, now_us)
        flow = flow_id(source, name, number)
        envelope = Envelope(
            flow_id=flow,
            packet_id=packet_id(flow, INGEST_STAGE),
            parent_id="",
            packet_type=SuperpositionType.CONTEXT_UPDATE,
            source_system=source,
            target_system="strategic",
            symbol=name,
            account=about.get("account", self._settings.account),
            sequence=number,
            priority=_priority(priority),
            event_time=about.get("event_time", now_us),
            accepted_at=now_us,
            deadline=now_us + self._settings.cascade_timeout_ms * 1000,
            retry_count=0,
            max_retries=self._settings.stages.strategic.retries,
            trace=(),
        )
        packet = MarketData(envelope, bar)
        encode(packet)  # refuses what breaks a constraint
        check_market_data(packet)
        headers = {"flow_id": flow.encode(), "deadline": str(envelope.deadline).encode()}
        topic = ingest_topic(envelope.priority)
        return Injection(topic, packet, name.encode(), headers, envelope.packet_id, flow)

    def _number(self, symbol: str, given: int | None, now_us: int) -> int:
        with self._lock:
            last = self._last.get(symbol, -1)
            number = max(now_us, last + 1) if given is None else given
            self._last[symbol] = max(number, last)
        return number

    def emergency(self, data: Any, source: str) -> Injection:
        """Return the declaration of an emergency.

        Args:
            data: An `EmergencyEvent`, or a mapping with its fields, at least emergency_type,
                emergency_level and description.
            source: Who sends it.

        Raises:
            InvalidPacket: If the data is none.
        """
        event = data if isinstance(data, EmergencyEvent) else self._event(data, source)
        encode(event)
        key = event.event_id.encode()
        return Injection(EMERGENCY_TOPIC, event, key, {}, event.event_id, "")

    def _event(self, data: Any, source: str) -> EmergencyEvent:
        fields = {
            "event_id": uuid.uuid4().hex,
            "timestamp": self._clock.now_us(),
            "source_system": source,
            "affected_systems": [source],
            "context": {},
            "recovery_actions": [],
            "estimated_impact": "",
            "recovery_time_estimate": 0.0,
            **(data if isinstance(data, Mapping) else {}),
        }
        if not isinstance(fields["context"], str):
            fields["context"] = msgspec.json.encode(fields["context"]).decode()
        try:
            return msgspec.convert(fields, EmergencyEvent)
        except msgspec.ValidationError as error:
            raise InvalidPacket(
                f"Expected the data of an emergency, at least emergency_type, emergency_level and"
                f" description, was: {error}"
            ) from error


def _priority(priority: int) -> int:
    if priority not in list(Priority) or isinstance(priority, bool):
        raise InvalidPacket(f"Expected priority 1, 2 or 3, was {priority!r}")
    return int(priority)


def _bar(data: Any) -> tuple[Bar, dict[str, Any]]:
    """Return the bar of the data, and what else it says of it."""
    if isinstance(data, MarketData):
        envelope = data.envelope
        return data.bar, {name: getattr(envelope, name) for name in _ABOUT}
    if isinstance(data, Bar):
        return data, {}
    if not isinstance(data, Mapping):
        raise InvalidPacket(
            f"Expected market data as a Bar, a MarketData or a mapping, was {type(data).__name__}"
        )
    plain = {
        name: value.item() if hasattr(value, "item") else value for name, value in data.items()
    }
    fields = {"volume": 0.0, "interval_s": 60, **plain}
    if "price" in fields:
        price = fields.pop("price")
        fields = {**dict.fromkeys(_PRICES, price), **fields}
    about = {name: fields.pop(name) for name in _ABOUT if name in fields}
    if unknown := sorted(map(str, fields.keys() - set(Bar.__struct_fields__))):
        known = ", ".join((*Bar.__struct_fields__, "price", *_ABOUT))
        raise InvalidPacket(f"Expected fields of {known}, was {', '.join(unknown)}")
    for name, kind in _ABOUT.items():
        if name in about and (not isinstance(about[name], kind) or isinstance(about[name], bool)):
            raise InvalidPacket(f"Expected {name} as {kind.__name__}, was {about[name]!r}")
    try:
        return msgspec.convert(fields, Bar), about
    except msgspec.ValidationError as error:
        raise InvalidPacket(f"Expected a bar, was: {error}") from error
