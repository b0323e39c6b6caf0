"""Inputs for fuzzing: valid values of every kind, and random damage to them; by a seed."""

import io
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
from fastavro import schemaless_writer
from msgspec import inspect

from pipeline.packets import codec, schemas
from pipeline.packets.events import ControlCommand, ControlKind
from tests.fuzz.oracle import named_types, type_of
from tests.unit.packets.generation import MODELS

__all__ = ["Inputs"]

_CORPUS = 400
_MAGIC = b"\xc3\x01"
_TEXTS = ("", "x", "*", "operator", "stage:risk", "symbol:A", "throttle:A", "é" * 3, "\u2028", "\0")
_SCOPES = (
    "*", "*", "*", "stage:tactical", "symbol:ACME", "policy:risk", "source:market", "throttle:ACME",
    "reconciliation:main", "stage:", "stage:nothing", "nothing", "policy:policy:risk", "throttle:",
)  # fmt: skip
_AUTHORS = ("operator", "operator", "mary", "gateway", "")
# Numbers and lengths that are not what they seem.
_ODD = (
    b"\x00", b"\x01", b"\x02", b"\x03", b"\x7f", b"\x80\x00", b"\x80\x80\x00", b"\x83\x00",
    b"\x80" * 7 + b"\x01", b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x7f",
    b"\xfe" * 8 + b"\x01", b"\xff" * 20, b"\x01\x02", b"\x00\x00\x00\x00\x00\x00\xf8\x7f",
    b"\x00\x00\x00\x00\x00\x00\xf0\x7f", b"\xc3\x28", b"\xed\xa0\x80", b"\xfe\xff\xff\xff\x0f",
)  # fmt: skip


class Inputs:
    """Makes inputs; the same ones for the same seed.

    Args:
        seed: The seed.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._corpus: list[bytes] = []

    # -- packets -------------------------------------------------------------------------------

    def packet(self) -> bytes:
        """Return bytes that are a packet, or were one before they were damaged."""
        draw = self.random.random()
        if draw < 0.02:
            return self.random.randbytes(self.random.randrange(200))
        if draw < 0.2:
            return self._fresh()
        return self.damaged(self._known(), self._known)

    def _known(self) -> bytes:
        """Return a valid packet, mostly one of the last hundreds: to make one takes a while."""
        if len(self._corpus) < _CORPUS or self.random.random() < 0.05:
            self._corpus = [*self._corpus[-_CORPUS + 1 :], self._fresh()]
        return self.random.choice(self._corpus)

    def _fresh(self) -> bytes:
        old = self.random.random() < 0.15
        return self._old() if old else codec.encode(self.valid(self._model()))

    def valid(self, model: type[msgspec.Struct]) -> Any:
        """Return a random packet of a model, valid by its constraints."""
        fields = type_of(model)
        assert isinstance(fields, inspect.StructType)
        return model(**{each.name: self._value(each.type) for each in fields.fields})

    def damaged(self, value: bytes, another: Callable[[], bytes]) -> bytes:
        """Return a value with one to four mistakes in it.

        Args:
            value: The value.
            another: Returns another one, for splices.
        """
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            value = self._mistake(value, another)
        return value

    def _mistake(self, value: bytes, another: Callable[[], bytes]) -> bytes:  # noqa: PLR0911  # one kind each
        pick = self.random
        at = pick.randrange(len(value) + 1)
        match pick.randrange(9):
            case 0 if value:
                at = pick.randrange(len(value))
                return value[:at] + bytes([value[at] ^ (1 << pick.randrange(8))]) + value[at + 1 :]
            case 1:
                return value[:at] + pick.choice(_ODD) + value[at + 1 :]
            case 2:
                return value[:at] + pick.choice(_ODD) + value[at:]
            case 3:
                return value[:at]
            case 4:
                return value[:at] + value[at + pick.randrange(1, 9) :]
            case 5:
                return value + pick.randbytes(pick.randrange(1, 9))
            case 6:
                other = another()
                return value[:at] + other[pick.randrange(len(other) + 1) :]
            case 7:
                return _MAGIC + pick.choice(_fingerprints()) + value[10:]
        return value[:at] + pick.randbytes(pick.randrange(1, 9)) + value[at:]

    def _model(self) -> type[msgspec.Struct]:
        return self.random.choice(MODELS)

    def _old(self) -> bytes:
        """Return a packet that an old schema wrote."""
        fingerprint, (_, schema) = self.random.choice(_history())
        out = io.BytesIO()
        schemaless_writer(out, schema, self._datum(schema, _named(fingerprint)))
        return _MAGIC + fingerprint + out.getvalue()

    def _datum(self, schema: Any, named: dict[str, Any]) -> Any:  # noqa: C901, PLR0911  # one kind each
        if isinstance(schema, list):
            return self._datum(self.random.choice(schema), named)
        if isinstance(schema, str) and schema in named:
            schema = named[schema]
        kind = schema if isinstance(schema, str) else schema["type"]
        match kind:
            case "record":
                return {each["name"]: self._datum(each["type"], named) for each in schema["fields"]}
            case "enum":
                return self.random.choice(schema["symbols"])
            case "array":
                return [
                    self._datum(schema["items"], named) for _ in range(self.random.randrange(3))
                ]
            case "map":
                return {self._text(1): self._datum(schema["values"], named) for _ in range(2)}
            case "null":
                return None
            case "boolean":
                return self.random.random() < 0.5
            case "int" | "long":
                return self.random.choice((0, 1, -1, 1000, 2**31 - 1))
            case "double":
                return self.random.choice((0.0, 0.5, 1.0, -1.0, 1e300))
            case "bytes":
                return b"x"
            case "string":
                return self._text(0)
        return self._datum(schema["type"], named)

    def _value(self, kind: Any) -> Any:  # noqa: C901, PLR0911  # one kind each
        pick = self.random
        match kind:
            case inspect.NoneType():
                return None
            case inspect.UnionType(types=types):
                return self._value(pick.choice(types))
            case inspect.StructType(cls=cls):
                return self.valid(cls)
            case inspect.EnumType(cls=cls):
                return pick.choice(list(cls))
            case inspect.VarTupleType(item_type=item):
                return tuple(self._value(item) for _ in range(pick.randrange(3)))
            case inspect.DictType(key_type=key, value_type=value):
                return {self._value(key): self._value(value) for _ in range(pick.randrange(4))}
            case inspect.FloatType(ge=least, gt=above, le=most):
                lowest = above if least is None else least
                return pick.choice((most, 0.5 if lowest is None or lowest <= 0.5 else most))
            case inspect.IntType(ge=lowest, le=most):
                return pick.choice((lowest, most, max(lowest or 0, min(most or 0, 7))))
            case inspect.StrType(min_length=shortest):
                return self._text(shortest or 0)
            case inspect.BytesType():
                return pick.randbytes(pick.randrange(20))
            case inspect.BoolType():
                return pick.random() < 0.5
        raise NotImplementedError(kind)

    def _text(self, shortest: int) -> str:
        text = self.random.choice(_TEXTS)
        return text if len(text) >= shortest else "x" * shortest

    # -- commands ------------------------------------------------------------------------------

    def command(self, epoch: int) -> ControlCommand:
        """Return a command as an operator, a mistake or an attacker could give it."""
        pick = self.random
        lifts = pick.choice((-1, epoch - 1, epoch - 2, pick.randrange(epoch + 2)))
        return ControlCommand(
            f"id-{pick.randrange(2000)}", pick.choice(list(ControlKind)), pick.choice(_SCOPES),
            pick.choice(_AUTHORS), self._text(0), 1, pick.choice((0, 0, 1, 2**62)), lifts,
        )  # fmt: skip

    def pick(self, choices: Sequence[Any]) -> Any:
        """Return one of them."""
        return self.random.choice(choices)


@cache
def _history() -> list[tuple[bytes, tuple[str, Any]]]:
    names = {each.__name__ for each in MODELS}
    return [each for each in schemas.history().items() if each[1][0] in names]


@cache
def _named(fingerprint: bytes) -> dict[str, Any]:
    return named_types(schemas.history()[fingerprint][1])


@cache
def _fingerprints() -> list[bytes]:
    current = [schemas.fingerprint_of(schemas.current(each.__name__)) for each in MODELS]
    return [*current, *(fingerprint for fingerprint, _ in _history())]
