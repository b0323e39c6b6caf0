"""`/metrics` of each worker process, for Prometheus.

Nothing is counted for it on the packets' path: collectors read what is known anyway, when they are
asked. One server a process; with several stages in it each adds its collector.
"""

from pipeline.metrics.looplag import LoopLag, loop_lag
from pipeline.metrics.server import ROLES, Exporter, exporter
from pipeline.metrics.vitals import process_vitals

__all__ = ["ROLES", "Exporter", "LoopLag", "exporter", "loop_lag", "process_vitals"]
