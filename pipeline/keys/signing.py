"""Signing records with the key of this process."""

import base64
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.clock import Clock, WallClock
from pipeline.errors import SignatureRefused
from pipeline.keys.ring import Key, Purpose, RingFile, WatchedFile, private_key
from pipeline.settings import Settings

__all__ = ["SIGNATURE", "GivenHeaders", "Headers", "Signer", "signed_bytes"]

SIGNATURE = "__cascade.signature"
"""Header of a record: the key's id, a colon, the signature in base64."""

_DOMAIN = b"cascade signature 1\x00"
Headers = list[tuple[str, str | bytes | None]]
"""Headers of a record as its producer takes them."""

GivenHeaders = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]] | None
"""Headers of a record as its consumer gives them."""


def signed_bytes(topic: str, key_id: str, value: bytes) -> bytes:
    """Return what a signature covers; lengths stand before what varies.

    Args:
        topic: Real name of the topic, with namespace.
        key_id: The key.
        value: The record's value.
    """
    names = (topic.encode(), key_id.encode())
    return _DOMAIN + b"".join(struct.pack(">I", len(name)) + name for name in names) + value


class Signer:
    """Signs with the key of this process; both files are read again when they change.

    Args:
        ring: The key ring.
        key: The private key; None where this process has none.
        clock: Says when.
    """

    def __init__(
        self,
        ring: RingFile,
        key: WatchedFile[Ed25519PrivateKey] | None,
        clock: Clock | None = None,
    ) -> None:
        self._ring = ring
        self._key = key
        self._clock = clock or WallClock()

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the signer of this process; None where nothing is signed.

        Raises:
            ConfigurationError: If a file of keys cannot be read.
        """
        if settings.keys is None:
            return None
        path = settings.signing_key
        key = None if path is None else WatchedFile(path, private_key)
        return cls(RingFile(settings.keys), key)

    def may(self, *purposes: Purpose) -> bool:
        """Say whether this process has a key, valid now, for one of these purposes."""
        try:
            self.key(purposes)
        except SignatureRefused:
            return False
        return True

    def key(self, purposes: Collection[Purpose]) -> Key:
        """Return the ring's entry of this process's key.

        Raises:
            SignatureRefused: If it has none that is valid now for one of these purposes.
        """
        wanted = " or ".join(purposes)
        if self._key is None:
            raise SignatureRefused(
                f"Expected a signing key for {wanted}, was none. Set CASCADE_SIGNING_KEY, or put"
                " signing.key among the credentials; `cascade keys new` makes one."
            )
        raw = self._key.current().public_key().public_bytes_raw()
        found = self._ring.current().find_public(base64.b64encode(raw).decode())
        where = f"at {self._key.path}"
        if found is None:
            raise SignatureRefused(f"Expected a signing key of {self._ring.path}, was a stranger's")
        if found.purpose not in purposes:
            raise SignatureRefused(
                f"Expected a signing key for {wanted} {where}, was one for {found.purpose}"
            )
        if refusal := found.refusal(self._clock.now_us()):
            raise SignatureRefused(f"Expected a valid signing key {where}: {refusal}")
        return found

    def sign(self, topic: str, value: bytes, *purposes: Purpose) -> Headers:
        """Return the header that signs a record.

        Args:
            topic: Real name of its topic.
            value: Its value.
            *purposes: Of which the key must be for one.

        Raises:
            SignatureRefused: If this process has no such key.
        """
        entry = self.key(purposes)
        assert self._key is not None  # noqa: S101  # or there were no entry
        signature = self._key.current().sign(signed_bytes(topic, entry.id, value))
        return [(SIGNATURE, f"{entry.id}:{base64.b64encode(signature).decode()}".encode())]
