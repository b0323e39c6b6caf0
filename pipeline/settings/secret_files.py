"""Secrets from files: a folder of them, each named as the Kafka property that it holds.

`sasl.username`, `sasl.password`, `ssl.ca.location` and so on, as a secret that is mounted into a
container lies there; what is PEM stays as it is, of all else the last line's end is dropped. The
file `signing.key` is no property but the private key that commands or order plans are signed with.
"""

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigurationError

__all__ = ["SIGNING_KEY", "SecretFiles", "check_private", "is_secret", "read"]

SIGNING_KEY = "signing.key"

_SECRET = re.compile(
    r"password|secret|token|credential|\.pem$|jaas|oauthbearer\.config|basic\.auth"
)
_LARGEST = 65_536
_MOST = 64


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """What a folder holds.

    Attributes:
        properties: Kafka properties.
        signing_key: Where the signing key lies; None where there is none.
    """

    properties: dict[str, str]
    signing_key: Path | None


def is_secret(name: str) -> bool:
    """Say whether the Kafka property `name`, in dots, is a secret or may hold one."""
    return _SECRET.search(name) is not None


def read(folder: Path, role: str) -> SecretFiles:
    """Return what the credentials of a role hold.

    Args:
        folder: The credentials: the role's own folder, or one with a folder for each role.
        role: The role.

    Raises:
        ConfigurationError: If there is no such folder, or a file that cannot be a credential.
    """
    mine = folder
    try:
        mine = folder / role if (folder / role).is_dir() else folder
        files = sorted(each for each in mine.iterdir() if each.is_file())
    except OSError as error:
        raise ConfigurationError(
            f"Expected a folder of credentials at {str(mine)[:200]}, was: {error.strerror}. Correct"
            " CASCADE_CREDENTIALS."
        ) from error
    files = [each for each in files if not each.name.startswith(".")]
    if not files or len(files) > _MOST:
        raise ConfigurationError(
            f"Expected files named as Kafka properties for the role {role} at {mine}, was"
            f" {len(files)} files. Correct CASCADE_CREDENTIALS, or add the folder {folder / role}."
        )
    key = mine / SIGNING_KEY
    return SecretFiles(
        {each.name: _content(each) for each in files if each != key},
        key if key in files else None,
    )


def check_private(path: Path) -> None:
    """Refuse a secret file that every user of the machine can read.

    Raises:
        ConfigurationError: If it is one, or cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"Expected a file at {path}, was: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise ConfigurationError(
            f"Expected {path} to be closed to other users, was of mode {stat.S_IMODE(mode):04o}."
            f" `chmod o= {path}` closes it."
        )


def _content(path: Path) -> str:
    if is_secret(path.name):
        check_private(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigurationError(f"Expected up to {_LARGEST} bytes at {path}, was more")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        # The message of a decoding error would quote what it could not decode.
        raise ConfigurationError(
            f"Expected UTF-8 text at {path}, was {type(error).__name__}"
        ) from error
    return text if path.name.endswith(".pem") else text.removesuffix("\n").removesuffix("\r")
