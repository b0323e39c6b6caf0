"""Watching the cascade from outside its path: latencies from traces, thresholds, trends, alerts.

Nothing here is asked by a stage before it decides, and nothing here writes to a stage's log.
"""
