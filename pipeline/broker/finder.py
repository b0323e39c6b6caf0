"""`up`, `down` and `status`: the ways to a broker, tried in their order."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.broker.artifacts import kafka_version
from pipeline.broker.cluster import LocalCluster
from pipeline.broker.docker import DockerBroker
from pipeline.broker.local import LocalBroker
from pipeline.broker.machine import Machine, ThisMachine
from pipeline.broker.model import Broker, Notice, WayAbsent, refused
from pipeline.broker.probe import Cluster, probe
from pipeline.errors import BrokerUnavailable, ConfigurationError, UsageError
from pipeline.resources import resource
from pipeline.settings import Settings, load_settings

__all__ = ["BrokerStatus", "down", "status", "up"]

_EXTERNAL_TIMEOUT_S = 10.0
_FIND_TIMEOUT_S = 30.0
_STATUS_TIMEOUT_S = 5.0
# Long enough for another process to fetch the jars and start its broker.
_LOCK_TIMEOUT_S = 720.0
_LOCK_POLL_S = 0.1

Probe = Callable[..., Cluster]


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What `status` found.

    Attributes:
        broker: The broker that answers, None where none does.
        detail: One sentence about it, or about why there is none.
    """

    broker: Broker | None
    detail: str


def up(
    settings: Settings | None = None,
    *,
    notice: Notice = lambda _: None,
    machine: Machine | None = None,
    ask: Probe = probe,
    cache: Path | None = None,
    nodes: int = 1,
) -> Broker:
    """Return a broker that answers: the one that is set, the one that runs, or a new one.

    A broker started here outlives this process; `down` stops it. Calling this again, from other
    processes too, returns the same broker.

    Args:
        settings: Settings; None loads them.
        notice: Told in a sentence what takes long or is out of the ordinary.
        machine: The machine; for tests.
        ask: Asks an address whether a broker answers there; for tests.
        cache: Folder for Kafka's jars; None for one per user.
        nodes: How many brokers of one cluster; more than one are processes of this machine.

    Raises:
        BrokerUnavailable: The broker that is set does not answer, or one could not be started.
        ConfigurationError: No way leads to a broker, or a folder cannot be written.
    """
    settings = settings or load_settings()
    if settings.broker is not None:
        return _external(settings, settings.broker, ask, _EXTERNAL_TIMEOUT_S)
    machine = machine or ThisMachine()
    folder = settings.home / "broker"
    if nodes > 1:
        cluster = _cluster(settings, machine, ask, notice, cache, nodes)
        with _lock(folder, machine):
            return cluster.start()
    local, docker = _ways(folder, machine, ask, notice, cache)
    with _lock(folder, machine):
        for way in (local, docker):
            if (running := way.find(timeout_s=_FIND_TIMEOUT_S)) is not None:
                return running
        absent = []
        for way in (local, docker):
            try:
                return way.start()
            except WayAbsent as reason:
                absent.append(str(reason))
                if way is local:
                    notice(f"No broker from Java and Maven: {reason}. Trying Docker.")
    raise ConfigurationError(
        "Expected a Kafka broker, was none to be had. Three ways lead to one:"
        " (1) set CASCADE_BROKER=host:port to one that runs;"
        f" (2) Java and Maven, but {absent[0]};"
        f" (3) Docker, but {absent[1]}."
    )


def down(
    settings: Settings | None = None,
    *,
    machine: Machine | None = None,
    ask: Probe = probe,
) -> bool:
    """Stop the broker that `up` started, if one runs; its data stays.

    Returns:
        Whether there was one.

    Raises:
        UsageError: None runs, and CASCADE_BROKER names one that is not ours to stop.
        BrokerUnavailable: It could not be stopped.
    """
    settings = settings or load_settings()
    machine = machine or ThisMachine()
    folder = settings.home / "broker"
    stopped = False
    if folder.exists():
        with _lock(folder, machine):
            for way in _ways(folder, machine, ask, lambda _: None, None):
                stopped = way.stop() or stopped
            stopped = _cluster(settings, machine, ask, lambda _: None).stop() or stopped
    if not stopped and settings.broker is not None:
        raise UsageError(
            f"Expected a broker of ours to stop, was {settings.broker} of CASCADE_BROKER: stop it"
            " where it was started."
        )
    return stopped


def status(
    settings: Settings | None = None,
    *,
    machine: Machine | None = None,
    ask: Probe = probe,
    timeout_s: float = _STATUS_TIMEOUT_S,
) -> BrokerStatus:
    """Say which broker `up` would return without starting one; takes no lock.

    Args:
        settings: Settings; None loads them.
        machine: The machine; for tests.
        ask: Asks an address whether a broker answers there; for tests.
        timeout_s: For each way to a broker, seconds.
    """
    settings = settings or load_settings()
    try:
        broker = _running(settings, machine or ThisMachine(), ask, timeout_s)
    except BrokerUnavailable as error:
        return BrokerStatus(None, str(error))
    if broker is None:
        return BrokerStatus(None, "No broker runs; `cascade broker up` starts one.")
    return BrokerStatus(broker, describe(broker))


def describe(broker: Broker) -> str:
    """Return one sentence about a broker that answers."""
    version = f" {broker.kafka_version}" if broker.kafka_version else ""
    where = {
        "external": "set by CASCADE_BROKER",
        "local": f"process {broker.pid}, data in {broker.data_dir}",
        "docker": f"container {broker.container}",
    }[broker.kind]
    return f"Kafka{version} answers at {broker.bootstrap} ({where})."


def _running(settings: Settings, machine: Machine, ask: Probe, timeout_s: float) -> Broker | None:
    if settings.broker is not None:
        return _external(settings, settings.broker, ask, timeout_s)
    for way in _ways(settings.home / "broker", machine, ask, lambda _: None, None):
        if (running := way.find(timeout_s=timeout_s)) is not None:
            return running
    return _cluster(settings, machine, ask, lambda _: None).find(timeout_s=timeout_s)


def _cluster(
    settings: Settings,
    machine: Machine,
    ask: Probe,
    notice: Notice,
    cache: Path | None = None,
    count: int | None = None,
) -> LocalCluster:
    return LocalCluster(
        settings.home / "broker" / "cluster", resource("docker/kafka/pom.xml"), machine=machine,
        probe=ask, notice=notice, cache=cache, count=count,
    )  # fmt: skip


def _external(settings: Settings, bootstrap: str, ask: Probe, timeout_s: float) -> Broker:
    cluster = ask(bootstrap, timeout_s=timeout_s, properties=settings.connection())
    return Broker(bootstrap, "external", cluster_id=cluster.cluster_id)


def _ways(
    folder: Path, machine: Machine, ask: Probe, notice: Notice, cache: Path | None
) -> tuple[LocalBroker, DockerBroker]:
    pom = resource("docker/kafka/pom.xml")
    local = LocalBroker(folder, pom, machine=machine, probe=ask, notice=notice, cache=cache)
    version = kafka_version(pom)
    return local, DockerBroker(folder, version, machine=machine, probe=ask, notice=notice)


@contextmanager
def _lock(folder: Path, machine: Machine) -> Iterator[None]:
    """Keep other processes from starting or stopping the same broker meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        raise refused(folder, error) from error
    with file:  # closing it lets go of the lock, as does the end of the process
        deadline_s = machine.now_s() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if machine.now_s() >= deadline_s:
                    raise BrokerUnavailable(
                        f"Expected to start or stop the broker, was waiting {_LOCK_TIMEOUT_S:g} s"
                        f" for another process that does (lock {folder / 'lock'}). End it."
                    ) from None
                machine.sleep(_LOCK_POLL_S)
        yield
