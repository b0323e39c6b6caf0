"""`pipeline.resources`: files beside the package are found, missing ones named."""

import pytest

from pipeline.errors import ConfigurationError
from pipeline.resources import resource


@pytest.mark.parametrize("name", ["schemas", "topics.yaml", "docker/kafka/pom.xml"])
def test_resources_are_found(name: str) -> None:
    """Every file that the package needs from beside it is there."""
    assert resource(name).exists()


def test_missing_resource_is_named() -> None:
    """What is not there is an error with its name."""
    with pytest.raises(ConfigurationError, match="no-such-file"):
        resource("no-such-file")
