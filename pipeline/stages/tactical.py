"""The tactical stage as a Faust worker: `faust -A pipeline.stages.tactical worker -l info`."""

from pipeline.stages.app import stage_app
from pipeline.stages.tactical_logic import TacticalLogic

__all__ = ["app"]

app = stage_app("tactical", TacticalLogic())
