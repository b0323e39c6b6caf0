"""Fixtures of the tests of topics as code: a namespace with its command, and a witness."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient

from pipeline.cli import main
from pipeline.resources import resource
from pipeline.settings import load_settings
from tests.live_topics import config_of
from tests.topics.verdict import Witness

__all__ = ["Namespace"]


class Namespace:
    """A namespace of a broker, a topics file, and `cascade topics` on both.

    Args:
        broker: Bootstrap servers.
        folder: Where the file lies.
    """

    def __init__(self, broker: str, folder: Path) -> None:
        self.settings = load_settings(broker=broker, namespace=f"test-{uuid.uuid4().hex[:10]}")
        self._file = folder / f"{self.settings.namespace}.yaml"
        self._env = {"CASCADE_BROKER": broker, "CASCADE_NAMESPACE": self.settings.namespace}
        self.content: dict[str, Any] = yaml.safe_load(resource("topics.yaml").read_text())
        self.write()

    def write(self, **topics: Mapping[str, object]) -> None:
        """Write the project's file, some topics (`cascade_alerts`) with other keys."""
        changed = {name.replace("_", "."): keys for name, keys in topics.items()}
        content = {
            **self.content,
            "topics": {
                name: {**topic, **changed.get(name, {})}
                for name, topic in self.content["topics"].items()
            },
        }
        self._file.write_text(yaml.safe_dump(content, sort_keys=False))

    def run(self, verb: str, *arguments: str) -> tuple[int, Any, str]:
        """Return exit code, JSON and what was said beside."""
        given = ["topics", verb, "--file", str(self._file), "--json", *arguments]
        result = CliRunner().invoke(main, given, env=self._env)
        return result.exit_code, json.loads(result.stdout or "null"), result.stderr

    def start_apply(self) -> subprocess.Popen[str]:
        """Begin an `apply` in a process of its own, which says what it has done as it goes."""
        command = [
            *(sys.executable, "-m", "pipeline.cli", "topics", "apply", "--file", str(self._file)),
        ]
        return subprocess.Popen(
            command, env={**os.environ, **self._env}, stdout=subprocess.PIPE, text=True
        )

    def live(self) -> dict[str, tuple[int, dict[str, str]]]:
        """Return partition count and configuration of each topic, by name without namespace."""
        admin = AdminClient(self.settings.client())
        found = admin.list_topics(timeout=30).topics
        return {
            self.settings.plain_topic(real): (
                len(topic.partitions), config_of(self.settings, real),
            )
            for real, topic in found.items()
            if real.startswith(f"{self.settings.namespace}.")
        }  # fmt: skip

    def partitions(self, topic: str) -> int:
        """Return the live partition count of a topic."""
        admin = AdminClient(self.settings.client())
        return len(admin.list_topics(timeout=30).topics[self.settings.topic(topic)].partitions)


@pytest.fixture
def spaces(kafka: str, tmp_path: Path) -> Callable[[], Namespace]:
    """Return what makes a namespace of its own."""
    return lambda: Namespace(kafka, tmp_path)


@pytest.fixture
def space(spaces: Callable[[], Namespace]) -> Namespace:
    """Return a namespace without topics."""
    return spaces()


@pytest.fixture
def witness(request: pytest.FixtureRequest) -> Witness:
    """Return the witness of the test's promise, which its docstring states."""
    name = request.node.name.removeprefix("test_")
    says = (request.function.__doc__ or "").strip()
    return Witness(name, says, request.node.user_properties, {}, [])
