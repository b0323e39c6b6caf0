"""Who may use the dashboard: a file of users that only its owner can read."""

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from pipeline.dashboard.passwords import hash_password, spend_time, verify_password
from pipeline.errors import ConfigurationError, UsageError
from pipeline.settings import Settings

__all__ = ["Role", "User", "UserFile"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Role(StrEnum):
    """What a user may do; each may do what those before it may.

    Attributes:
        VIEWER: Look.
        OPERATOR: Halt, reduce, isolate, release, force breakers open, acknowledge.
        RISK_OFFICER: Resume, reset what tripped, bootstrap.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    RISK_OFFICER = "risk-officer"

    def covers(self, needed: "Role") -> bool:
        """Say whether it may do what `needed` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


class User(Struct, frozen=True, forbid_unknown_fields=True):
    """A user.

    Attributes:
        name: Name; the author of the commands that they give.
        role: What they may do.
        password: Hash of the password, see `pipeline.dashboard.passwords`.
    """

    name: str
    role: Role
    password: str

    def __repr__(self) -> str:
        return f"<User {self.name} {self.role}>"


class _Content(Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    users: list[User]


class UserFile:
    """The users of an installation; several processes may share it, thread-safe.

    Args:
        path: The file, which need not exist: there are no users then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[tuple[int, int, int], Mapping[str, User]] | None = None

    @classmethod
    def of(cls, settings: Settings) -> "UserFile":
        """Return the file that the settings name, `users.json` of the home folder by default."""
        return cls(settings.dashboard.users_file or settings.home / "users.json")

    def users(self) -> Mapping[str, User]:
        """Return the users by name; the file is read again only after it was changed.

        Raises:
            ConfigurationError: If it cannot be read, or others than its owner can.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                signature = (status.st_mtime_ns, status.st_ino, status.st_size)
                self._check(status)
                if self._known is None or self._known[0] != signature:
                    self._known = (signature, self._parsed(file.read()))
                return self._known[1]
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigurationError(
                f"Expected to read {self.path}, was refused: {error}"
            ) from error

    def verify(self, name: str, password: str) -> User | None:
        """Return the user that name and password belong to; None where they belong to none."""
        user = self.users().get(name)
        if user is None:
            spend_time(password)
            return None
        return user if verify_password(password, user.password) else None

    def add(self, name: str, role: Role, password: str) -> User:
        """Add a user.

        Raises:
            UsageError: If the name is taken or no name, or the password too short.
            ConfigurationError: If the file cannot be changed.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                "Expected a name of up to 64 letters, digits and _ . @ -, opening with one of the"
                f" first two, was {name!r}"
            )
        user = User(name, role, hash_password(password))
        with self._changing() as users:
            if name in users:
                raise UsageError(f"Expected a name that is not taken, was {name}")
            users[name] = user
        return user

    def remove(self, name: str) -> User:
        """Remove a user, whose sessions end; UsageError if there is none of that name."""
        with self._changing() as users:
            self._require(users, name)
            return users.pop(name)

    def set_role(self, name: str, role: Role) -> User:
        """Give a user another role at once; return them as they were.

        Raises:
            UsageError: If there is none of that name.
        """
        return self._change(name, lambda user: structs.replace(user, role=role))

    def set_password(self, name: str, password: str) -> User:
        """Give a user another password, which ends their sessions; return them as they were.

        Raises:
            UsageError: If there is none of that name, or the password is too short.
        """
        hashed = hash_password(password)
        return self._change(name, lambda user: structs.replace(user, password=hashed))

    def _change(self, name: str, change: Callable[[User], User]) -> User:
        with self._changing() as users:
            before = self._require(users, name)
            users[name] = change(before)
        return before

    def _require(self, users: Mapping[str, User], name: str) -> User:
        if name not in users:
            names = ", ".join(sorted(users)) or "nobody"
            raise UsageError(f"Expected a user ({names}), was {name}")
        return users[name]

    def _parsed(self, content: bytes) -> Mapping[str, User]:
        try:
            found = msgspec.json.decode(content, type=_Content)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"Expected users at {self.path}, was: {error}") from error
        return {user.name: user for user in found.users}

    def _check(self, status: os.stat_result) -> None:
        if status.st_mode & _OTHERS or status.st_uid != os.geteuid():
            mode = stat.filemode(status.st_mode)
            raise ConfigurationError(
                f"Expected {self.path} to be readable by its owner alone, who runs this, was {mode}"
                f" of user {status.st_uid}. `chmod 600 {self.path}`, and `chown` it if need be."
            )

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        """Yield the users to be changed; they are on the disk when the block has ended well."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                users = dict(self.users())
                yield users
                self._write(_Content(1, list(users.values())))
        except OSError as error:
            raise ConfigurationError(
                f"Expected to write {self.path}, was refused: {error}"
            ) from error

    def _write(self, content: _Content) -> None:
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
