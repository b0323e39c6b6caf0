"""JSON that came from outside: read, or refused by one kind of error, however deep it nests."""

from typing import TypeVar

import msgspec

__all__ = ["decoded"]

Content = TypeVar("Content")


def decoded(text: str | bytes, kind: type[Content]) -> Content:
    """Return what a JSON document holds.

    Args:
        text: The document.
        kind: What it is to be.

    Raises:
        msgspec.DecodeError: If it is none, or nests deeper than can be read.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError as error:
        raise msgspec.DecodeError("Expected fewer levels, was nested too deep") from error
