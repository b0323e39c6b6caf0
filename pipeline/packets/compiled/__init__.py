"""Codecs compiled from schema and model: the hot path of every stage.

Four stages read and write each packet. Going through builtins, `msgspec.convert` for the
constraints, and fastavro costs three passes over some two hundred values, most of a stage's time.
Here each model gets its own Python functions made for it, once per process, as dataclasses do:
`write` gives the bytes that fastavro would give, `read` builds the Struct straight from them, and
both check every constraint on the way. `source_of` shows them.

A compiled function only ever says yes. On anything else, bytes cut short, a number out of range,
an int where a float belongs, an array in several blocks, it raises one of `REFUSALS`, and the
caller goes the careful way, which takes the value after all or says what is wrong with it. So the
two agree on every value if they agree on those that the compiled one takes, and that is what
`tests/unit/packets/test_compiled.py` checks, with random packets and random damage.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from pipeline.packets.compiled.generator import Generator
from pipeline.packets.compiled.primitives import REFUSALS

__all__ = ["REFUSALS", "Compiled", "compiled", "source_of"]


class Compiled(NamedTuple):
    """What is compiled for a model.

    Attributes:
        write: Takes (packet, parts) and returns its Avro bytes; a field in `parts` that is not
            None is not written anew but copied from there.
        read: Takes (bytes, position) and returns (packet, position after it). A position past the
            end means that bytes were missing.
        read_parts: The same, and the bytes of each part, as an optional record; or None where the
            model has no parts.
        source: The source of the three.
    """

    write: Callable[[Any, Mapping[str, bytes]], bytes]
    read: Callable[[bytes, int], tuple[msgspec.Struct, int]]
    read_parts: Callable[[bytes, int], tuple[msgspec.Struct, int, dict[str, bytes]]] | None
    source: str


@cache
def compiled(model: type[msgspec.Struct]) -> Compiled:
    """Return the functions of a model; those of nested models are shared.

    Raises:
        NotImplementedError: If the model has a field of a type or constraint that none has yet.
    """
    made = Generator(model, lambda nested: compiled(nested)[:2])
    names = made.names
    code = compile(made.source, f"<codec of {model.__name__}>", "exec")
    exec(code, names)  # noqa: S102  # generated from our own schemas and models, nothing else
    return Compiled(names["write"], names["read"], names.get("read_parts"), made.source)


def source_of(model: type[msgspec.Struct]) -> str:
    """Return the generated source of a model's functions."""
    return compiled(model).source
