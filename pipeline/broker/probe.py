"""Ask an address whether a Kafka broker answers there."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.access import LOGIN_FAILURES, login_refused, metadata
from pipeline.errors import BrokerUnavailable

__all__ = ["Cluster", "probe"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a broker says of itself.

    Attributes:
        cluster_id: Identifier of its cluster, None where it tells none.
        brokers: Number of brokers.
    """

    cluster_id: str | None
    brokers: int


def probe(
    bootstrap: str, *, timeout_s: float, properties: Mapping[str, str] | None = None
) -> Cluster:
    """Ask the brokers at `bootstrap` for their metadata.

    Args:
        bootstrap: `host:port[,host:port]`.
        timeout_s: Longest time to wait, seconds.
        properties: More librdkafka properties, for TLS and SASL.

    Raises:
        BrokerUnavailable: Nothing listens there, or what does is no Kafka broker.
        AccessDenied: It refuses the login, or TLS fails.
    """
    deadline_s = time.monotonic() + timeout_s
    # librdkafka reports a refused connection only as a timeout, and prints it besides.
    _connect(bootstrap, timeout_s)
    refused: list[KafkaError] = []
    asked: dict[str, Any] = {
        **(properties or {}),
        "bootstrap.servers": bootstrap,
        "log_level": 0,
        # Docker accepts connections before Kafka listens, and drops them: don't spin on that.
        "reconnect.backoff.ms": 250,
        "socket.timeout.ms": max(100, int(timeout_s * 1000)),
        "error_cb": lambda error: refused.append(error) if error.code() in LOGIN_FAILURES else None,
    }
    client = AdminClient(asked)
    try:
        found = metadata(client, refused, deadline_s - time.monotonic())
    except KafkaException as error:
        if refused:
            raise login_refused(bootstrap, properties or {}, refused[0].str()) from error
        raise BrokerUnavailable(
            f"Expected a Kafka broker at {bootstrap}, was something that does not answer as one"
            f" within {timeout_s:g} s ({error.args[0].str()}). Check the address, and TLS and SASL"
            " under CASCADE_KAFKA__*."
        ) from error
    if not found.brokers:
        raise BrokerUnavailable(f"Expected a broker at {bootstrap}, was a cluster without any yet.")
    return Cluster(found.cluster_id, len(found.brokers))


def _connect(bootstrap: str, timeout_s: float) -> None:
    addresses = bootstrap.split(",")
    reasons = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            place = (host.strip("[]"), int(port))
            with socket.create_connection(place, timeout=timeout_s / len(addresses)):
                return
        except (OSError, ValueError, OverflowError) as error:
            reasons.append(f"{address}: {getattr(error, 'strerror', None) or error}")
    raise BrokerUnavailable(
        f"Expected a Kafka broker at {bootstrap}, was none to connect to ({'; '.join(reasons)})."
        " Start it, or correct the address."
    )
