"""Where the files beside the package lie: `schemas/`, `topics.yaml`, `docker/kafka/pom.xml`.

They stand at the top of the tree, where people look for them. `pipeline/_resources` links to them,
so that a checkout reads the originals and a wheel carries copies.
"""

from pathlib import Path

from pipeline.errors import ConfigurationError

__all__ = ["resource"]

_RESOURCES = Path(__file__).resolve().parent / "_resources"


def resource(name: str) -> Path:
    """Return the path of a file or folder that belongs to the project.

    Args:
        name: Path from the top of the checkout, such as `schemas` or `topics.yaml`.

    Raises:
        ConfigurationError: Neither the checkout nor the installed package holds it.
    """
    path = (_RESOURCES / name).resolve()
    if not path.exists():
        raise ConfigurationError(
            f"Expected {name} at {path}, was not there. Reinstall the package or restore the"
            " checkout; links under pipeline/_resources must have survived the copy."
        )
    return path
