"""The execution stage as a Faust worker: `faust -A pipeline.stages.execution worker -l info`."""

from pipeline.stages.app import stage_app
from pipeline.stages.execution_logic import ExecutionLogic

__all__ = ["app"]

app = stage_app("execution", ExecutionLogic())
