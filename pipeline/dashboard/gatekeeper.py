"""Logins, sessions, roles and limits of one server."""

import asyncio
import logging
from typing import Final, Protocol

from aiohttp import web

from pipeline.dashboard.guarding import address_of, refused
from pipeline.dashboard.limits import RateLimit
from pipeline.dashboard.sessions import Session, Sessions
from pipeline.dashboard.users import Role, User, UserFile
from pipeline.packets.events import SecurityEventKind

__all__ = ["CSRF", "Gatekeeper", "Tell"]

_logger = logging.getLogger(__name__)

CSRF: Final = "X-CSRF-Token"
"""Header with the session's token, of each request that changes something."""

_HASHES_AT_ONCE = 2
_MOST_WAITING = 16


class Tell(Protocol):
    """Tells the audit log of something; never waits."""

    def __call__(
        self,
        kind: SecurityEventKind,
        *,
        author: str,
        subject: str,
        detail: str = "",
        source_address: str = "",
    ) -> None:
        """Tell of an event of now."""
        ...


class Gatekeeper:
    """Lets users in, and knows who is.

    Args:
        users: The users.
        sessions: Their sessions.
        tell: Tells the audit log.
        secure: Whether the server speaks TLS: then browsers send the cookie by TLS alone.
    """

    def __init__(self, users: UserFile, sessions: Sessions, tell: Tell, *, secure: bool) -> None:
        self._users = users
        self._sessions = sessions
        self._tell = tell
        self._secure = secure
        self._cookie = "__Host-cascade" if secure else "cascade"
        self._by_address = RateLimit(burst=20, every_s=10.0)
        self._by_user = RateLimit(burst=5, every_s=30.0)
        self._refusals = RateLimit(burst=10, every_s=60.0)
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._waiting = 0

    async def log_in(self, request: web.Request, name: str, password: str) -> web.Response:
        """Return the answer to a login: a session's cookie and token, or a refusal."""
        address = address_of(request)
        wait_s = max(self._by_address.take(address), self._by_user.take((address, name)))
        if wait_s > 0.0:
            self._note_refusal(name, "login", "too many attempts", address)
            return refused(
                429, "Too many attempts; wait a moment.", **{"Retry-After": f"{wait_s:.0f}"}
            )
        if self._waiting >= _MOST_WAITING:
            return refused(503, "Too many logins at once; try again.", **{"Retry-After": "5"})
        self._waiting += 1
        try:
            async with self._hashing:
                user = await asyncio.to_thread(self._users.verify, name, password)
        finally:
            self._waiting -= 1
        if user is None:
            self._note_refusal(name, "login", "name or password is wrong", address)
            return refused(401, "Name or password is wrong.")
        # Attempts are what is limited: whoever knows the password comes in as often as they like.
        self._by_address.give_back(address)
        self._by_user.give_back((address, name))
        self._sessions.close(self._token(request))
        token, session = self._sessions.open(user)
        self._say(SecurityEventKind.LOGIN, user.name, "dashboard", f"as {user.role}", address)
        response = self.described(user, session)
        response.set_cookie(
            self._cookie, token, httponly=True, samesite="Strict", secure=self._secure, path="/"
        )
        return response

    def log_out(self, request: web.Request, user: User) -> web.Response:
        """End the request's session."""
        self._sessions.close(self._token(request))
        self._say(SecurityEventKind.LOGOUT, user.name, "dashboard", "", address_of(request))
        response = web.json_response({})
        response.del_cookie(
            self._cookie, httponly=True, samesite="Strict", secure=self._secure, path="/"
        )
        return response

    def described(self, user: User, session: Session) -> web.Response:
        """Return the answer that says who is logged in."""
        return web.json_response({"user": user.name, "role": user.role.value, "csrf": session.csrf})

    def visitor(self, request: web.Request, *, used: bool = True) -> tuple[User, Session] | None:
        """Return who sent a request, by its cookie; None where nobody is logged in.

        Args:
            request: The request.
            used: Whether this counts as use of the session.
        """
        session = self._sessions.find(self._token(request), used=used)
        if session is None:
            return None
        user = self._users.users().get(session.user)
        if user is None or user.password != session.password:
            self._sessions.close(self._token(request))
            return None
        return user, session

    def require(self, request: web.Request, role: Role, what: str) -> tuple[User, Session]:
        """Return who sent a request, if they may.

        Args:
            request: The request.
            role: The role that it takes.
            what: What they would do, for the audit log.

        Raises:
            web.HTTPUnauthorized: If nobody is logged in.
            web.HTTPForbidden: If their role does not cover it, or the CSRF token is missing.
        """
        found = self.visitor(request)
        if found is None:
            raise web.HTTPUnauthorized(reason="Log in first.")
        user, session = found
        address = address_of(request)
        if request.method != "GET" and not session.knows(request.headers.get(CSRF, "")):
            self._note_refusal(user.name, what, "no CSRF token", address)
            raise web.HTTPForbidden(reason="The request does not carry the session's token.")
        if not user.role.covers(role):
            self._note_refusal(user.name, what, f"{user.role} is not {role}", address)
            raise web.HTTPForbidden(
                reason=f"That takes the role {role}; {user.name} is {user.role}."
            )
        return user, session

    def _token(self, request: web.Request) -> str:
        return request.cookies.get(self._cookie, "")[:128]

    def _note_refusal(self, author: str, what: str, why: str, address: str) -> None:
        """Tell of a refusal; of a flood of them only now and then."""
        if self._refusals.take(address) == 0.0:
            self._say(SecurityEventKind.REFUSAL, author, what, why, address)

    def _say(
        self, kind: SecurityEventKind, author: str, subject: str, detail: str, address: str
    ) -> None:
        self._tell(kind, author=author, subject=subject, detail=detail, source_address=address)
