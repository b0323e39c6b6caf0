"""Checking the signatures of records against the key ring."""

import base64
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline.errors import SignatureRefused
from pipeline.keys.ring import Key, Purpose, RingFile, public_key
from pipeline.keys.signing import SIGNATURE, GivenHeaders, signed_bytes
from pipeline.settings import Settings

__all__ = ["Verifier"]

_LONGEST = 160
_BYTES = 64


@lru_cache(maxsize=256)
def _public(key: Key) -> Ed25519PublicKey:
    return public_key(key)


class Verifier:
    """Checks signatures; the ring is read again when it changes.

    Args:
        ring: The key ring.
    """

    def __init__(self, ring: RingFile) -> None:
        self._ring = ring

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return a verifier by the settings' key ring; None where nothing need be signed.

        Raises:
            ConfigurationError: If the ring cannot be read.
        """
        return None if settings.keys is None else cls(RingFile(settings.keys))

    @property
    def required_from(self) -> int:
        """When signing began, microseconds since the Unix epoch, UTC."""
        return self._ring.current().required_from

    def check(
        self,
        topic: str,
        value: bytes | None,
        headers: GivenHeaders,
        at_us: int,
        purposes: Collection[Purpose],
    ) -> Key:
        """Return the key that signed a record.

        Args:
            topic: Real name of its topic.
            value: Its value.
            headers: Its headers.
            at_us: When the signature must count, microseconds since the Unix epoch, UTC.
            purposes: Of which the key must be for one.

        Raises:
            SignatureRefused: If it is not signed by such a key; says why.
        """
        key_id, signature = _signature(headers)
        key = self._ring.current().find(key_id)
        if key is None:
            raise SignatureRefused(f"Expected a signature by a key of the ring, was {key_id!r}")
        if key.purpose not in purposes:
            wanted = " or ".join(purposes)
            raise SignatureRefused(
                f"Expected a signature by a key for {wanted}, was {key.id} for {key.purpose}"
            )
        if refusal := key.refusal(at_us):
            raise SignatureRefused(f"Expected a signature by a valid key: {refusal}")
        try:
            _public(key).verify(signature, signed_bytes(topic, key.id, value or b""))
        except InvalidSignature as error:
            raise SignatureRefused(
                f"Expected a signature by {key.id} over these bytes for {topic}, was another"
            ) from error
        return key


def _signature(headers: GivenHeaders) -> tuple[str, bytes]:
    """Return (key id, signature).

    Raises:
        SignatureRefused: If there is not exactly one.
    """
    items = headers.items() if isinstance(headers, Mapping) else headers or ()
    found = [value for name, value in items if name == SIGNATURE]
    if len(found) != 1:
        was = "none" if not found else f"{len(found)} of them"
        raise SignatureRefused(f"Expected a signature, was {was}")
    text = found[0]
    if not isinstance(text, bytes) or len(text) > _LONGEST:
        raise SignatureRefused("Expected a signature of usual length, was another")
    key_id, _, encoded = text.decode("ascii", "replace").partition(":")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise SignatureRefused("Expected a signature in base64, was none") from error
    if len(signature) != _BYTES:
        raise SignatureRefused(f"Expected a signature of {_BYTES} bytes, was {len(signature)}")
    return key_id, signature
