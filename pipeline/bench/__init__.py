"""Measuring: the pipeline and its engine beside what else runs on Kafka, under the same load."""
