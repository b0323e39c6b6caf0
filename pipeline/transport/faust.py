"""The Faust transport `rdkafka://`: Faust apps on librdkafka, working off whole rounds.

Registered as entry point `faust.transports`. Faust gives apps, agents, groups, `faust worker`,
lifecycle, timers and services; its drain loop, acknowledgements and commits are replaced, since
positions advance only by what stands in the output log.
"""

from faust.transport import base

from pipeline.transport.faust_consumer import RoundConsumer
from pipeline.transport.faust_producer import RecordProducer

__all__ = ["Transport"]


class Transport(base.Transport):
    """Transport for apps that own output logs; see `pipeline.stages.app`."""

    Consumer = RoundConsumer
    Producer = RecordProducer
    driver_version = "rdkafka"
    default_port = 9092
