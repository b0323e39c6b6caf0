"""Handing nested settings on to a worker process, through its environment."""

from collections.abc import Mapping

from pipeline.settings.model import Settings
from pipeline.settings.names import SECTIONS, flat_variables
from pipeline.settings.sources import PREFIX

__all__ = ["nested_variables", "without_nested"]


def nested_variables(settings: Settings) -> dict[str, str]:
    """Return the variables that set limits of stages, components and detection as they are here.

    Emergency contacts are left out, since they may hold secrets: the worker finds them where this
    process found them.
    """
    variables = {
        variable: str(value)
        for variable, (section, key) in flat_variables().items()
        if isinstance(value := getattr(getattr(settings, section), key), int | float)
    }
    for stage, limits in settings.stages.model_dump(exclude_none=True).items():
        for key, value in limits.items():
            variables[f"{PREFIX}STAGES__{stage}__{key}".upper()] = str(value)
    for key, value in settings.detection.model_dump().items():
        variables[f"{PREFIX}DETECTION__{key}".upper()] = str(value)
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
