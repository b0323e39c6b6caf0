"""Who is measured: this pipeline, its engine with forwarding stages, and others beside it."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.bench.environments import java_command, project_root, python_of
from pipeline.bench.packets import Kind
from pipeline.bench.peers.hops import HOPS, TOPICS
from pipeline.bench.worker import Decisions, Guarantee
from pipeline.errors import UsageError
from pipeline.packets import schemas
from pipeline.run import WorkerSpec, worker_specs
from pipeline.run.workers import PAIRS
from pipeline.settings import Settings

__all__ = ["CONTENDERS", "Contender", "Site", "contender"]

_PATIENT_MS = 10_000
"""Deadline of packets that are only forwarded: what is compared there is the way, and the others
have no deadlines."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a contender runs.

    Attributes:
        settings: Broker, namespace and home.
        folder: For its files.
        say: Told in a sentence what takes long.
    """

    settings: Settings
    folder: Path
    say: Callable[[str], None]

    def where(self) -> str:
        """Return what peers are told, as JSON."""
        return json.dumps(
            {
                "bootstrap": self.settings.broker,
                "namespace": self.settings.namespace,
                "folder": str(self.folder),
            }
        )


@dataclass(frozen=True)
class Contender:
    """Someone to measure.

    Attributes:
        name: Its name on the command line.
        title: What it is.
        workers: Its worker processes at a site.
        ours: Whether it uses our topics and log protocol; else the topics of `peers.hops`.
        kind: What it is sent.
        timeout_ms: Deadline of its packets; None for the pipeline's own.
        log: Whether the reading rule says what counts at its end.
        overrides: Settings of its own.
    """

    name: str
    title: str
    workers: Callable[[Site], list[WorkerSpec]]
    ours: bool = True
    kind: Kind = Kind.MARKET
    timeout_ms: int | None = None
    log: bool = True
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> str:
        """Topic that the load goes to, without namespace."""
        return "cascade.market" if self.ours else TOPICS[0]

    @property
    def output(self) -> str:
        """Topic of the last hop, without namespace."""
        return "cascade.execution" if self.ours else TOPICS[-1]


def contender(name: str) -> Contender:
    """Return the contender of that name.

    Raises:
        UsageError: If there is none.
    """
    found = CONTENDERS.get(name)
    if found is None:
        raise UsageError(f"Expected a contender of {', '.join(CONTENDERS)}, was {name!r}")
    return found


def ours(
    name: str,
    title: str,
    *,
    decisions: Decisions,
    guarantee: Guarantee = Guarantee.LOG,
    groups: tuple[tuple[str, ...], ...] = (HOPS,),
    padding: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> Contender:
    """Return a contender of this engine, by the bench's own worker.

    Args:
        name: Its name.
        title: What it is.
        decisions: What its stages decide.
        guarantee: How they write.
        groups: Which stages share a process.
        padding: Bytes that forwarding stages add to each packet.
        overrides: Settings of its own.
    """

    def workers(site: Site) -> list[WorkerSpec]:
        del site
        command = (sys.executable, "-m", "pipeline.bench.worker", decisions, guarantee)
        specs = [
            WorkerSpec("-".join(stages), stages, (*command, str(padding), *stages))
            for stages in groups
        ]
        return [*specs, *(_gateway() if decisions is Decisions.REAL else [])]

    forwards = decisions is Decisions.FORWARD
    return Contender(
        name,
        title,
        workers,
        timeout_ms=_PATIENT_MS if forwards else None,
        log=guarantee is Guarantee.LOG,
        overrides={"cascade_timeout_ms": _PATIENT_MS} if forwards else overrides or {},
    )


def pipeline(
    name: str, title: str, overrides: Mapping[str, Any] | None = None, **options: Any
) -> Contender:
    """Return a contender of the product as `cascade run` starts it, gateway included.

    Args:
        name: Its name.
        title: What it is.
        overrides: Settings of its own.
        **options: As `worker_specs` takes them.
    """

    def workers(site: Site) -> list[WorkerSpec]:
        return worker_specs(log_level=site.settings.log_level, **options)

    return Contender(name, title, workers, overrides=overrides or {})


def _gateway() -> list[WorkerSpec]:
    return worker_specs(["gateway"])


def _peer(name: str, title: str, command: Callable[[Site], list[str]]) -> Contender:
    def workers(site: Site) -> list[WorkerSpec]:
        return [WorkerSpec(name, HOPS, tuple(command(site)))]

    return Contender(name, title, workers, ours=False, kind=Kind.SIGNAL, log=False)


def _module(site: Site, name: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", f"pipeline.bench.peers.{name}", site.where()]


def _quix(site: Site) -> list[str]:
    command = _module(site, "quix", python_of("quix", site.say))
    return ["/usr/bin/env", f"PYTHONPATH={project_root()}", *command]


def _streams(site: Site) -> list[str]:
    settings = site.settings
    schema = site.folder / "signal.avsc"
    schema.write_text(json.dumps(schemas.current("StrategicSignal")))
    group = settings.group("streams")
    return [
        *java_command(site.say), "cascade.bench.Forward",
        str(settings.broker), group, str(site.folder), str(schema),
        *(settings.topic(topic) for topic in TOPICS),
    ]  # fmt: skip


CONTENDERS: dict[str, Contender] = {
    each.name: each
    for each in (
        pipeline("single", "the pipeline, four stages in one process", single=True),
        pipeline("paired", "the pipeline, four stages in two processes", paired=True),
        pipeline("processes", "the pipeline, a process a stage"),
        ours("forward", "this engine, forwarding stages", decisions=Decisions.FORWARD),
        _peer("faust", "Faust as it comes (aiokafka)", lambda site: _module(site, "faust_stock")),
        _peer("loop", "a plain confluent-kafka loop", lambda site: _module(site, "loop")),
        _peer("quix", "Quix Streams", _quix),
        _peer("streams", "Kafka Streams (JVM)", _streams),
        ours(
            "at-least-once", "the pipeline, at-least-once",
            decisions=Decisions.REAL, guarantee=Guarantee.AT_LEAST_ONCE,
        ),
        ours(
            "transaction", "the pipeline, one Kafka transaction a poll",
            decisions=Decisions.REAL, guarantee=Guarantee.TRANSACTION,
        ),
        ours("log", "the pipeline, exactly once by its logs", decisions=Decisions.REAL),
        ours(
            "forward-at-least-once", "forwarding stages, at-least-once",
            decisions=Decisions.FORWARD, guarantee=Guarantee.AT_LEAST_ONCE,
        ),
        ours(
            "forward-transaction", "forwarding stages, one Kafka transaction a poll",
            decisions=Decisions.FORWARD, guarantee=Guarantee.TRANSACTION,
        ),
        ours(
            "forward-paired", "forwarding stages in two processes",
            decisions=Decisions.FORWARD, groups=PAIRS,
        ),
    )
}  # fmt: skip
