"""Packets: what flows through the cascade, its models, schemas, codec and identifiers."""
