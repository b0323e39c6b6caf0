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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the folder they lie in, and by whether they ask for a Kafka.

    Those that need a Kafka come first: they take long, mostly by waiting, so that the many short
    ones fill the gaps where several processes share the work (`-n`).
    """
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        if folder in {"integration", "faults"}:
            item.add_marker(folder)
        elif "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker("integration")
        if folder == "unit" or _shares(item):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=lambda item: item.get_closest_marker("integration") is None)


def _shares(item: pytest.Item) -> bool:
    """Say whether a test shares a fixture with others of its module: one process must run them."""
    known = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    return any(each.scope == "module" for fixtures in known.values() for each in fixtures)
