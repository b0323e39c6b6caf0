"""Password hashes by scrypt (RFC 7914), from Python's own OpenSSL.

A hash is `scrypt$N$r$p$salt$key`, the last two in base64. The cost is the one that OWASP's password
storage cheat sheet gives for 32 MiB: about a third of a second of one core.
"""

import base64
import hashlib
import hmac
import secrets

from pipeline.errors import ConfigurationError, UsageError

__all__ = ["LEAST_LENGTH", "MOST_LENGTH", "hash_password", "spend_time", "verify_password"]

LEAST_LENGTH = 12
MOST_LENGTH = 1024

_N, _R, _P = 2**15, 8, 3
_MEMORY = 64 * 1024 * 1024
_KEY_BYTES = 32
_SALT_BYTES = 16
_FIELDS = 6


def hash_password(password: str) -> str:
    """Return the hash of a password, salted anew.

    Raises:
        UsageError: If it is shorter than 12 or longer than 1024 characters.
    """
    if not LEAST_LENGTH <= len(password) <= MOST_LENGTH:
        raise UsageError(
            f"Expected a password of {LEAST_LENGTH} to {MOST_LENGTH} characters, was one of"
            f" {len(password)}"
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    key = _scrypt(password, salt, _N, _R, _P)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(key)}"


def verify_password(password: str, hashed: str) -> bool:
    """Say whether a password is the one that was hashed; takes the same time either way.

    Raises:
        ConfigurationError: If `hashed` is no such hash.
    """
    parts = hashed.split("$")
    try:
        kind, n, r, p, salt, key = parts if len(parts) == _FIELDS else ("",) * _FIELDS
        costs = int(n), int(r), int(p)
        known = base64.b64decode(key, validate=True)
        salted = base64.b64decode(salt, validate=True)
    except ValueError as error:
        raise ConfigurationError("Expected a scrypt hash of a password, was none") from error
    if kind != "scrypt" or costs != (_N, _R, _P):
        raise ConfigurationError(
            "Expected a scrypt hash of a password at the cost in force, was another; set the"
            " password anew"
        )
    return hmac.compare_digest(known, _scrypt(password[: MOST_LENGTH + 1], salted, *costs))


def spend_time(password: str) -> None:
    """Take as long as `verify_password`, so that nobody can tell whether a user exists."""
    _scrypt(password[: MOST_LENGTH + 1], b"\0" * _SALT_BYTES, _N, _R, _P)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    given = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(given, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_KEY_BYTES)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
