"""Where settings come from, and what each of these places may not hold."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from pipeline.errors import ConfigurationError
from pipeline.yaml_file import load_mapping

__all__ = ["CONFIG", "ENV_FILE", "PREFIX", "EnvFile", "env_file", "from_yaml", "refuse_unknown"]

PREFIX = "CASCADE_"
CONFIG = "CASCADE_CONFIG"
ENV_FILE = ".env"


class EnvFile(DotEnvSettingsSource):
    """`.env` without the keys of other programs; ours are checked in `load_settings`."""

    def __call__(self) -> dict[str, Any]:
        """Return what `.env` sets of ours."""
        return EnvSettingsSource.__call__(self)


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
        raise ConfigurationError(f"Expected a mapping under `cascade` at {path}, was {section!r}")
    if "timeout_ms" in section:
        section["cascade_timeout_ms"] = section.pop("timeout_ms")
    if twice := sorted(content.keys() & section.keys()):
        raise ConfigurationError(f"Expected each key once, was {', '.join(twice)} twice, at {path}")
    merged = {**content, **section}
    if unknown := sorted(merged.keys() - set(known)):
        raise ConfigurationError(_unknown(unknown, path, known))
    return merged


def env_file() -> Mapping[str, str | None]:
    """Return what `.env` sets, for other programs too; empty where there is none."""
    return dotenv_values(ENV_FILE) if Path(ENV_FILE).is_file() else {}


def refuse_unknown(variables: Mapping[str, Any], place: str, known: Collection[str]) -> None:
    """Check that each of our variables is a setting.

    Args:
        variables: Variables by name, those of other programs among them.
        place: Where they stand.
        known: Names of all settings.

    Raises:
        ConfigurationError: If one is none.
    """
    names = {CONFIG, *(_variable(name) for name in known)}
    ours = [name for name in variables if name.upper().startswith(PREFIX)]
    if unknown := sorted(name for name in ours if name.upper().split("__")[0] not in names):
        raise ConfigurationError(_unknown(unknown, place, known))


def _variable(name: str) -> str:
    return name.upper() if name.upper().startswith(PREFIX) else PREFIX + name.upper()


def _unknown(keys: list[str], place: str, known: Collection[str]) -> str:
    names = ", ".join(known)
    return f"Expected settings of {names}; was {', '.join(keys)}, at {place}. Correct or remove it."
