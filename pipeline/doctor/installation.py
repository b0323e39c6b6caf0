"""What an installation needs: eight checks, from Python to the rights on the broker."""

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version

import confluent_kafka
import psutil
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from pipeline.broker import Cluster, probe
from pipeline.coordination.vocabulary import TOPIC as COORDINATION
from pipeline.doctor.finding import Finding, State
from pipeline.errors import ConfigurationError, PipelineError
from pipeline.events import EventBus
from pipeline.events.subscription import Received
from pipeline.packets.events import CoordinationMessage
from pipeline.settings import Settings
from pipeline.topics import Action, Change, TopicFile, compatibility
from pipeline.topics import plan as plan_topics
from pipeline.topics.acls import Operation, Resource, bindings

__all__ = [
    "broker",
    "clock",
    "disk",
    "examine",
    "librdkafka",
    "python",
    "rights",
    "schemas",
    "topics",
]

_PYTHON = (3, 11)
_LIBRDKAFKA = (2, 6)
_ASK_S = 5.0
_LISTEN_S = 4.0
_GIGABYTE = 1e9
_LEAST_FREE = 0.05
_SLIGHT_MS = 100.0
_GRAVE_MS = 1000.0


def examine(settings: Settings, *, role: str = "operator") -> Iterator[Finding]:
    """Yield the findings, one by one as they are made; nothing fails, and nothing is written.

    Args:
        settings: The settings; without a broker the checks that need one say so.
        role: Whose rights this client is to have.
    """
    yield python(sys.version_info[:3])
    yield librdkafka(confluent_kafka.libversion()[0], version("confluent-kafka"))
    file = TopicFile.load()
    found = _told("broker", lambda: broker(settings, file))
    yield found
    reached = found.state is not State.UNKNOWN and found.state is not State.PROBLEM
    for name, ask in (
        ("topics", lambda: topics(plan_topics(settings, file))),
        ("schemas", lambda: schemas(compatibility.check)),
        ("clock", lambda: clock(_heard(settings))),
        ("disk", lambda: _disk(settings)),
        ("rights", lambda: rights(_allowed(settings, file), _needed(settings, file, role), role)),
    ):
        if reached or name in {"schemas", "disk"}:
            yield _told(name, ask)
        else:
            yield Finding(name, State.UNKNOWN, "no broker to ask", "cascade broker up")


def python(numbers: Sequence[int]) -> Finding:
    """Judge the version of Python."""
    told = ".".join(map(str, numbers))
    if tuple(numbers[:2]) < _PYTHON:
        wanted = ".".join(map(str, _PYTHON))
        detail = f"Expected Python {wanted} or later, was {told}"
        return Finding("python", State.PROBLEM, detail, "PYTHON=python3.12 scripts/install")
    return Finding("python", State.OK, f"Python {told}")


def librdkafka(library: str, client: str) -> Finding:
    """Judge the version of librdkafka, and whether the client was built for it."""
    numbers = tuple(int(part) for part in library.split(".")[:2])
    told = f"librdkafka {library}, confluent-kafka {client}"
    if numbers < _LIBRDKAFKA:
        wanted = ".".join(map(str, _LIBRDKAFKA))
        detail = f"Expected librdkafka {wanted} or later, was {told}"
        return Finding("librdkafka", State.PROBLEM, detail, "scripts/install")
    if client.split(".")[:2] != library.split(".")[:2]:
        detail = f"Expected client and library of one version, was {told}"
        return Finding("librdkafka", State.WARNING, detail, "scripts/install")
    return Finding("librdkafka", State.OK, told)


def broker(settings: Settings, file: TopicFile, ask: Callable[..., Cluster] = probe) -> Finding:
    """Ask the broker, and judge whether there are as many as the topics need.

    Raises:
        BrokerUnavailable: If none answers.
        ConfigurationError: If no such topic profile is known.
    """
    if settings.broker is None:
        detail = "Expected a Kafka broker, was none: CASCADE_BROKER is not set and none runs here"
        return Finding("broker", State.PROBLEM, detail, "cascade broker up")
    begun_s = time.perf_counter()
    cluster = ask(settings.broker, timeout_s=_ASK_S, properties=settings.connection())
    took_ms = (time.perf_counter() - begun_s) * 1000
    needed = file.profile(settings.topic_profile).replication
    told = f"{cluster.brokers} brokers at {settings.broker}, answered in {took_ms:.0f} ms"
    if cluster.brokers < needed:
        detail = f"Expected {needed} brokers for profile {settings.topic_profile}, was {told}"
        return Finding("broker", State.WARNING, detail, "CASCADE_TOPIC_PROFILE=dev cascade doctor")
    return Finding("broker", State.OK, told)


def topics(changes: Sequence[Change]) -> Finding:
    """Judge what stands between the broker and the topics file."""
    wrong = [each for each in changes if each.action is not Action.NONE]
    if not wrong:
        return Finding("topics", State.OK, f"{len(changes)} topics, as topics.yaml says")
    missing = sum(each.action is Action.CREATE for each in wrong)
    refused = [each for each in wrong if each.action.refused]
    first = (refused or wrong)[0]
    detail = (
        f"{missing} missing, {len(wrong) - missing - len(refused)} drifted, {len(refused)} to be"
        f" changed by hand; {first.real}: {first.detail}"
    )
    command = "cascade topics diff" if refused else "cascade topics apply"
    return Finding("topics", State.PROBLEM, detail, command)


def schemas(check: Callable[[], Sequence[str]]) -> Finding:
    """Judge the schemas against their history."""
    faults = check()
    if faults:
        return Finding("schemas", State.PROBLEM, faults[0], "cascade schemas check")
    return Finding("schemas", State.OK, "the current schemas read all that was ever written")


def clock(heard: Mapping[str, tuple[float, float]] | None) -> Finding:
    """Judge the clocks of this machine and of the workers against the broker's.

    Args:
        heard: By sender the newest message's (milliseconds by which this machine's clock is before
            the broker's, milliseconds by which the sender's is); None where nobody was heard of.
    """
    if not heard:
        detail = "Expected a message of a worker to compare clocks with, was none"
        return Finding("clock", State.UNKNOWN, detail, "cascade run")
    here = min((ahead for ahead, _ in heard.values()), key=abs)
    senders = {name: ahead for name, (_, ahead) in heard.items()}
    worst = max(senders, key=lambda name: abs(senders[name]))
    told = f"this machine {here:+.0f} ms, {worst} {senders[worst]:+.0f} ms against the broker"
    gap = max(abs(here), abs(senders[worst]))
    if gap > _SLIGHT_MS:
        state = State.PROBLEM if gap > _GRAVE_MS else State.WARNING
        detail = f"Expected clocks within {_SLIGHT_MS:.0f} ms, was {told}: deadlines are missed"
        return Finding("clock", state, detail, "timedatectl set-ntp true")
    return Finding("clock", State.OK, told)


def disk(free_bytes: float, total_bytes: float, where: str, refused: str = "") -> Finding:
    """Judge the disk that local state lies on.

    Args:
        free_bytes: What is free.
        total_bytes: What there is.
        where: `CASCADE_HOME`.
        refused: Why nothing can be written there; empty where it can.
    """
    told = f"{free_bytes / _GIGABYTE:.1f} GB free at {where}"
    if refused:
        detail = f"Expected to write to {where}, was refused: {refused}"
        return Finding("disk", State.PROBLEM, detail, "CASCADE_HOME=/some/folder cascade doctor")
    if free_bytes < _GIGABYTE or free_bytes < _LEAST_FREE * total_bytes:
        return Finding(
            "disk", State.PROBLEM, f"Expected 1 GB and 5 %, was {told}", "du -sh " + where
        )
    return Finding("disk", State.OK, told)


def rights(
    allowed: Mapping[str, frozenset[str]], needed: Mapping[str, frozenset[str]], role: str
) -> Finding:
    """Judge what this client may do on the broker against what its role needs.

    Args:
        allowed: Operations by topic.
        needed: The same.
        role: Name of the role.
    """
    missing = [
        f"{operation} {topic}"
        for topic, operations in needed.items()
        for operation in sorted(operations - allowed.get(topic, frozenset()))
    ]
    if missing:
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if missing[5:] else "")
        detail = f"Expected the rights of {role}, was without: {listed}"
        return Finding("rights", State.PROBLEM, detail, "cascade topics apply --acls")
    return Finding("rights", State.OK, f"all that {role} needs on {len(needed)} topics")


def _told(name: str, ask: Callable[[], Finding]) -> Finding:
    try:
        return ask()
    except ConfigurationError as error:
        return Finding(name, State.UNKNOWN, str(error))
    except (PipelineError, KafkaException, OSError) as error:
        state = State.PROBLEM if name == "broker" else State.UNKNOWN
        return Finding(name, state, str(error), "cascade broker status")


def _disk(settings: Settings) -> Finding:
    home = settings.home
    refused = ""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        refused = str(error)
    there = next(each for each in (home.absolute(), *home.absolute().parents) if each.exists())
    usage = psutil.disk_usage(str(there))
    return disk(usage.free, usage.total, str(home), refused)


def _heard(settings: Settings) -> dict[str, tuple[float, float]]:
    """Listen to the coordination for a while; see `clock`."""
    found: dict[str, tuple[float, float]] = {}
    done = threading.Event()

    def take(received: Received) -> None:
        now_ms = time.time() * 1000
        if isinstance(received.packet, CoordinationMessage):
            sent_ms = received.packet.timestamp / 1000
            at_ms = received.timestamp_ms
            found[received.packet.sender_system] = (now_ms - at_ms, sent_ms - at_ms)

    with EventBus(settings=settings) as bus:
        subscription = bus.subscribe(COORDINATION, take)
        done.wait(_LISTEN_S)
        subscription.close()
    return found


def _needed(settings: Settings, file: TopicFile, role: str) -> dict[str, frozenset[str]]:
    needed: dict[str, set[str]] = {}
    for each in bindings(file, settings, role):
        if each.resource is Resource.TOPIC and each.operation is not Operation.DESCRIBE:
            needed.setdefault(each.name, set()).add(each.operation.value)
    return {name: frozenset(operations) for name, operations in needed.items()}


def _allowed(settings: Settings, file: TopicFile) -> dict[str, frozenset[str]]:
    """Return what the broker lets this client do on each topic that it may see."""
    admin = AdminClient({**settings.client(client_id=settings.group("doctor")), "log_level": 0})
    asked = TopicCollection([settings.topic(name) for name in file.topics])
    futures = admin.describe_topics(
        asked, include_authorized_operations=True, request_timeout=_ASK_S
    )
    found = {}
    for name, future in futures.items():
        try:
            operations = future.result(_ASK_S + 1.0).authorized_operations or []
        except KafkaException as error:
            if error.args[0].name() not in {"TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_TOPIC_OR_PART"}:
                raise
            continue
        found[name] = frozenset(each.name.lower() for each in operations)
    return found
