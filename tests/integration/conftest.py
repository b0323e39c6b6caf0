"""Fixtures of the integration tests: worker processes on the session's Kafka."""

from tests.kafka_workers import run_settings, start_worker

__all__ = ["run_settings", "start_worker"]
