"""Sessions of users who are logged in; in memory, so that a restart ends them all."""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.dashboard.users import User

__all__ = ["Session", "Sessions"]

_MOST = 1000
_LONGEST_S = 12 * 3600.0
_TOKEN_BYTES = 32


@dataclass(slots=True)
class Session:
    """One login.

    Attributes:
        user: Who it is; their role is looked up anew for each request.
        password: Hash of the password that they logged in with: another one ends the session.
        csrf: What each request that changes something must carry beside the cookie.
        began_s: When it began, seconds of the monotonic clock.
        seen_s: When it was last used.
    """

    user: str
    password: str
    csrf: str
    began_s: float
    seen_s: float

    def knows(self, csrf: str) -> bool:
        """Say whether a request carries the session's token."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode("utf-8", "replace"))


class Sessions:
    """The sessions of one server; thread-safe.

    A session ends 12 hours after its login, or when it was not used for a while. Its token is kept
    as a hash alone. Past a thousand the one that was unused longest makes room.

    Args:
        idle_s: How long it may be unused, seconds.
        monotonic: Seconds that only run forward.
    """

    def __init__(self, idle_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._idle_s = idle_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def open(self, user: User) -> tuple[str, Session]:
        """Begin a session; return the token that the browser gets, and the session."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        now_s = self._monotonic()
        session = Session(user.name, user.password, secrets.token_urlsafe(24), now_s, now_s)
        with self._lock:
            self._sessions[_key(token)] = session
            while len(self._sessions) > _MOST:
                self._sessions.popitem(last=False)
        return token, session

    def find(self, token: str, *, used: bool = True) -> Session | None:
        """Return the session of a token; None where there is none, or none any more.

        Args:
            token: What the browser sent.
            used: Whether this counts as use.
        """
        key, now_s = _key(token), self._monotonic()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            idle = now_s - session.seen_s > self._idle_s
            if idle or now_s - session.began_s > _LONGEST_S:
                del self._sessions[key]
                return None
            if used:
                session.seen_s = now_s
                self._sessions.move_to_end(key)
            return session

    def close(self, token: str) -> None:
        """End a session; nothing where there is none."""
        with self._lock:
            self._sessions.pop(_key(token), None)


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
