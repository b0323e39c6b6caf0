"""Loading the settings, and saying what was loaded from where."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.errors import ConfigurationError
from pipeline.settings import secret_files
from pipeline.settings.flags import FLAGS, from_flags
from pipeline.settings.model import Settings
from pipeline.settings.names import canonical
from pipeline.settings.secret_files import is_secret
from pipeline.settings.sources import (
    CONFIG,
    ENV_FILE,
    ENVIRONMENT,
    EnvFile,
    Variables,
    env_file,
    from_yaml,
    refuse_unknown,
    unknown,
)

__all__ = ["describe", "load_settings"]

_CONSTRUCTOR = "constructor"
_DEFAULT = "default"
_Places = Sequence[tuple[str, dict[str, Any]]]

_MOST_SHOWN = 64
_HIDDEN = "********"


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force, `overrides` before all other places.

    Raises:
        ConfigurationError: An unknown key, or a value that cannot work; says which and where.
    """
    refuse_unknown(os.environ, "the environment", Settings.model_fields)
    refuse_unknown(env_file(), ENV_FILE, Settings.model_fields)
    given = canonical(overrides, _CONSTRUCTOR)
    try:
        return Settings(**given)
    except ValidationError as error:
        places = _places(given)
        faults = "; ".join(_sentence(dict(fault), places) for fault in error.errors())
        raise ConfigurationError(f"Settings cannot work: {faults}") from error
    except (ValueError, RecursionError) as error:  # what should be JSON in a variable is not
        raise ConfigurationError(f"Settings cannot work: {error}") from error


def describe(settings: Settings, **overrides: Any) -> dict[str, tuple[Any, str]]:
    """Return each setting by its dotted name as (value, where it comes from), secrets hidden.

    Args:
        settings: What `load_settings(**overrides)` returned.
        **overrides: The same overrides.
    """
    places = _places(canonical(overrides, _CONSTRUCTOR))
    if settings.credentials is not None:
        found = secret_files.read(settings.credentials, settings.role)
        held = {f"kafka.{name}": _HIDDEN for name in found.properties}
        if found.signing_key is not None:
            held["signing_key"] = str(found.signing_key)
        places = (*places, (str(settings.credentials), held))
    values = _flatten(settings.model_dump(mode="json"))
    return {name: (_hide(name, value), _place(name, places)) for name, value in values.items()}


def _places(given: Mapping[str, Any]) -> _Places:
    """Return what each place sets by dotted names, strongest first."""
    return (
        (_CONSTRUCTOR, _flatten(given)),
        (FLAGS, _flatten(from_flags())),
        (ENVIRONMENT, _flatten(Variables(Settings)())),
        (ENV_FILE, _flatten(EnvFile(Settings)())),
        (os.environ.get(CONFIG, ""), _flatten(from_yaml(Settings.model_fields))),
    )


def _sentence(fault: dict[str, Any], places: _Places) -> str:
    name = ".".join(str(part) for part in fault["loc"]) or "settings"
    message = str(fault["msg"]).removeprefix("Value error, ")
    place = _place(name, places)
    where = "" if place == _DEFAULT else f", at {place}"
    if fault["type"] == "extra_forbidden":
        return unknown([name], place, _siblings(fault["loc"]))
    if not fault["loc"]:
        return message
    if message.startswith("Input should be"):
        message = message.replace("Input should be", f"Expected {name} to be", 1)
    else:
        message = f"{name}: {message}"
    return f"{message}, was {_shown(name, fault.get('input'))}{where}"


def _shown(name: str, value: Any) -> str:
    """Spell a wrong value; of one that may be or hold anything only what it is."""
    if isinstance(value, Mapping | list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str) and len(value) > _MOST_SHOWN:
        return f"a text of {len(value)} characters"
    return repr(_hide(name, value))


def _siblings(location: Sequence[int | str]) -> list[str]:
    """Return the dotted names that stand where an unknown one was found."""
    model: Any = Settings
    above = [str(part) for part in location[:-1]]
    for part in location[:-1]:
        if get_origin(model) is dict:
            model = get_args(model)[1]
        else:
            fields = None if isinstance(part, int) else model.model_fields
            model = get_args(model)[0] if fields is None else fields[str(part)].annotation
    return [".".join((*above, name)) for name in model.model_fields]


def _place(name: str, places: _Places) -> str:
    """Return the strongest place that sets `name`, or the list that it is part of."""
    for place, found in places:
        if name in found or any(name.startswith(f"{list_name}.") for list_name in found):
            return place
    return _DEFAULT


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
    if name == "kafka" or (name.startswith("kafka.") and is_secret(name)):
        return _HIDDEN
    if name == "registry_url" and "@" in str(value):
        return _HIDDEN
    if name.startswith(("emergency.emergency_contacts", "alerts.channels")):
        return _contact_hidden(value)
    return value


def _contact_hidden(value: Any) -> Any:
    """Return contacts without their URLs, which carry tokens and passwords."""
    if isinstance(value, str):
        return _HIDDEN if "://" in value else value
    if isinstance(value, Mapping):
        return {key: _contact_hidden(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_contact_hidden(item) for item in value]
    return value
