"""A Confluent-compatible schema registry, for what goes into and out of the pipeline.

Within the cascade a packet names its schema by fingerprint and every reader has all schemas, so no
worker ever waits for a registry. At the edges others may use one: market data may arrive in its
framing, `cascade publish` writes it where one is configured, and `RegistryCodec.encode` gives any
packet, an order plan or an outcome, as foreign consumers read it.
"""

from pipeline.registry.client import Registry
from pipeline.registry.codec import RegistryCodec, use
from pipeline.registry.framing import framed, split

__all__ = ["Registry", "RegistryCodec", "framed", "split", "use"]
