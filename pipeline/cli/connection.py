"""What the commands that talk to Kafka share: which broker they talk to."""

from pipeline.broker import status
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings, load_settings

__all__ = ["connected_settings"]


def connected_settings() -> Settings:
    """Return the settings in force, with the broker that runs on this machine where none is set.

    Raises:
        ConfigurationError: If no broker is set and none runs.
    """
    settings = load_settings()
    if settings.broker is not None:
        return settings
    running = status(settings).broker
    if running is None:
        raise ConfigurationError(
            "Expected a Kafka broker, was none. Set CASCADE_BROKER=host:port, or start one with"
            " `cascade broker up`."
        )
    return settings.model_copy(update={"broker": running.bootstrap})
