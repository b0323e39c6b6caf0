"""What a demo needs before it starts: broker, namespace, topics, permission to trade."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import broker, topics
from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.errors import ConfigurationError
from pipeline.packets.events import ControlKind
from pipeline.settings import Settings
from pipeline.topics import Action, TopicFile

__all__ = ["Rig", "demo_namespace", "rig"]


@dataclass(frozen=True, slots=True)
class Rig:
    """A namespace on a broker, ready for workers.

    Attributes:
        settings: Settings with broker, namespace and home.
        broker: The broker.
        started_broker: Whether the demo started it.
        folder: The run's own folder.
    """

    settings: Settings
    broker: broker.Broker
    started_broker: bool
    folder: Path


def demo_namespace(now_s: float | None = None) -> str:
    """Return a namespace that no other run has: `demo-` and the time, UTC, to the millisecond."""
    now_s = time.time() if now_s is None else now_s
    text = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
    return f"demo-{text}-{int(now_s * 1000) % 1000:03d}"


@contextmanager
def rig(
    settings: Settings,
    *,
    say: Callable[[str], None],
    keep: bool,
    partitions: int,
    namespace: str | None = None,
) -> Iterator[Rig]:
    """Make all ready, and stop the broker at the end if it was started here.

    Args:
        settings: The user's settings; broker and home count, the namespace does not.
        say: Told in a sentence what is done.
        keep: Leave a broker that was started here running.
        partitions: Partitions of what is keyed by symbol.
        namespace: The run's namespace; a fresh one where None.

    Raises:
        BrokerUnavailable, ConfigurationError: As `pipeline.broker.up` and `topics.apply`.
    """
    running = broker.status(settings).broker
    ours = running is None and settings.broker is None
    if ours:
        say("Starting a broker.")
    try:
        found = broker.up(settings, notice=say)  # inside, for it may be interrupted half-way
        say(broker.status(settings).detail)
        mine = settings.model_copy(
            update={
                "broker": found.bootstrap,
                "namespace": namespace or demo_namespace(),
                "home": settings.home.absolute(),
            }
        )
        yield Rig(mine, found, ours, _prepared(mine, partitions))
    finally:
        if ours and not keep:
            say("Stopping the broker.")
            broker.down(settings)


def _prepared(mine: Settings, partitions: int) -> Path:
    """Make folder and topics, allow trading; return the folder."""
    folder = mine.home / "demo" / mine.namespace
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"Expected to write to {folder}, was refused: {error}. Set CASCADE_HOME to a folder"
            " that can be written."
        ) from error
    changes = topics.apply(mine, TopicFile.load().with_symbol_partitions(partitions))
    if wrong := [change for change in changes if change.action is Action.CONFLICT]:
        raise ConfigurationError(f"Expected the topics of topics.yaml, was: {wrong[0].detail}")
    command = new_command(
        ControlKind.BOOTSTRAP,
        author=mine.control_authors[0] if mine.control_authors else "",
        reason="demo on paper",
        clock=WallClock(),
    )
    ControlWriter(mine).issue(command)
    return folder
