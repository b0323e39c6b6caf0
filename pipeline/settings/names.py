"""The names of one setting: in Python, in the YAML file, in the environment, as an argument.

The specification names some settings differently from place to place, `timeout_ms` of the YAML
section `cascade` being `cascade_timeout_ms` of the constructor. This table is the whole mapping;
what is not in it has one name everywhere. `canonical` turns any of them into the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.errors import ConfigurationError
from pipeline.settings.components import (
    CoordinationSettings,
    EmergencySettings,
    PerformanceSettings,
    ValidationSettings,
)

__all__ = ["SECTIONS", "SPECIFIED", "SettingName", "canonical", "flat_variables"]

SECTIONS: Mapping[str, type[BaseModel]] = {
    "coordination": CoordinationSettings,
    "performance": PerformanceSettings,
    "validation": ValidationSettings,
    "emergency": EmergencySettings,
}
"""Sections whose variables have the section's own prefix, as `COORDINATION_SYNC_TIMEOUT`."""


@dataclass(frozen=True, slots=True)
class SettingName:
    """The names of one setting of the specification.

    Attributes:
        setting: Dotted name in `Settings`.
        yaml: Section and key of the YAML file.
        variable: Variable of the environment and of `.env`.
        component: Class of `pipeline.cascade` that takes it.
        argument: Name of the constructor's argument.
    """

    setting: str
    yaml: tuple[str, str]
    variable: str
    component: str
    argument: str


_MANAGER = "SuperpositionCascadeManager"
_COMPONENTS = {
    "coordination": "MARLCoordinationEngine",
    "performance": "CascadePerformanceMonitor",
    "validation": "CascadeValidationFramework",
    "emergency": "EmergencyCascadeProtocols",
}
# Where the constructor's argument, or the variable, is not called as the key is.
_ARGUMENTS = {
    "performance.target_latency_ms": "target_end_to_end_latency_ms",
    "validation.interval": "validation_interval",
    "validation.deep_interval": "deep_validation_interval",
}
_VARIABLES = {"emergency.emergency_contacts": "EMERGENCY_CONTACTS"}


def _of_section(section: str, key: str) -> SettingName:
    setting = f"{section}.{key}"
    variable = _VARIABLES.get(setting, f"{section}_{key}".upper())
    argument = _ARGUMENTS.get(setting, key)
    return SettingName(setting, (section, key), variable, _COMPONENTS[section], argument)


def _of_manager(setting: str, key: str) -> SettingName:
    return SettingName(setting, ("cascade", key), f"CASCADE_{key}".upper(), _MANAGER, setting)


SPECIFIED: tuple[SettingName, ...] = (
    _of_manager("max_concurrent_flows", "max_concurrent_flows"),
    _of_manager("cascade_timeout_ms", "timeout_ms"),
    _of_manager("emergency_threshold", "emergency_threshold"),
    *(
        _of_section(section, key)
        for section, model in SECTIONS.items()
        for key in model.model_fields
    ),
)
"""Every setting of the specification."""


def flat_variables() -> dict[str, tuple[str, str]]:
    """Return the variables without the prefix `CASCADE_`, each with its section and key."""
    return {name.variable: name.yaml for name in SPECIFIED if name.yaml[0] in SECTIONS}


def canonical(tree: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the settings of one place by their first names.

    Args:
        tree: Settings, nested by section.
        place: Where they stand, for errors.

    Raises:
        ConfigurationError: One setting under two of its names.
    """
    renamed = dict(tree)
    for setting, argument in _ARGUMENTS.items():
        section, key = setting.split(".")
        keys = renamed.get(section)
        if not isinstance(keys, Mapping) or argument not in keys:
            continue
        if key in keys:
            raise ConfigurationError(
                f"Expected {section}.{key} once, was {argument} too, at {place}. Remove one."
            )
        renamed[section] = {(key if name == argument else name): keys[name] for name in keys}
    return renamed
