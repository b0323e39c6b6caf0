"""What the ways to a broker have in common."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import ConfigurationError

__all__ = ["Broker", "Notice", "WayAbsent", "refused"]

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Broker:
    """A Kafka broker that answered.

    Attributes:
        bootstrap: `host:port[,host:port]` for clients.
        kind: `external` (not ours), `local` (a process of ours) or `docker` (a container of ours).
        kafka_version: Its version, None where it is not known.
        cluster_id: Its cluster, None where it tells none.
        pid: Its process, if local.
        container: Its container, if in Docker.
        data_dir: Where its logs lie, if local.
    """

    bootstrap: str
    kind: Literal["external", "local", "docker"]
    kafka_version: str | None = None
    cluster_id: str | None = None
    pid: int | None = None
    container: str | None = None
    data_dir: Path | None = None

    def to_dict(self) -> dict[str, str | int | None]:
        """Return the attributes as JSON takes them."""
        return {**asdict(self), "data_dir": str(self.data_dir) if self.data_dir else None}


class WayAbsent(ConfigurationError):
    """This way to a broker does not exist on this machine; the next one may."""


def refused(path: Path, error: OSError) -> ConfigurationError:
    """Return the error for a path that could not be written."""
    return ConfigurationError(
        f"Expected to write to {path}, was refused: {error.strerror or error}. Make it writable,"
        " or set CASCADE_HOME to a folder that is."
    )
