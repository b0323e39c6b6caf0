"""Between packets and the arrays of the policies."""

import dataclasses
import hashlib
import inspect
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import __version__
from pipeline.errors import FatalError
from pipeline.packets.models import PolicyStamp, Superposition
from pipeline.policies.actions import ACTIONS, FloatArray
from pipeline.settings import sources_in
from pipeline.stages.contract import Context

__all__ = [
    "agent_views",
    "bars_of",
    "distributions",
    "pack",
    "policy_hash",
    "policy_stamp",
    "unpack",
]

_FIRST, _SECOND, _THIRD = ACTIONS


def bars_of(packets: Sequence[Any]) -> FloatArray:
    """Return the bars of packets as [n, 5]: open, high, low, close, volume."""
    bars = [packet.bar for packet in packets]
    return np.array([(b.open, b.high, b.low, b.close, b.volume) for b in bars])


def distributions(rows: FloatArray) -> list[Mapping[str, float]]:
    """Return each row of [n, 3] as a distribution over the named actions."""
    return [
        {_FIRST: first, _SECOND: second, _THIRD: third} for first, second, third in rows.tolist()
    ]


def agent_views(
    names: Sequence[str], agents: FloatArray, confidence: FloatArray, coherence: FloatArray
) -> list[tuple[Superposition, ...]]:
    """Return, for each row, the agents' views.

    Args:
        names: k agents.
        agents: [k, n, 3].
        confidence: [k, n].
        coherence: [k, n].
    """
    columns = [
        [
            Superposition(name, distribution, sure, coherent)
            for distribution, sure, coherent in zip(
                distributions(agents[k]), confidence[k].tolist(), coherence[k].tolist(), strict=True
            )
        ]
        for k, name in enumerate(names)
    ]
    return list(zip(*columns, strict=True))


def policy_hash(package: Any, settings: Any) -> str:
    """Return the hash of a policy: the sources of its package and its settings, hexadecimal."""
    folder = Path(inspect.getfile(package)).parent
    return _hash(folder, repr(dataclasses.asdict(settings)))


@lru_cache(maxsize=32)
def _hash(folder: Path, settings: str) -> str:
    digest = hashlib.sha256(settings.encode())
    for path in sources_in(folder):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def policy_stamp(stage: str, sha256: str, context: Context, index: int = 0) -> PolicyStamp:
    """Return the stamp of a stage's built-in policy on input `index` of a round.

    A decision saw the records of all inputs before it, those of its own round included.
    """
    return PolicyStamp(f"builtin.{stage}", __version__, sha256, context.state_sequence + index)


def pack(*parts: bytes) -> bytes:
    """Return byte strings as one, each behind its length (uint32, little-endian)."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def unpack(data: bytes, count: int) -> list[bytes]:
    """Return the `count` byte strings that `pack` joined.

    Raises:
        FatalError: If `data` is nothing that `pack` returned.
    """
    parts, at = [], 0
    for _ in range(count):
        (size,) = struct.unpack_from("<I", data, at)
        parts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(data) or len(parts[-1]) != size:
        raise FatalError(f"Expected a state of {at} bytes, was {len(data)}")
    return parts
