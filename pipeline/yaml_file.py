"""Reading YAML files strictly: mappings only, a repeated key is an error, positions are kept.

They are bounded in size and depth, and have no aliases, by which a small file can stand for a huge
one.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigurationError

__all__ = ["Positions", "load_mapping", "load_with_positions"]

Positions = dict[tuple[str, ...], int]


_LARGEST = 1_048_576
_DEEPEST = 32
# Beside its own errors PyYAML lets through what building a value raises: a date of no month, a list
# as a key, an empty number.
_NO_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, where YAML would keep the last one."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML ships none
            raise ConfigurationError(
                f"Expected no alias, was one, at {mark.name}:{mark.line + 1}. Write it out."
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ConfigurationError(f"Expected up to {_DEEPEST} levels, was more, at {self.name}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  # the signature of the base class
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                mark = key_node.start_mark
                raise ConfigurationError(
                    f"Expected each key once, was {key!r} again, at {mark.name}:{mark.line + 1}"
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; empty for an empty file.

    Raises:
        ConfigurationError: Unreadable, no YAML, no mapping, or a key given twice.
    """
    return load_with_positions(path)[0]


def load_with_positions(path: Path) -> tuple[dict[str, Any], Positions]:
    """Return the mapping that a YAML file holds, and the line of each of its keys, from 1.

    Raises:
        ConfigurationError: As `load_mapping`.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigurationError(f"Expected up to {_LARGEST} bytes at {path}, was more")
        loader = _Loader(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"Expected a readable file at {path}, was: {error}. Correct the path or the file."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"Expected YAML at {path}, was: {_told(error)}") from error
    loader.name = str(path)
    return _load(loader, path)


def _load(loader: _Loader, path: Path) -> tuple[dict[str, Any], Positions]:
    positions: Positions = {}
    try:
        node = loader.get_single_node()
        content = {} if node is None else loader.construct_document(node)
    except _NO_YAML as error:
        raise ConfigurationError(f"Expected YAML at {path}, was: {_told(error)}") from error
    finally:
        loader.dispose()
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(f"Expected a mapping with names as keys at {path}, was another")
    if node is not None:
        _note_positions(node, (), positions)
    return content, positions


def _told(error: Exception) -> str:
    """Return what an error says, without the lines that PyYAML quotes: they may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"{error.problem or error.context}{where}"
    return str(error) if isinstance(error, yaml.YAMLError) else type(error).__name__


def _note_positions(node: yaml.Node, above: tuple[str, ...], positions: Positions) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key_node, value_node in node.value:
        key = (*above, str(key_node.value))
        positions[key] = key_node.start_mark.line + 1
        _note_positions(value_node, key, positions)
