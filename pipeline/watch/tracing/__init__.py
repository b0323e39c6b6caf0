"""Flows as traces of OpenTelemetry, by whoever watches: the path itself traces nothing."""
