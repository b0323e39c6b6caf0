"""The build hash: which code and settings made a decision."""

import hashlib
from functools import lru_cache
from pathlib import Path

from pipeline import __version__
from pipeline.settings.model import Settings

__all__ = ["build_hash", "sources_in"]

_SOURCES = frozenset({".py", ".pyx", ".pxd"})


def build_hash(settings: Settings, stage: str) -> str:
    """Return 16 hexadecimal digits that change with whatever may change a stage's decisions.

    Hashed are the version, the sources of packets, rules, policies and stages, and the settings
    that decisions depend on. Whether the sources were compiled does not count: what is compiled
    decides the same, to the last bit.
    """
    relevant = settings.model_dump_json(
        include={
            "account": True,
            "cascade_timeout_ms": True,
            "transport_reserve_ms": True,
            "clock": True,
            "initial_equity": True,
            "stages": True,
        }
    )
    parts = (__version__, stage, relevant, _sources_hash(Path(__file__).resolve().parents[1]))
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def sources_in(folder: Path) -> list[Path]:
    """Return the sources in a folder and below it, compiled ones among them, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix in _SOURCES)


@lru_cache(maxsize=4)
def _sources_hash(package: Path) -> str:
    digest = hashlib.sha256()
    for folder in ("packets", "rules", "policies", "stages"):
        for path in sources_in(package / folder):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()}\x1f{len(content)}\x1f".encode())
            digest.update(content)
    return digest.hexdigest()
