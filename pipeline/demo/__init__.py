"""The demo: the whole pipeline on one machine, watched from outside, and a report on it.

Nothing here is part of the pipeline. The demo starts what a user would start, sends market data,
and reads Kafka and the venue like any other consumer; its figures are counted from records, never
from what a worker says of itself.
"""
