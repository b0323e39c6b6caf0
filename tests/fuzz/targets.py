"""What is fuzzed, and what must hold for each input.

A target takes inputs one after the other; it raises `Broken` where something was accepted that is
not valid, refused that is, or answered by an exception that nobody expects.
"""

import base64
import contextlib
import json
import os
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline.control.acknowledgement import Acknowledgement
from pipeline.control.log import _entry
from pipeline.control.signatures import CommandCheck
from pipeline.control.state import RESTRICTS, TradingStateMachine
from pipeline.errors import ConfigurationError, InvalidPacket, PoisonError
from pipeline.keys import SIGNATURE, KeyMaker, Purpose, RingFile, Signer, Verifier
from pipeline.keys.ring import WatchedFile, private_key
from pipeline.packets import codec
from pipeline.packets.events import CoordinationMessage, MessageType
from pipeline.settings import load_settings
from tests.fuzz import oracle
from tests.fuzz.inputs import Inputs

__all__ = ["TARGETS", "Broken", "Target"]

_TOPIC = "fuzz.cascade.control"
_HOUR_US = 3_600_000_000


class Broken(Exception):
    """An input shows a fault."""


class Target:
    """One thing that is fuzzed.

    Args:
        inputs: Where inputs come from.

    Attributes:
        seen: How many inputs came to which end.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.seen: Counter[str] = Counter()

    def one(self) -> None:
        """Try one input.

        Raises:
            Broken: If it shows a fault.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Remove what was made."""


class Packets(Target):
    """Bytes to packets: the compiled way, the careful way, and the oracle must agree."""

    def one(self) -> None:
        """Decode one input by all three."""
        value = self.inputs.packet()
        expected: Any = None
        try:
            name, datum, current = oracle.read(value)
        except oracle.Invalid as error:
            expected, name, datum, current = error, "", None, False
        quick, careful = _decoded(codec.decode, value), _decoded(codec._decode_carefully, value)
        if type(quick) is not type(careful) or (
            isinstance(quick, msgspec.Struct) and quick != careful
        ):
            raise Broken(f"compiled {quick!r}, careful {careful!r}: {value.hex()}")
        accepted = isinstance(quick, msgspec.Struct)
        if accepted == isinstance(expected, oracle.Invalid):
            raise Broken(f"oracle: {expected or 'valid'}, codec: {quick!r}: {value.hex()}")
        if accepted:
            self._compare(quick, name, datum if current else None, value)
        self.seen["accepted" if accepted else "refused"] += 1

    def _compare(self, packet: msgspec.Struct, name: str, datum: Any, value: bytes) -> None:
        if type(packet).__name__ != name:
            raise Broken(f"a {type(packet).__name__} for a {name}: {value.hex()}")
        plain = msgspec.to_builtins(packet, builtin_types=(bytes,))
        if datum is not None and _listed(plain) != datum:
            raise Broken(f"{plain} for {datum}: {value.hex()}")
        with contextlib.suppress(InvalidPacket):
            again = codec.encode(packet)
            if codec.decode(again) != packet or again != codec._encode_carefully(packet):
                raise Broken(f"another packet when written again: {value.hex()}")
            return
        raise Broken(f"accepted, but not to be written again: {value.hex()}")


def _decoded(decode: Callable[[bytes], msgspec.Struct], value: bytes) -> Any:
    try:
        return decode(value)
    except PoisonError as error:
        return error


def _listed(plain: Any) -> Any:
    """Return plain values with lists for tuples, as the oracle has them."""
    if isinstance(plain, dict):
        return {key: _listed(item) for key, item in plain.items()}
    if isinstance(plain, list | tuple):
        return [_listed(item) for item in plain]
    return plain


class _Record:
    """A record of a control log, as Kafka hands it out."""

    def __init__(self, value: bytes, headers: Any, epoch: int, appended_ms: int) -> None:
        self._value, self._headers = value, headers
        self._epoch, self._appended_ms = epoch, appended_ms

    def value(self) -> bytes:
        """Return its value."""
        return self._value

    def headers(self) -> Any:
        """Return its headers."""
        return self._headers

    def offset(self) -> int:
        """Return its offset."""
        return self._epoch

    def timestamp(self) -> tuple[int, int]:
        """Return when the broker appended it."""
        return TIMESTAMP_LOG_APPEND_TIME, self._appended_ms


class Commands(Target):
    """Records of a signed control log: what counts is valid, and signed by who may."""

    _EACH = 500  # records of one log, then another begins

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-keys-")
        folder = Path(self._folder.name)
        path = folder / "keys.json"
        maker = KeyMaker(path)
        self._signers: dict[str, Signer] = {}
        for key_id, purpose, authors in (
            ("ops", Purpose.CONTROL, ("operator",)),
            ("gate", Purpose.RESTRICT, ()),
            ("desk", Purpose.PLANS, ()),
            ("gone", Purpose.CONTROL, ("operator",)),
        ):
            maker.new(key_id, purpose, authors, folder / key_id)
            key = WatchedFile(folder / key_id, private_key)
            self._signers[key_id] = Signer(RingFile(path), key)
        ring = RingFile(path).current()
        self._now_us = ring.required_from + _HOUR_US
        self._publics = {key.id: key.public for key in ring.keys}
        self._verifier = Verifier(RingFile(path))
        self._signed: list[tuple[bytes, Any]] = []
        self._begin()

    def close(self) -> None:
        """Remove the keys."""
        self._folder.cleanup()

    def _begin(self) -> None:
        self._machine = TradingStateMachine(("operator", "mary"))
        self._check = CommandCheck(self._verifier, _TOPIC)
        self._epoch = 0
        self._counted: set[str] = set()

    def one(self) -> None:
        """Append one record to the log."""
        if self._epoch == self._EACH:
            self._begin()
        value, headers = self._made()
        record: Any = _Record(value, headers, self._epoch, self._now_us // 1000)
        entry = _entry(record, self._check)
        why = self._invalid(value, headers)
        if why and entry.forgery is None:
            raise Broken(f"counts, though {why}: {value.hex()} {headers}")
        if entry.forgery is not None and not why:
            raise Broken(f"{entry.forgery.reason}: {value.hex()} {headers}")
        before = (self._machine.view(current=True), self._machine.lifted_epoch)
        refusal = self._machine.take(entry)
        after = (self._machine.view(current=True), self._machine.lifted_epoch)
        if refusal and before != after:
            raise Broken(f"changed the state, though refused ({refusal}): {value.hex()}")
        if entry.forgery is None and entry.command is not None:
            self._counted.add(entry.command.command_id)
        self.seen["forged" if entry.forgery else "refused" if refusal else "counted"] += 1
        self._epoch += 1

    def _made(self) -> tuple[bytes, Any]:
        draw = self.inputs.random.random()
        if self._signed and draw < 0.1:
            again: tuple[bytes, Any] = self.inputs.pick(self._signed)  # played again
            return again
        try:
            value = codec.encode(self.inputs.command(self._epoch))
        except InvalidPacket:
            value = self.inputs.packet()
        if draw < 0.3:
            value = self.inputs.damaged(value, self.inputs.packet)
        headers = self._headers(value)
        if 0.3 < draw < 0.4:
            value = self.inputs.damaged(value, self.inputs.packet)  # after it was signed
        if 0.4 < draw < 0.5:
            headers = self._spoilt(headers)
        self._signed = [*self._signed[-50:], (value, headers)]
        return value, headers

    def _headers(self, value: bytes) -> Any:
        key_id = self.inputs.pick(("ops", "ops", "ops", "gate", "desk", "gone", None))
        if key_id is None:
            return None
        topic = self.inputs.pick((_TOPIC,) * 9 + ("other.cascade.control",))
        headers = self._signers[key_id].sign(topic, value, *Purpose)
        if key_id == "gone":
            signed = headers[0][1]
            assert isinstance(signed, bytes)
            return [(SIGNATURE, signed.replace(b"gone", b"ops"))]
        return headers

    def _spoilt(self, headers: Any) -> Any:
        if not headers:
            return [(SIGNATURE, self.inputs.random.randbytes(self.inputs.random.randrange(200)))]
        ((name, item),) = headers
        return [(name, self.inputs.damaged(item, lambda: item))]

    def _invalid(self, value: bytes, headers: Any) -> str:
        """Return why a record must not count; empty where it must. Asks nothing of the product."""
        key_id = self._signed_by(value, headers)
        if key_id not in ("ops", "gate"):
            return f"signed by {key_id}"
        try:
            name, datum, _ = oracle.read(value)
        except oracle.Invalid:
            return ""  # one of us signed it: it counts, and halts
        if name != "ControlCommand":
            return ""
        lifts = datum["kind"] not in {each.value for each in RESTRICTS}
        if lifts and (key_id != "ops" or datum["author"] != "operator"):
            return f"{datum['kind']} by {key_id} in the name of {datum['author']}"
        if datum["command_id"] in self._counted:
            return "it counted before"
        return ""

    def _signed_by(self, value: bytes, headers: Any) -> str:
        if not headers or len(headers) != 1 or headers[0][0] != SIGNATURE:
            return "nobody"
        text: bytes = headers[0][1]
        key_id, separator, encoded = text.partition(b":")
        public = self._publics.get(key_id.decode("latin-1"))
        if not separator or public is None or len(text) > 160:
            return "a stranger"
        names = b"".join(struct.pack(">I", len(n)) + n for n in (_TOPIC.encode(), key_id))
        try:
            signature = base64.b64decode(encoded, validate=True)
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public))
            key.verify(signature, b"cascade signature 1\x00" + names + value)
        except (ValueError, InvalidSignature):
            return "a forger"
        return key_id.decode()


_NAMES = (
    "CASCADE_BROKER", "CASCADE_NAMESPACE", "CASCADE_TIMEOUT_MS", "CASCADE_STAGES__RISK__RETRIES",
    "CASCADE_KAFKA__SASL_PASSWORD", "CASCADE_KAFKA__ACKS", "COORDINATION_SYNC_TIMEOUT",
    "EMERGENCY_CONTACTS", "CASCADE_DETECTION__STANDSTILL", "CASCADE_LOG_LEVEL", "CASCADE_ROLE",
    "CASCADE_KEYS", "CASCADE_CREDENTIALS", "CASCADE_STAGES", "CASCADE_KAFKA", "CASCADE_X",
)  # fmt: skip
_VALUES = (
    "", "1", "-1", "0", "nan", "inf", "1e309", "9" * 400, "true", "x", "a:1", "a:99999,b:2",
    "[", "{", "[" * 5000, '{"a": ' * 3000, '[{"name": "n", "contact": "c", "type": "email"}]',
    "[1, 2]", '{"risk": {"retries": 1}}', "{}", "null", "é\u2028", "x" * 100_000, "..", "/dev/null",
)  # fmt: skip
_YAML = b"""cascade:
  timeout_ms: 100
stages:
  risk: {retries: 3}
emergency:
  emergency_contacts:
    - {name: "n", contact: "c", type: "email"}
kafka: {security.protocol: SASL_SSL, sasl.password: hunter2}
"""


class SettingsTexts(Target):
    """Variables and YAML files: settings, or one sentence that says what is wrong."""

    def one(self) -> None:
        """Load settings from random places."""
        pick = self.inputs
        chosen = {pick.pick(_NAMES): pick.pick(_VALUES) for _ in range(pick.random.randrange(4))}
        content = pick.damaged(_YAML, lambda: _YAML) if pick.random.random() < 0.7 else _YAML
        with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
            file.write(content)
            file.flush()
            with _environment({**chosen, "CASCADE_CONFIG": file.name}):
                try:
                    shown = repr(load_settings())
                except ConfigurationError as error:
                    shown, end = str(error), "refused"
                else:
                    end = "accepted"
        if "hunter2" in shown:
            raise Broken(f"a secret is shown: {shown}")
        self.seen[end] += 1


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


class Documents(Target):
    """JSON from outside: payloads of messages, and key rings; read, or refused."""

    _TEXT = json.dumps(
        {
            "subject": "control", "command_id": "id", "epoch": 1, "stage": "risk", "worker": "w",
            "trading_state": "HALTED", "isolated": False, "refusal": "", "time": 1,
        }
    ).encode()  # fmt: skip
    _RING = json.dumps(
        {
            "version": 1, "required_from": 1,
            "keys": [
                {
                    "id": "a", "purpose": "control", "public": base64.b64encode(b"x" * 32).decode(),
                    "authors": ["operator"], "valid_from": 0,
                }
            ],
        }
    ).encode()  # fmt: skip

    def one(self) -> None:
        """Read one payload, and one ring."""
        draw = self.inputs.random.random()
        text = self.inputs.damaged(self._TEXT, lambda: self._RING)
        if draw < 0.05:
            text = self.inputs.pick((b"[", b'{"a":')) * 10_000
        message = CoordinationMessage(
            "id", MessageType.STATE_UPDATE, "risk", "operator", 1,
            text.decode("utf-8", "replace"), 1, False, 0.0, "id",
        )  # fmt: skip
        read = Acknowledgement.read(message)
        self.seen["refused" if read is None else "accepted"] += 1
        ring = text if draw < 0.05 else self.inputs.damaged(self._RING, lambda: self._TEXT)
        with tempfile.NamedTemporaryFile() as file:
            file.write(ring)
            file.flush()
            try:
                RingFile(Path(file.name))
            except ConfigurationError:
                self.seen["refused"] += 1
            else:
                self.seen["accepted"] += 1


TARGETS: dict[str, tuple[type[Target], int]] = {
    "packets": (Packets, 1),
    "commands": (Commands, 1),
    "settings": (SettingsTexts, 20),
    "documents": (Documents, 5),
}
"""Each target by its name, and what fraction of the inputs it takes: one of so many."""
