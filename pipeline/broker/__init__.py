"""A Kafka for one machine: find the one that runs, or start one, in a fixed order.

1. `CASCADE_BROKER`, if set.
2. Java 17 and Maven: Apache Kafka from its Maven artifacts, one KRaft node.
3. A Docker engine that has the image `apache/kafka`, or can pull it.
4. An error that names the three ways.
"""

from pipeline.broker.finder import BrokerStatus, down, status, up
from pipeline.broker.machine import Completed, Machine, ThisMachine
from pipeline.broker.model import Broker
from pipeline.broker.probe import Cluster, probe

__all__ = [
    "Broker",
    "BrokerStatus",
    "Cluster",
    "Completed",
    "Machine",
    "ThisMachine",
    "down",
    "probe",
    "status",
    "up",
]
