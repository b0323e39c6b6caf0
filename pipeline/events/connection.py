"""Which broker a bus talks to, and whether a topic is there."""

import time

from confluent_kafka import KafkaException, Producer

from pipeline import broker
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.settings import Settings

__all__ = ["require_topics", "with_broker"]

_LEAST_S = 0.1


def with_broker(settings: Settings, timeout_s: float) -> Settings:
    """Return the settings with a broker that answers: the one that is set, else the one that runs.

    Nothing is started.

    Args:
        settings: Settings.
        timeout_s: For each way to a broker, seconds.

    Raises:
        BrokerUnavailable: The broker that is set does not answer, or none is set and none runs.
    """
    if settings.broker is not None:
        broker.probe(settings.broker, timeout_s=timeout_s, properties=settings.connection())
        return settings
    found = broker.status(settings, timeout_s=timeout_s)
    if found.broker is None:
        raise BrokerUnavailable(
            f"Expected a Kafka broker, was none: {found.detail} Set CASCADE_BROKER=host:port, or"
            " start one with `cascade broker up`."
        )
    return settings.model_copy(update={"broker": found.broker.bootstrap})


def require_topics(producer: Producer, settings: Settings, names: set[str], until_s: float) -> None:
    """Check that topics are there.

    Args:
        producer: Any client of the broker.
        settings: Namespace.
        names: Topics without namespace.
        until_s: Moment to give up, on the monotonic clock.

    Raises:
        BrokerUnavailable: If the broker does not answer in time.
        ConfigurationError: If one is not there.
    """
    try:
        # All topics: a broker may create the one that it is asked for.
        known = producer.list_topics(timeout=max(_LEAST_S, until_s - time.monotonic())).topics
    except KafkaException as error:
        raise BrokerUnavailable(
            f"Expected topics of the broker at {settings.broker}, was: {error.args[0].str()}"
        ) from error
    if absent := sorted(
        settings.topic(name) for name in names if settings.topic(name) not in known
    ):
        raise ConfigurationError(
            f"Expected topic {', '.join(absent)} at {settings.broker}, was not there. Create it"
            " with `cascade topics apply`, or set CASCADE_NAMESPACE to the cascade's."
        )
