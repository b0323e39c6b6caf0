"""What the components return, as JSON and as lines of text."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import click
import msgspec

__all__ = ["lines", "plain", "show"]


def plain(value: Any) -> Any:
    """Return a value as JSON has it: mappings with text keys, lists, texts, numbers, null.

    NaN and infinity are null, since JSON has neither.
    """
    return _finite(msgspec.to_builtins(value, str_keys=True))


def show(value: Any, *, as_json: bool) -> None:
    """Print a value, as JSON or for people."""
    content = plain(value)
    text = json.dumps(content, indent=2) if as_json else "\n".join(lines(content))
    click.echo(text)


def lines(content: Any, indent: int = 0) -> Iterator[str]:
    """Yield lines of text for plain data: a line per value, what is nested under its name."""
    space = "  " * indent
    if not isinstance(content, Mapping):
        yield f"{space}{_text(content)}"
        return
    width = max((len(str(key)) for key in content), default=0)
    for key, value in content.items():
        items = list(value) if isinstance(value, list) else []
        if isinstance(value, Mapping) and value:
            yield f"{space}{key}"
            yield from lines(value, indent + 1)
        elif any(isinstance(item, Mapping | list) for item in items):
            yield f"{space}{key}"
            for item in items:
                first, *rest = lines(item, indent + 2)
                yield f"{'  ' * (indent + 1)}- {first.lstrip()}"
                yield from rest
        else:
            yield f"{space}{key:<{width}}  {_text(value)}"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _text(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
