"""The key ring: public keys with what each may sign, and when its signatures count."""

import base64
import logging
import os
import secrets
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Meta, Struct

from pipeline.errors import ConfigurationError
from pipeline.settings.secret_files import check_private

__all__ = ["Key", "KeyRing", "Purpose", "RingFile", "WatchedFile", "private_key", "public_key"]

_logger = logging.getLogger(__name__)
_LARGEST = 262_144
_Content = TypeVar("_Content")

KeyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Moment = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Purpose(StrEnum):
    """What a key may sign.

    Attributes:
        CONTROL: Every control command; what lifts something, only in the name of its authors.
        RESTRICT: Commands that restrict: HALT, REDUCE, ISOLATE, BREAKER_OPEN, TRIP.
        PLANS: Order plans.
    """

    CONTROL = "control"
    RESTRICT = "restrict"
    PLANS = "plans"


class Key(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One key. Times are microseconds since the Unix epoch, UTC; 0: never.

    Attributes:
        id: Its name; signatures carry it.
        purpose: What it may sign.
        public: The 32 bytes of the public key, base64.
        authors: In whose name a CONTROL key may lift something.
        valid_from: Signatures before do not count.
        valid_until: Nor do those from then on; set when the key is replaced.
        revoked_at: Nor those from then on; what it signed before goes on counting, or halts that
            it gave would be lifted.
    """

    id: KeyId
    purpose: Purpose
    public: Annotated[str, Meta(min_length=44, max_length=44)]
    authors: Annotated[tuple[Annotated[str, Meta(max_length=128)], ...], Meta(max_length=64)] = ()
    valid_from: Moment
    valid_until: Moment = 0
    revoked_at: Moment = 0

    def refusal(self, at_us: int) -> str | None:
        """Return why a signature made at a time does not count; None where it does."""
        if self.revoked_at and at_us >= self.revoked_at:
            return f"the key {self.id} is revoked"
        if at_us < self.valid_from:
            return f"the key {self.id} is not valid yet"
        if self.valid_until and at_us >= self.valid_until:
            return f"the key {self.id} has been replaced"
        return None

    def state(self, now_us: int) -> str:
        """Return what can be said of it now: valid, or why not."""
        return self.refusal(now_us) or "valid"


class KeyRing(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that count.

    Attributes:
        version: Of the file's format.
        required_from: When the first key was made: what older records say counts unsigned, so that
            the halts and fences that stand are not lost when signing begins.
        keys: The keys.
    """

    version: Annotated[int, Meta(ge=1, le=1)]
    required_from: Moment
    keys: Annotated[tuple[Key, ...], Meta(max_length=256)]

    def find(self, key_id: str) -> Key | None:
        """Return the key of an id; None where there is none."""
        return next((key for key in self.keys if key.id == key_id), None)

    def find_public(self, public: str) -> Key | None:
        """Return the key of these public bytes, base64; None where there is none."""
        return next((key for key in self.keys if key.public == public), None)


class WatchedFile(Generic[_Content]):
    """A file that is read again when it has changed; what cannot be read leaves the last content.

    Args:
        path: The file.
        parse: Reads it; raises `ConfigurationError`.

    Raises:
        ConfigurationError: If it cannot be read at first.
    """

    def __init__(self, path: Path, parse: Callable[[Path], _Content]) -> None:
        self.path = path
        self._parse = parse
        self._seen = self._signature()
        self._content = parse(path)

    def current(self) -> _Content:
        """Return the content as of now."""
        signature = self._signature()
        if signature != self._seen:
            self._seen = signature
            try:
                self._content = self._parse(self.path)
            except ConfigurationError as error:
                _logger.error("%s; what was read before goes on counting", error)  # noqa: TRY400  # the reason says it all
        return self._content

    def _signature(self) -> tuple[int, int, int]:
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return status.st_mtime_ns, status.st_size, status.st_ino


class RingFile(WatchedFile[KeyRing]):
    """A key ring on file.

    Raises:
        ConfigurationError: If there is none, or it is none.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _read)

    @staticmethod
    def write(path: Path, ring: KeyRing) -> None:
        """Write a ring, so that nobody sees it half-written.

        Raises:
            ConfigurationError: If it cannot be written.
        """
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        text = msgspec.json.format(msgspec.json.encode(ring), indent=2)
        try:
            draft.write_bytes(text + b"\n")
            draft.replace(path)
        except OSError as error:
            raise ConfigurationError(f"Expected to write {path}, was: {error.strerror}") from error


def _read(path: Path) -> KeyRing:
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigurationError(f"Expected up to {_LARGEST} bytes at {path}, was more")
        ring = msgspec.json.decode(path.read_bytes(), type=KeyRing)
    except OSError as error:
        raise ConfigurationError(
            f"Expected a key ring at {path}, was: {error.strerror}. `cascade keys new` makes one."
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"Expected a key ring at {path}, was: {error}") from error
    if len({key.id for key in ring.keys}) < len(ring.keys):
        raise ConfigurationError(f"Expected each key once at {path}, was one twice")
    for key in ring.keys:
        try:
            public_key(key)
        except ValueError as error:
            raise ConfigurationError(
                f"Expected an Ed25519 public key as {key.id} at {path}, was: {error}"
            ) from error
    return ring


def public_key(key: Key) -> Ed25519PublicKey:
    """Return the public key of an entry.

    Raises:
        ValueError: If it is none.
    """
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public, validate=True))


def private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key of a PEM file that nobody else can read.

    Raises:
        ConfigurationError: If there is none; the message says nothing of what is there.
    """
    check_private(path)
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"Expected an Ed25519 private key without a password at {path}, was"
            f" {type(error).__name__}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"Expected an Ed25519 private key at {path}, was {type(key).__name__}"
        )
    return key
