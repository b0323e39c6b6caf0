"""The demo of the five components: `python -m pipeline.cascade.demo`.

Six parts, on real workers and a real Kafka: normal flow, coordination, performance monitoring,
validation, emergency protocols, and all of them together. Each says what it expected and what it
saw. `--break PART` spoils one part for real, which must then fail. `--split` is about two processes
with one system each, one of which is killed.
"""
