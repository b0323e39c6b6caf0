"""Identifiers as pure functions of what they name, so that a repeated input names the same flow."""

from hashlib import blake2b

__all__ = ["client_order_id", "flow_id", "packet_id", "unreadable_flow_id"]


def flow_id(source: str, symbol: str, sequence: int) -> str:
    """Return the flow id of a source's packet: 32 hexadecimal digits."""
    return _digest(f"{source}\x1f{symbol}\x1f{sequence}")


def unreadable_flow_id(topic: str, partition: int, offset: int) -> str:
    """Return the flow id of a record whose content cannot be read, from its coordinates."""
    return _digest(f"{topic}\x1f{partition}\x1f{offset}\x1funreadable")


def packet_id(flow: str, stage: str) -> str:
    """Return the id of the packet that a stage writes for a flow."""
    return f"{flow}-{stage}"


def client_order_id(flow: str, index: int) -> str:
    """Return the id under which child order number `index` of a flow goes to the venue."""
    return f"{flow}-{index:03d}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
