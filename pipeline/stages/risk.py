"""The risk stage as a Faust worker: `faust -A pipeline.stages.risk worker -l info`."""

from pipeline.settings import load_settings
from pipeline.stages.app import stage_app
from pipeline.stages.risk_logic import RiskLogic

__all__ = ["app"]

_settings = load_settings()

app = stage_app("risk", RiskLogic.of(_settings), _settings)
