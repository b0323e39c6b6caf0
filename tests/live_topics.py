"""Topics of a live broker as somebody changes and sees them by hand, without `pipeline.topics`."""

import time
from collections.abc import Mapping

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from pipeline.settings import Settings

__all__ = ["config_of", "set_config"]

_LIMIT_S = 60.0


def set_config(settings: Settings, real: str, config: Mapping[str, str]) -> None:
    """Set keys of a topic's configuration, and return when they are seen."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, real, incremental_configs=entries)
    admin = AdminClient(settings.client())
    (future,) = admin.incremental_alter_configs([resource]).values()
    future.result(_LIMIT_S)
    deadline_s = time.monotonic() + _LIMIT_S
    while not config.items() <= config_of(settings, real).items():
        assert time.monotonic() < deadline_s, f"Expected {config} of {real} to be seen, was not"
        time.sleep(0.05)


def config_of(settings: Settings, real: str) -> dict[str, str]:
    """Return a topic's whole configuration."""
    admin = AdminClient(settings.client())
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, real)]).values()
    return {name: str(entry.value) for name, entry in future.result(_LIMIT_S).items()}
