"""A running cluster for the tests that use the cascade as its users do: workers in processes."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline import topics
from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.packets.events import ControlKind
from pipeline.run import worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile
from tests.kafka_workers import LIMIT_S

__all__ = ["cluster", "prepare", "running_cluster", "variables"]

PATIENT_MS = 60_000
"""A deadline that a busy machine keeps; tests say nothing about speed."""


def prepare(settings: Settings) -> None:
    """Create the topics and allow trading."""
    topics.apply(settings, TopicFile.load())
    command = new_command(
        ControlKind.BOOTSTRAP, author="operator", reason="test", clock=WallClock()
    )
    ControlWriter(settings).issue(command)


@contextmanager
def running_cluster(settings: Settings) -> Iterator[LocalRun]:
    """Run all stages and the gateway until the block ends; they own their logs when it begins."""
    prepare(settings)
    with LocalRun(settings, worker_specs(paired=True, log_level="INFO")) as run:
        run.wait_owned(LIMIT_S)
        yield run


@pytest.fixture(scope="module")
def cluster(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a cluster that runs as long as the tests of one module."""
    settings = load_settings(
        broker=kafka,
        namespace=f"test-{uuid.uuid4().hex[:10]}",
        home=tmp_path_factory.mktemp("home"),
        cascade_timeout_ms=PATIENT_MS,
        control_echo_timeout_s=30.0,  # a starved reader is no broker out of reach
    )
    with running_cluster(settings):
        yield settings


def variables(settings: Settings) -> dict[str, str]:
    """Return the environment by which another process finds the cluster."""
    return {
        "CASCADE_BROKER": settings.broker or "",
        "CASCADE_NAMESPACE": settings.namespace,
        "CASCADE_HOME": str(settings.home),
        "CASCADE_TIMEOUT_MS": str(settings.cascade_timeout_ms),
    }
