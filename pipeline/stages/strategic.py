"""The strategic stage as a Faust worker: `faust -A pipeline.stages.strategic worker -l info`."""

from pipeline.stages.app import stage_app
from pipeline.stages.strategic_logic import StrategicLogic

__all__ = ["app"]

app = stage_app("strategic", StrategicLogic())
