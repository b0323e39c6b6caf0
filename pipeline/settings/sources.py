"""Where settings come from, and what each of these places may not hold."""

import difflib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from pipeline.errors import ConfigurationError
from pipeline.settings.names import SECTIONS, canonical, flat_variables
from pipeline.yaml_file import load_mapping

__all__ = [
    "CONFIG",
    "ENVIRONMENT",
    "ENV_FILE",
    "PREFIX",
    "EnvFile",
    "Variables",
    "env_file",
    "from_yaml",
    "refuse_unknown",
    "unknown",
]

PREFIX = "CASCADE_"
CONFIG = "CASCADE_CONFIG"
ENVIRONMENT = "environment"
ENV_FILE = ".env"

_FLAT = flat_variables()
_PREFIXES = (PREFIX, *(f"{section.upper()}_" for section in SECTIONS))


class Variables(EnvSettingsSource):
    """The environment: `CASCADE_*`, and the sections' variables under their own prefix."""

    def __call__(self) -> dict[str, Any]:
        """Return what the environment sets."""
        return _with_sections(super().__call__(), self.env_vars, ENVIRONMENT)


class EnvFile(DotEnvSettingsSource):
    """`.env` without the keys of other programs; ours are checked in `load_settings`."""

    def __call__(self) -> dict[str, Any]:
        """Return what `.env` sets of ours."""
        return _with_sections(EnvSettingsSource.__call__(self), self.env_vars, ENV_FILE)


def _with_sections(
    tree: dict[str, Any], variables: Mapping[str, str | None], place: str
) -> dict[str, Any]:
    """Return `tree` with what `COORDINATION_*` and its like set.

    Raises:
        ConfigurationError: One setting by two variables.
    """
    tree = canonical(tree, place)
    for variable, (section, key) in _FLAT.items():
        text = variables.get(variable.lower())
        if text is None:
            continue
        keys = tree.setdefault(section, {})
        if not isinstance(keys, dict):  # the validation says what is wrong with it
            continue
        if key in keys:
            raise ConfigurationError(
                f"Expected {section}.{key} once, was {variable} and"
                f" {PREFIX}{section.upper()}__{key.upper()}, at {place}. Remove one."
            )
        keys[key] = _decoded(text, variable)
    return tree


def _decoded(text: str, variable: str) -> Any:
    """Return a list or a mapping as such, and any other text as it is."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"Expected JSON in {variable}, was: {error}") from error


def from_yaml(known: Collection[str]) -> dict[str, Any]:
    """Return the settings of the YAML file; its section `cascade:` counts as the top.

    Args:
        known: Names of all settings.

    Raises:
        ConfigurationError: If the file cannot be read, or sets what is not known.
    """
    path = os.environ.get(CONFIG)
    if not path:
        return {}
    content = load_mapping(Path(path))
    section = content.pop("cascade", None) or {}
    if not isinstance(section, dict):
        was = type(section).__name__  # not itself: it may be a secret that slipped
        raise ConfigurationError(f"Expected a mapping under `cascade` at {path}, was {was}")
    if "timeout_ms" in section:
        if "cascade_timeout_ms" in section:
            raise ConfigurationError(
                f"Expected cascade.timeout_ms once, was cascade_timeout_ms too, at {path}"
            )
        section["cascade_timeout_ms"] = section.pop("timeout_ms")
    if twice := sorted(content.keys() & section.keys()):
        raise ConfigurationError(f"Expected each key once, was {', '.join(twice)} twice, at {path}")
    merged = {**content, **section}
    if strange := sorted(merged.keys() - set(known)):
        raise ConfigurationError(unknown(strange, path, known))
    # A section with all of its keys commented out reads as None.
    filled = {
        name: {} if name in SECTIONS and keys is None else keys for name, keys in merged.items()
    }
    return canonical(filled, path)


def env_file() -> Mapping[str, str | None]:
    """Return what `.env` sets, for other programs too; empty where there is none."""
    return dotenv_values(ENV_FILE) if Path(ENV_FILE).is_file() else {}


def refuse_unknown(variables: Mapping[str, Any], place: str, known: Collection[str]) -> None:
    """Check that each of our variables is a setting.

    Ours are those that begin with `CASCADE_`, `COORDINATION_`, `PERFORMANCE_`, `VALIDATION_` or
    `EMERGENCY_`.

    Args:
        variables: Variables by name, those of other programs among them.
        place: Where they stand.
        known: Names of all settings.

    Raises:
        ConfigurationError: If one is none.
    """
    names = {CONFIG, *(_variable(name) for name in known)}
    # A whole section as JSON could not be told from its single variables.
    alone = names - {_variable(section) for section in SECTIONS}
    ours = [name for name in variables if name.upper().startswith(_PREFIXES)]
    if strange := sorted(name for name in ours if not _is_known(name.upper(), alone, names)):
        raise ConfigurationError(unknown(strange, place, alone | _FLAT.keys()))


def unknown(keys: Collection[str], place: str, known: Collection[str]) -> str:
    """Return the sentence that refuses keys, with the names that come nearest.

    Args:
        keys: What is no setting.
        place: Where they stand.
        known: Names that would have been right.
    """
    near = {name for key in keys for name in difflib.get_close_matches(key, known, n=1)}
    hint = f"Perhaps {' or '.join(sorted(near))}? " if near else ""
    names = ", ".join(sorted(known))
    return f"Expected settings of {names}; was {', '.join(keys)}, at {place}. {hint}Correct it."


def _is_known(name: str, alone: Collection[str], nesting: Collection[str]) -> bool:
    first, separator, _ = name.partition("__")
    return name in _FLAT or first in (nesting if separator else alone)


def _variable(name: str) -> str:
    return name.upper() if name.upper().startswith(PREFIX) else PREFIX + name.upper()
