"""The dashboard's HTTP surface under test: a real server, with hand-written ends behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from pipeline.dashboard.gatekeeper import CSRF, Gatekeeper
from pipeline.dashboard.passwords import hash_password
from pipeline.dashboard.server import application
from pipeline.dashboard.sessions import Sessions
from pipeline.dashboard.streaming import Pictures
from pipeline.dashboard.users import Role, User, UserFile
from pipeline.errors import UsageError
from pipeline.packets.events import Alert, ControlKind, PerformanceAlert, SecurityEventKind

__all__ = ["PASSWORD", "Surface", "surface", "write_users"]

PASSWORD = "correct horse battery staple"  # noqa: S105  # of users made here alone


@cache
def hashed() -> str:
    """Return the hash of `PASSWORD`, at its full cost once for all tests."""
    return hash_password(PASSWORD)


def write_users(file: UserFile) -> None:
    """Make a user of each role, who is called as the role is."""
    with file._changing() as users:
        for role in Role:
            users[role.value] = User(role.value, role, hashed())


class Sees:
    """Knows one flow and one alert."""

    def symbol_of(self, flow_id: str) -> str | None:
        return {"f1": "ACME"}.get(flow_id)

    def alert(self, alert_id: str) -> Alert:
        if alert_id != "a1":
            raise UsageError(f"Expected an alert that stands, was id {alert_id!r}")
        return Alert("a1", PerformanceAlert.WARNING, "slow", "{}", 1, False)


class Acts:
    """Notes what it was told to do; raises what it was given."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def give(
        self, kind: ControlKind, *, author: str, reason: str, scope: str, lifts_epoch: int
    ) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.done.append(
            {"kind": kind, "author": author, "reason": reason, "scope": scope, "lifts": lifts_epoch}
        )
        return {"kind": kind.value, "in_force": True, "said": "done"}

    def acknowledge_alert(self, alert: Alert, *, author: str, note: str) -> None:
        self.done.append({"alert": alert.id, "author": author, "note": note})

    def acknowledge_emergency(self, emergency_id: str, *, author: str, note: str) -> None:
        self.done.append({"emergency": emergency_id, "author": author, "note": note})


class Surface:
    """A server with users, and a client that may be anybody."""

    def __init__(self, folder: Path, *, secure: bool = False, idle_s: float = 600.0) -> None:
        self.users = UserFile(folder / "users.json")
        write_users(self.users)
        self.sessions = Sessions(idle_s)
        self.told: list[dict[str, Any]] = []
        self.acts = Acts()
        self.searched: list[tuple[str, str | None]] = []
        self.picture: dict[str, Any] = {"at": 1.0}
        gatekeeper = Gatekeeper(self.users, self.sessions, self._tell, secure=secure)
        self.pictures = Pictures(lambda: self.picture)
        self.app = application(
            gatekeeper, self.pictures, Sees(), self.acts, self._find, loopback=True, secure=secure
        )
        self.client: TestClient[Any, Any] = TestClient(TestServer(self.app))

    def become(self, role: Role) -> dict[str, str]:
        """Log in as the user of a role; return the headers that its requests take."""
        token, session = self.sessions.open(self.users.users()[role.value])
        self.client.session.cookie_jar.update_cookies({"cascade": token}, self.client.make_url("/"))
        return {CSRF: session.csrf}

    def _find(self, flow_id: str, symbol: str | None) -> dict[str, Any]:
        self.searched.append((flow_id, symbol))
        return {"flow_id": flow_id}

    def _tell(
        self,
        kind: SecurityEventKind,
        *,
        author: str,
        subject: str,
        detail: str = "",
        source_address: str = "",
    ) -> None:
        self.told.append(
            {"kind": kind, "author": author, "subject": subject, "detail": detail,
             "address": source_address}
        )  # fmt: skip


@asynccontextmanager
async def surface(folder: Path, *, secure: bool = False) -> AsyncIterator[Surface]:
    """Serve until the block ends."""
    found = Surface(folder, secure=secure)
    async with found.client:
        yield found
