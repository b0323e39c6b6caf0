"""Loading the settings, and saying what was loaded from where."""

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource

from pipeline.errors import ConfigurationError
from pipeline.settings.model import Settings
from pipeline.settings.sources import (
    CONFIG,
    ENV_FILE,
    EnvFile,
    env_file,
    from_yaml,
    refuse_unknown,
)

__all__ = ["describe", "load_settings"]

_SECRET = re.compile(
    r"password|secret|token|credential|\.pem$|jaas|oauthbearer\.config|basic\.auth"
)
_HIDDEN = "********"


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force, `overrides` before all other places.

    Raises:
        ConfigurationError: An unknown key, or a value that cannot work; says which and where.
    """
    refuse_unknown(os.environ, "the environment", Settings.model_fields)
    refuse_unknown(env_file(), ENV_FILE, Settings.model_fields)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = "; ".join(_sentence(dict(fault)) for fault in error.errors())
        raise ConfigurationError(f"Settings cannot work: {faults}") from error
    except ValueError as error:  # a value of the environment that should be JSON and is not
        raise ConfigurationError(f"Settings cannot work: {error}") from error


def describe(settings: Settings, **overrides: Any) -> dict[str, tuple[Any, str]]:
    """Return each setting by its dotted name as (value, where it comes from), secrets hidden.

    Args:
        settings: What `load_settings(**overrides)` returned.
        **overrides: The same overrides.
    """
    places = (
        ("constructor", _flatten(overrides)),
        ("environment", _flatten(EnvSettingsSource(Settings)())),
        (ENV_FILE, _flatten(EnvFile(Settings)())),
        (os.environ.get(CONFIG, ""), _flatten(from_yaml(Settings.model_fields))),
    )
    values = _flatten(settings.model_dump(mode="json"))
    return {name: (_hide(name, value), _place(name, places)) for name, value in values.items()}


def _sentence(fault: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in fault["loc"]) or "settings"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"Expected no setting {name}, was one; see `cascade config show` for the names"
    if not fault["loc"]:
        return message
    return f"{name}: {message}, was {_hide(name, fault.get('input'))!r}"


def _place(name: str, places: tuple[tuple[str, dict[str, Any]], ...]) -> str:
    for place, found in places:
        if name in found:
            return place
    return "default"


def _flatten(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, BaseModel):
            flat |= _flatten(value.model_dump(), f"{name}.")
        elif isinstance(value, Mapping):
            dotted = {str(k).replace("_", "."): v for k, v in value.items()}
            flat |= _flatten(dotted if name == "kafka" else value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _hide(name: str, value: Any) -> Any:
    """Return `value`, or stars where it is a secret, or may hold one."""
    if name == "kafka" or (name.startswith("kafka.") and _SECRET.search(name)):
        return _HIDDEN
    return value
