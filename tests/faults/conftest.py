"""Fixtures of the fault tests: worker processes on the session's Kafka, to be killed."""

from tests.kafka_workers import run_settings, start_worker

__all__ = ["run_settings", "start_worker"]
