"""Handing nested settings on to a worker process, through its environment."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.settings.model import Settings
from pipeline.settings.names import SECTIONS, flat_variables
from pipeline.settings.secret_files import read
from pipeline.settings.sources import PREFIX

__all__ = ["nested_variables", "without_nested", "without_secrets"]


def nested_variables(settings: Settings) -> dict[str, str]:
    """Return the variables that set limits as they are here.

    They are those of stages, components, detection, scaling and alerts.

    Emergency contacts and channels of alerts are left out, since they may hold secrets: the worker
    finds them where this process found them.
    """
    variables = {
        variable: str(value)
        for variable, (section, key) in flat_variables().items()
        if isinstance(value := getattr(getattr(settings, section), key), int | float)
    }
    for stage, limits in settings.stages.model_dump(exclude_none=True).items():
        for key, value in limits.items():
            variables[f"{PREFIX}STAGES__{stage}__{key}".upper()] = str(value)
    for name in ("detection", "scaling"):
        for key, value in getattr(settings, name).model_dump().items():
            variables[f"{PREFIX}{name}__{key}".upper()] = str(value)
    for key, value in settings.alerts.model_dump(mode="json", exclude={"channels"}).items():
        text = str(value) if isinstance(value, float) else json.dumps(value)
        variables[f"{PREFIX}ALERTS__{key}".upper()] = text
    return variables


def without_nested(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that `nested_variables` sets by another name.

    `CASCADE_COORDINATION__SYNC_TIMEOUT` is one: beside `COORDINATION_SYNC_TIMEOUT` it would be
    refused.
    """
    others = {
        f"{PREFIX}{section}__{key}".upper()
        for section, model in SECTIONS.items()
        for key in model.model_fields
        if key != "emergency_contacts"
    }
    return {name: value for name, value in inherited.items() if name.upper() not in others}


def without_secrets(inherited: Mapping[str, str], folder: Path, role: str) -> dict[str, str]:
    """Return an environment without the Kafka properties that the credentials of a role hold.

    A signing key is left out in any case: each process signs with its own, or not at all.

    Raises:
        ConfigurationError: If the role has no credentials.
    """
    held = read(folder, role).properties
    theirs = {f"{PREFIX}KAFKA__{name.replace('.', '_')}".upper() for name in held}
    theirs.add(f"{PREFIX}SIGNING_KEY")
    return {name: value for name, value in inherited.items() if name.upper() not in theirs}
