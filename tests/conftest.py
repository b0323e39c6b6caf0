"""What all tests share: a clean environment, markers, and the Kafka fixtures."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.kafka_fixtures"]

# A setting of the shell that starts the tests must not change what they find.
_OURS = ("CASCADE_", "COORDINATION_", "PERFORMANCE_", "VALIDATION_", "EMERGENCY_")
for _name in [name for name in os.environ if name.startswith(_OURS)]:
    del os.environ[_name]

# Two shared cores: the time of one example says nothing about the code.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the folder they lie in, and by whether they ask for a Kafka.

    Those that do come first: they take long, mostly by waiting, so that the many short ones fill
    the gaps where several processes share the work (`-n`).
    """
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        if folder in {"integration", "faults", "emergencies"}:
            item.add_marker(folder)
        elif "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker("integration")
    items.sort(key=lambda item: item.path.relative_to(_TESTS).parts[0] == "unit")
