"""The event bus: this process's connection to the cascade's topics on Kafka.

    with EventBus() as bus:
        bus.publish("cascade.alerts", alert)
        bus.subscribe("cascade.coordination", print)

It is for what people, components and systems tell one another: control, alerts, coordination,
emergencies. Packets between stages go their own way (`pipeline.transport`). Importing this opens
no connection.
"""

from pipeline.events.bus import EventBus
from pipeline.events.publishing import RecordPosition
from pipeline.events.stream import Stream
from pipeline.events.subscription import Received, Subscription

__all__ = ["EventBus", "Received", "RecordPosition", "Stream", "Subscription"]
