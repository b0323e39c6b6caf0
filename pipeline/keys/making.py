"""Making, replacing and revoking keys of a ring on file."""

import base64
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from pipeline.clock import Clock, WallClock
from pipeline.errors import ConfigurationError, UsageError
from pipeline.keys.ring import Key, KeyRing, Purpose, RingFile

__all__ = ["KeyMaker"]

# Machines' clocks differ; a key that was just made is to count at once everywhere.
_LEEWAY_US = 60_000_000


class KeyMaker:
    """Changes a key ring; one at a time.

    Args:
        path: The ring's file; made with the first key.
        clock: Says when.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or WallClock()

    def new(self, key_id: str, purpose: Purpose, authors: Sequence[str], out: Path) -> Key:
        """Make a key: its private half goes to `out`, closed to others, its public to the ring.

        Raises:
            UsageError: If the ring has a key of that id, or `out` exists.
            ConfigurationError: If the ring cannot be read, or a file not be written.
        """
        ring = self._ring()
        if ring.find(key_id) is not None:
            raise UsageError(f"Expected an id that no key has, was {key_id}")
        if out.exists():
            raise UsageError(f"Expected no file at {out}, was one. `rotate` replaces a key.")
        return self._add(ring, key_id, purpose, authors, out)

    def rotate(self, key_id: str, out: Path, grace_s: float) -> Key:
        """Replace a key by a fresh one of its purpose and authors; return that.

        What the old one signs goes on counting for `grace_s` seconds, so that whoever signs has
        time to take the new one.

        Raises:
            UsageError: If there is no such key, or it is not valid any more.
            ConfigurationError: As for `new`.
        """
        ring, now = self._ring(), self._clock.now_us()
        old = self._known(ring, key_id)
        if refusal := old.refusal(now):
            raise UsageError(f"Expected a valid key to replace, but {refusal}")
        until = msgspec.structs.replace(old, valid_until=now + int(grace_s * 1e6))
        return self._add(_with(ring, until), _next_id(ring, key_id), old.purpose, old.authors, out)

    def revoke(self, key_id: str) -> Key:
        """Have nothing count that a key signs from now on; return its entry.

        Raises:
            UsageError: If there is no such key, or it is revoked.
            ConfigurationError: As for `new`.
        """
        ring = self._ring()
        key = self._known(ring, key_id)
        if key.revoked_at:
            raise UsageError(f"Expected a key that is not revoked, was {key_id}")
        revoked = msgspec.structs.replace(key, revoked_at=self._clock.now_us())
        RingFile.write(self._path, _with(ring, revoked))
        return revoked

    def _ring(self) -> KeyRing:
        if self._path.exists():
            return RingFile(self._path).current()
        return KeyRing(1, self._clock.now_us(), ())

    def _known(self, ring: KeyRing, key_id: str) -> Key:
        key = ring.find(key_id)
        if key is None:
            names = ", ".join(each.id for each in ring.keys) or "none"
            raise UsageError(f"Expected a key of the ring ({names}), was {key_id}")
        return key

    def _add(
        self, ring: KeyRing, key_id: str, purpose: Purpose, authors: Sequence[str], out: Path
    ) -> Key:
        private = Ed25519PrivateKey.generate()
        public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
        key = Key(
            id=key_id, purpose=purpose, public=public, authors=tuple(authors),
            valid_from=max(0, self._clock.now_us() - _LEEWAY_US),
        )  # fmt: skip
        try:
            key = msgspec.convert(msgspec.to_builtins(key), Key)
        except msgspec.ValidationError as error:
            raise UsageError(f"Expected another id or author: {error}") from error
        # The ring first: a signer must not meet a ring that does not know its key.
        RingFile.write(self._path, KeyRing(1, ring.required_from, (*ring.keys, key)))
        _write_private(out, private)
        return key


def _with(ring: KeyRing, changed: Key) -> KeyRing:
    keys = tuple(changed if key.id == changed.id else key for key in ring.keys)
    return KeyRing(ring.version, ring.required_from, keys)


def _next_id(ring: KeyRing, key_id: str) -> str:
    """Return `key_id` with the first number behind it, from 2 on, that no key has."""
    stem, _, number = key_id.rpartition("-")
    base = stem if stem and number.isdigit() else key_id
    taken = {key.id for key in ring.keys}
    return next(f"{base}-{n}" for n in range(2, len(taken) + 3) if f"{base}-{n}" not in taken)


def _write_private(path: Path, key: Ed25519PrivateKey) -> None:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(f"Expected to write {path}, was: {error.strerror}") from error
