"""Settings given as flags of a command: `cascade --set NAME=VALUE ...`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.settings.names import canonical

__all__ = ["FLAGS", "flags_in_force", "from_flags", "parse_flags"]

FLAGS = "flags"

# One process is one command line, so its flags hold in all of its threads.
_in_force: list[Mapping[str, Any]] = [{}]


def parse_flags(texts: Sequence[str]) -> dict[str, Any]:
    """Return the settings of `NAME=VALUE` texts, nested; a later text wins over an earlier one.

    Args:
        texts: Dotted names with values, as `coordination.sync_timeout=2`.

    Raises:
        ConfigurationError: A text without `=`; or a Kafka property or a contact, which may be a
            secret that every user of the machine could read from the list of processes.
    """
    tree: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ConfigurationError(f"Expected --set NAME=VALUE, was {text!r}")
        *above, key = name.removeprefix("cascade.").split(".")
        secret = key == "registry_url" and "@" in value
        if secret or (above or [key])[0] == "kafka" or key == "emergency_contacts":
            raise ConfigurationError(
                f"Expected {name} in the environment or a file, since it may hold secrets, was"
                " --set, which everybody can read in the list of processes"
            )
        _within(tree, above, name)[
            "cascade_timeout_ms" if name == "cascade.timeout_ms" else key
        ] = value
    return canonical(tree, FLAGS)


@contextmanager
def flags_in_force(flags: Mapping[str, Any]) -> Iterator[None]:
    """Have `load_settings` know these flags until the block ends.

    Args:
        flags: What `parse_flags` returned.
    """
    _in_force.append(flags)
    try:
        yield
    finally:
        _in_force.pop()


def from_flags() -> Mapping[str, Any]:
    """Return the flags in force, nested."""
    return _in_force[-1]


def _within(tree: dict[str, Any], above: Sequence[str], name: str) -> dict[str, Any]:
    for key in above:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"Expected a section or a value, was both, at --set {name}")
    return tree
