"""Settings: one frozen object, filled from several places.

Precedence: constructor, flags (`cascade --set NAME=VALUE`), environment, `.env`, the YAML file
named by `CASCADE_CONFIG`, default. Variables are `CASCADE_*`, nested with `__`; those of the
components have the section's own prefix: `COORDINATION_*`, `PERFORMANCE_*`, `VALIDATION_*`,
`EMERGENCY_*`. A key that no setting has is refused wherever it stands, since a misspelt limit is
no limit.
"""

from pipeline.settings.alerting import AlertChannel, AlertRule, AlertSettings
from pipeline.settings.build import build_hash, code_hash, settings_hash, sources_in
from pipeline.settings.components import (
    CoordinationSettings,
    DetectionSettings,
    EmergencyContact,
    EmergencySettings,
    PerformanceSettings,
    ScalingSettings,
    ValidationSettings,
)
from pipeline.settings.flags import flags_in_force, parse_flags
from pipeline.settings.handing_on import nested_variables, without_nested, without_secrets
from pipeline.settings.loading import describe, load_settings
from pipeline.settings.model import Settings
from pipeline.settings.names import SECTIONS, SPECIFIED, SettingName
from pipeline.settings.sources import ENV_FILE
from pipeline.settings.stages import Stages, StageSettings

__all__ = [
    "ENV_FILE",
    "SECTIONS",
    "SPECIFIED",
    "AlertChannel",
    "AlertRule",
    "AlertSettings",
    "CoordinationSettings",
    "DetectionSettings",
    "EmergencyContact",
    "EmergencySettings",
    "PerformanceSettings",
    "ScalingSettings",
    "SettingName",
    "Settings",
    "StageSettings",
    "Stages",
    "ValidationSettings",
    "build_hash",
    "code_hash",
    "describe",
    "flags_in_force",
    "load_settings",
    "nested_variables",
    "parse_flags",
    "settings_hash",
    "sources_in",
    "without_nested",
    "without_secrets",
]
