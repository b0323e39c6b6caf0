"""Hashes of code and settings: which of them made a decision, and whether workers have the same."""

import hashlib
from functools import lru_cache
from pathlib import Path

from pipeline import __version__
from pipeline.settings.model import Settings

__all__ = ["build_hash", "code_hash", "settings_hash", "sources_in"]

_SOURCES = frozenset({".py", ".pyx", ".pxd"})
_DECIDING = frozenset(
    {"account", "cascade_timeout_ms", "transport_reserve_ms", "clock", "initial_equity", "stages"}
)
# Workers of one stage that differ in these may be in any doubt alike, but not decide alike. All
# others belong to a machine, a process or a tool.
_SHARED = _DECIDING | {
    "backoff_base_ms",
    "breaker_failures",
    "breaker_open_s",
    "control_authors",
    "control_echo_timeout_s",
    "gather_ms",
    "namespace",
    "overload",
    "paper",
    "record_max_bytes",
    "round_max_records",
    "unacked_limit_s",
    "upgrade_window_s",
}
_OF_DECISIONS = ("packets", "rules", "policies", "stages")
_DIGITS = 16


def build_hash(settings: Settings, stage: str) -> str:
    """Return 16 hexadecimal digits that change with whatever may change a stage's decisions.

    Hashed are the version, the sources of packets, rules, policies and stages, and the settings
    that decisions depend on. Whether the sources were compiled does not count: what is compiled
    decides the same, to the last bit.
    """
    relevant = settings.model_dump_json(include=set(_DECIDING))
    return _digest(__version__, stage, relevant, _sources_hash(_package(), _OF_DECISIONS))


def settings_hash(settings: Settings) -> str:
    """Return 16 hexadecimal digits of the settings that all workers of a stage must share.

    Where a worker runs, what it is called, how it reaches Kafka and what it logs do not count.
    """
    return _digest(settings.model_dump_json(include=set(_SHARED)))


def code_hash() -> str:
    """Return 16 hexadecimal digits of the version and all sources of the package."""
    return _digest(__version__, _sources_hash(_package(), (".",)))


def sources_in(folder: Path) -> list[Path]:
    """Return the sources in a folder and below it, compiled ones among them, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix in _SOURCES)


def _package() -> Path:
    return Path(__file__).resolve().parents[1]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:_DIGITS]


@lru_cache(maxsize=4)
def _sources_hash(package: Path, folders: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sources_in(package / folder):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()}\x1f{len(content)}\x1f".encode())
            digest.update(content)
    return digest.hexdigest()
