"""Keys for tests."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.keys import KeyMaker, Purpose, RingFile, Signer, Verifier
from pipeline.keys.ring import WatchedFile, private_key

__all__ = ["START_US", "HandClock", "Keys"]

START_US = 1_800_000_000_000_000


@dataclass
class HandClock:
    """A clock that is set by hand."""

    us: int = START_US
    skewed: bool = False

    def now_us(self) -> int:
        """Return the time."""
        return self.us


@dataclass
class Keys:
    """A ring on file, its maker, and signers with its keys.

    Attributes:
        folder: Where the files lie.
        clock: Clock of all.
    """

    folder: Path
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.path = self.folder / "keys.json"
        self.maker = KeyMaker(self.path, self.clock)

    def new(self, key_id: str, purpose: Purpose, *authors: str) -> Signer:
        """Make a key and return what signs with it."""
        self.maker.new(key_id, purpose, authors, self.file(key_id))
        return self.signer(key_id)

    def file(self, key_id: str) -> Path:
        """Return where the private half lies."""
        return self.folder / f"{key_id}.key"

    def signer(self, key_id: str) -> Signer:
        """Return what signs with a key."""
        key = WatchedFile(self.file(key_id), private_key)
        return Signer(RingFile(self.path), key, self.clock)

    def verifier(self) -> Verifier:
        """Return what checks signatures."""
        return Verifier(RingFile(self.path))
