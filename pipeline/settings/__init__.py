"""Settings: one frozen object, filled from several places.

Precedence: constructor, environment (`CASCADE_*`, nested with `__`), `.env`, the YAML file named
by `CASCADE_CONFIG`, default. A key that no setting has is refused wherever it stands, since a
misspelt limit is no limit.
"""

from pipeline.settings.build import build_hash
from pipeline.settings.loading import describe, load_settings
from pipeline.settings.model import Settings
from pipeline.settings.sources import ENV_FILE
from pipeline.settings.stages import Stages, StageSettings

__all__ = [
    "ENV_FILE",
    "Settings",
    "StageSettings",
    "Stages",
    "build_hash",
    "describe",
    "load_settings",
]
