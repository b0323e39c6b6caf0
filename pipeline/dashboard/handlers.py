"""The requests of the page.

| request | role | does |
|---|---|---|
| `GET /` and `/static/...` | none | the page itself, without any data |
| `GET /healthz` | none | says that the server runs |
| `POST /api/login` | none | `{user, password}`: begins a session |
| `GET /api/session` | any | who is logged in, and the CSRF token |
| `POST /api/logout` | any | ends the session |
| `GET /api/events` | viewer | pictures, as server-sent events |
| `GET /api/flows/ID` | viewer | one flow's whole life |
| `POST /api/commands` | see `acting.NEEDED` | `{kind, scope, reason, lifts}`: gives a command |
| `POST /api/alerts/ID/acknowledge` | operator | `{note}`: takes an alert on |
| `POST /api/emergencies/ID/acknowledge` | operator | `{note}`: takes an emergency on |
"""

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Annotated, Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from pipeline.dashboard.acting import NEEDED
from pipeline.dashboard.gatekeeper import Gatekeeper
from pipeline.dashboard.guarding import refused
from pipeline.dashboard.limits import RateLimit
from pipeline.dashboard.streaming import Pictures
from pipeline.dashboard.users import Role
from pipeline.packets.events import EVERYTHING, Alert, ControlKind

__all__ = ["Acts", "Handlers", "Sees"]

_STATIC: Final = {
    "app.js": "text/javascript",
    "cascade.js": "text/javascript",
    "charts.js": "text/javascript",
    "dialogs.js": "text/javascript",
    "dom.js": "text/javascript",
    "flow.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "panels.js": "text/javascript",
    "style.css": "text/css",
}
_FLOWS_AT_ONCE = 2

Line = Annotated[str, Meta(min_length=1, max_length=500)]
Note = Annotated[str, Meta(max_length=500)]
Body = TypeVar("Body", bound=Struct)


class _Login(Struct, forbid_unknown_fields=True):
    user: Annotated[str, Meta(max_length=64)]
    password: Annotated[str, Meta(max_length=1024)]


class _Command(Struct, forbid_unknown_fields=True):
    kind: ControlKind
    reason: Line
    scope: Annotated[str, Meta(min_length=1, max_length=128)] = EVERYTHING
    lifts: Annotated[int, Meta(ge=-1, le=2**62)] = -1


class _Taken(Struct, forbid_unknown_fields=True):
    note: Note = ""


class Sees(Protocol):
    """What is needed of `Observer`."""

    def symbol_of(self, flow_id: str) -> str | None:
        """Return the symbol of a flow that the page lists."""
        ...

    def alert(self, alert_id: str) -> Alert:
        """Return an alert that stands."""
        ...


class Acts(Protocol):
    """What is needed of `Desk`."""

    def give(
        self, kind: ControlKind, *, author: str, reason: str, scope: str, lifts_epoch: int
    ) -> dict[str, Any]:
        """Give a command."""
        ...

    def acknowledge_alert(self, alert: Alert, *, author: str, note: str) -> None:
        """Take an alert on."""
        ...

    def acknowledge_emergency(self, emergency_id: str, *, author: str, note: str) -> None:
        """Take an emergency on."""
        ...


class Handlers:
    """Answers the requests.

    Args:
        gatekeeper: Knows who asks.
        pictures: What is streamed.
        sees: Knows what the page shows.
        acts: Does what users command.
        find_flow: Returns a flow's whole life, by id and, where known, symbol; called on a thread.
    """

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        pictures: Pictures,
        sees: Sees,
        acts: Acts,
        find_flow: Callable[[str, str | None], dict[str, Any]],
    ) -> None:
        self._gatekeeper = gatekeeper
        self._pictures = pictures
        self._sees = sees
        self._acts = acts
        self._find_flow = find_flow
        self._commands = RateLimit(burst=10, every_s=2.0)
        # Whoever commands in a hurry is heard: a halt has a limit of its own, and a wide one.
        self._halts = RateLimit(burst=30, every_s=1.0)
        self._searches = RateLimit(burst=20, every_s=1.0)
        self._searching = asyncio.Semaphore(_FLOWS_AT_ONCE)
        folder = files("pipeline.dashboard") / "static"
        self._page = (folder / "index.html").read_bytes()
        self._files = {name: (folder / name).read_bytes() for name in _STATIC}

    def routes(self) -> list[web.RouteDef]:
        """Return all routes."""
        return [
            web.get("/", self._get_page),
            web.get("/static/{name}", self._get_file),
            web.get("/healthz", self._get_health),
            web.get("/api/session", self._get_session),
            web.post("/api/login", self._post_login),
            web.post("/api/logout", self._post_logout),
            web.get("/api/events", self._get_events),
            web.get("/api/flows/{id}", self._get_flow),
            web.post("/api/commands", self._post_command),
            web.post("/api/alerts/{id}/acknowledge", self._post_alert),
            web.post("/api/emergencies/{id}/acknowledge", self._post_emergency),
        ]

    # -- the page --------------------------------------------------------------------------------

    async def _get_page(self, request: web.Request) -> web.Response:
        return web.Response(body=self._page, content_type="text/html", charset="utf-8")

    async def _get_file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._files:
            raise web.HTTPNotFound(reason="There is no such file.")
        return web.Response(body=self._files[name], content_type=_STATIC[name], charset="utf-8")

    async def _get_health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "up"})

    # -- sessions --------------------------------------------------------------------------------

    async def _get_session(self, request: web.Request) -> web.Response:
        user, session = self._gatekeeper.require(request, Role.VIEWER, "session")
        return self._gatekeeper.described(user, session)

    async def _post_login(self, request: web.Request) -> web.Response:
        given = await _body(request, _Login)
        return await self._gatekeeper.log_in(request, given.user, given.password)

    async def _post_logout(self, request: web.Request) -> web.Response:
        user, _ = self._gatekeeper.require(request, Role.VIEWER, "logout")
        return self._gatekeeper.log_out(request, user)

    # -- looking ---------------------------------------------------------------------------------

    async def _get_events(self, request: web.Request) -> web.StreamResponse:
        self._gatekeeper.require(request, Role.VIEWER, "events")

        def allowed() -> bool:
            return self._gatekeeper.visitor(request, used=False) is not None

        return await self._pictures.stream(request, allowed)

    async def _get_flow(self, request: web.Request) -> web.Response:
        user, _ = self._gatekeeper.require(request, Role.VIEWER, "flow")
        if (wait_s := self._searches.take(user.name)) > 0.0:
            return _wait(wait_s)
        flow_id = request.match_info["id"][:200]
        symbol = self._sees.symbol_of(flow_id)
        async with self._searching:
            found = await asyncio.to_thread(self._find_flow, flow_id, symbol)
        return web.json_response(body=msgspec.json.encode(found))

    # -- acting ----------------------------------------------------------------------------------

    async def _post_command(self, request: web.Request) -> web.Response:
        self._gatekeeper.require(request, Role.VIEWER, "command")
        given = await _body(request, _Command)
        needed = NEEDED.get(given.kind)
        if needed is None:
            return refused(400, f"{given.kind} is not given from here.")
        what = f"{given.kind} {given.scope}"
        user, _ = self._gatekeeper.require(request, needed, what)
        limit = self._halts if given.kind is ControlKind.HALT else self._commands
        if (wait_s := limit.take(user.name)) > 0.0:
            return _wait(wait_s)
        found = await asyncio.to_thread(
            self._acts.give,
            given.kind,
            author=user.name,
            reason=given.reason,
            scope=given.scope,
            lifts_epoch=given.lifts,
        )
        return web.json_response(found)

    async def _post_alert(self, request: web.Request) -> web.Response:
        author, note = await self._taken_on(request, "acknowledge an alert")
        alert = self._sees.alert(request.match_info["id"])
        await asyncio.to_thread(self._acts.acknowledge_alert, alert, author=author, note=note)
        return web.json_response({})

    async def _post_emergency(self, request: web.Request) -> web.Response:
        author, note = await self._taken_on(request, "acknowledge an emergency")
        emergency_id = request.match_info["id"]
        await asyncio.to_thread(
            self._acts.acknowledge_emergency, emergency_id, author=author, note=note
        )
        return web.json_response({})

    async def _taken_on(self, request: web.Request, what: str) -> tuple[str, str]:
        user, _ = self._gatekeeper.require(request, Role.OPERATOR, what)
        given = await _body(request, _Taken)
        if (wait_s := self._commands.take(user.name)) > 0.0:
            raise web.HTTPTooManyRequests(reason=f"Wait {wait_s:.0f} s.")
        return user.name, given.note


async def _body(request: web.Request, kind: type[Body]) -> Body:
    """Return the JSON body of a request, checked.

    Raises:
        web.HTTPUnsupportedMediaType: If it is no JSON.
        web.HTTPBadRequest: If it is not what was expected.
        web.HTTPRequestEntityTooLarge: If it is too long.
    """
    # No form of another site can send this type without asking first.
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="Expected application/json.")
    content = await request.read()
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = " ".join(str(error).split())[:200].encode("ascii", "replace").decode()
        raise web.HTTPBadRequest(reason=f"Expected another body: {why}") from error


def _wait(wait_s: float) -> web.Response:
    seconds = f"{max(1.0, wait_s):.0f}"
    return refused(429, f"Too many at once; wait {seconds} s.", **{"Retry-After": seconds})
