"""The dashboard's HTTP surface: who gets in, what they may, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.dashboard.acting import NEEDED
from pipeline.dashboard.users import Role
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.packets.events import ControlKind, SecurityEventKind
from tests.unit.dashboard.surface import PASSWORD, Surface, surface

HALT = {"kind": "HALT", "reason": "prices look wrong"}


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Surface]:
    """A server with a user of each role, nobody logged in."""
    async with surface(tmp_path) as found:
        yield found


async def log_in(page: Surface, name: str, password: str) -> Any:
    """Try to log in; return the answer."""
    return await page.client.post("/api/login", json={"user": name, "password": password})


# -- the page --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static/style.css", "/static/icon.svg"])
async def test_the_page_comes_without_data_and_allows_own_files_alone(
    page: Surface, path: str
) -> None:
    """Everybody gets the page; its policy lets the browser load nothing from elsewhere."""
    answer = await page.client.get(path)
    assert 200 == answer.status
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert ("DENY", "nosniff", "no-store") == tuple(
        answer.headers[name]
        for name in ("X-Frame-Options", "X-Content-Type-Options", "Cache-Control")
    )
    assert "http://" not in (await answer.text()).replace("http://www.w3.org/", "")
    assert "https://" not in await answer.text()


async def test_errors_carry_the_headers_too_and_name_no_software(page: Surface) -> None:
    """What is not there says so in JSON, under the same policy."""
    answer = await page.client.get("/static/../users.json")
    assert 404 == answer.status
    assert "Content-Security-Policy" in answer.headers
    assert "cascade" == answer.headers["Server"]


# -- who -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/session"),
        ("GET", "/api/events"),
        ("GET", "/api/flows/f1"),
        ("POST", "/api/logout"),
        ("POST", "/api/commands"),
        ("POST", "/api/alerts/a1/acknowledge"),
        ("POST", "/api/emergencies/e1/acknowledge"),
    ],
)
async def test_nothing_is_shown_or_done_for_strangers(
    page: Surface, method: str, path: str
) -> None:
    """Without a session each request for data or for action is refused."""
    answer = await page.client.request(method, path, json=HALT if method == "POST" else None)
    assert 401 == answer.status
    assert [] == page.acts.done


async def test_a_login_sets_a_cookie_that_scripts_and_other_sites_do_not_get(page: Surface) -> None:
    """The right password opens a session, and the audit log hears of it."""
    answer = await log_in(page, "operator", PASSWORD)
    assert 200 == answer.status
    content = await answer.json()
    assert ("operator", "operator") == (content["user"], content["role"])
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert content["csrf"] not in cookie
    session = await (await page.client.get("/api/session")).json()
    assert content == session
    (told,) = page.told
    assert (SecurityEventKind.LOGIN, "operator", "127.0.0.1") == (
        told["kind"], told["author"], told["address"],
    )  # fmt: skip


async def test_by_tls_the_cookie_goes_by_tls_alone(tmp_path: Path) -> None:
    """With TLS the cookie is Secure and of this host, and the browser is to stay with TLS."""
    async with surface(tmp_path, secure=True) as page:
        answer = await log_in(page, "viewer", PASSWORD)
        assert answer.headers["Set-Cookie"].startswith("__Host-cascade=")
        assert "Secure" in answer.headers["Set-Cookie"]
        assert "max-age" in answer.headers["Strict-Transport-Security"]


async def test_a_wrong_name_and_a_wrong_password_look_the_same(page: Surface) -> None:
    """Nobody learns whether a user exists; the audit log hears who was tried, and no password."""
    answers = [
        await log_in(page, "operator", "wrong password here"),
        await log_in(page, "nobody", "wrong password here"),
    ]
    assert [401, 401] == [each.status for each in answers]
    first, second = [await each.json() for each in answers]
    assert first == second
    assert ["operator", "nobody"] == [each["author"] for each in page.told]
    assert {SecurityEventKind.REFUSAL} == {each["kind"] for each in page.told}
    assert "wrong password here" not in str(page.told)


async def test_guessing_is_slowed_down(page: Surface) -> None:
    """After five attempts at a user even the right password has to wait, and is told when."""
    for _ in range(5):
        assert 401 == (await log_in(page, "operator", "guess number twelve")).status
    answer = await log_in(page, "operator", PASSWORD)
    assert 429 == answer.status
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert 200 == (await log_in(page, "viewer", PASSWORD)).status


async def test_whoever_knows_the_password_is_not_slowed_down(page: Surface) -> None:
    """Logins that succeed do not count as attempts, however many there are."""
    statuses = [(await log_in(page, "operator", PASSWORD)).status for _ in range(8)]
    assert [200] * 8 == statuses


async def test_a_logout_ends_the_session(page: Surface) -> None:
    """The token is of no use any more, even where the browser kept it."""
    headers = page.become(Role.OPERATOR)
    kept = page.client.session.cookie_jar.filter_cookies(page.client.make_url("/"))["cascade"].value
    assert 200 == (await page.client.post("/api/logout", json={}, headers=headers)).status
    answer = await page.client.get("/api/session", cookies={"cascade": kept})
    assert 401 == answer.status


async def test_changes_to_a_user_hold_at_once(page: Surface) -> None:
    """A role that was taken is gone with the next request, and so is a removed user."""
    headers = page.become(Role.OPERATOR)
    page.users.set_role("operator", Role.VIEWER)
    assert 403 == (await page.client.post("/api/commands", json=HALT, headers=headers)).status
    page.users.remove("operator")
    assert 401 == (await page.client.get("/api/session")).status


async def test_another_password_ends_sessions(page: Surface) -> None:
    """Whoever got in with the old one is out."""
    page.become(Role.OPERATOR)
    page.users.set_password("operator", "another long password")
    assert 401 == (await page.client.get("/api/session")).status


# -- what they may ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(NEEDED))
async def test_a_command_takes_its_role(page: Surface, kind: ControlKind) -> None:
    """Lower roles are refused and the audit log hears of it; the right one is the author."""
    body = {"kind": kind.value, "reason": "why", "scope": "symbol:ACME", "lifts": 7}
    for role in Role:
        headers = page.become(role)
        answer = await page.client.post("/api/commands", json=body, headers=headers)
        allowed = role.covers(NEEDED[kind])
        assert (200 if allowed else 403) == answer.status
    authors = [each["author"] for each in page.acts.done]
    assert [role.value for role in Role if role.covers(NEEDED[kind])] == authors
    assert {"kind": kind, "reason": "why", "scope": "symbol:ACME", "lifts": 7}.items() <= (
        page.acts.done[-1].items()
    )
    refused = [each["author"] for each in page.told if each["kind"] is SecurityEventKind.REFUSAL]
    assert [role.value for role in Role if not role.covers(NEEDED[kind])] == refused


def test_resuming_takes_the_risk_officer_and_halting_an_operator() -> None:
    """What lifts takes more than what restricts."""
    assert Role.OPERATOR is NEEDED[ControlKind.HALT] is NEEDED[ControlKind.ISOLATE]
    assert Role.RISK_OFFICER is NEEDED[ControlKind.RESUME] is NEEDED[ControlKind.RESET]
    assert ControlKind.TRIP not in NEEDED


async def test_what_is_not_given_from_here_is_refused(page: Surface) -> None:
    """A TRIP is for stages to raise."""
    headers = page.become(Role.RISK_OFFICER)
    body = {"kind": "TRIP", "reason": "why", "scope": "throttle:ACME"}
    assert 400 == (await page.client.post("/api/commands", json=body, headers=headers)).status


@pytest.mark.parametrize(
    ("path", "done"),
    [
        ("/api/alerts/a1/acknowledge", {"alert": "a1"}),
        ("/api/emergencies/e1/acknowledge", {"emergency": "e1"}),
    ],
)
async def test_an_operator_takes_things_on(page: Surface, path: str, done: dict[str, str]) -> None:
    """Acknowledgements carry their author and note; viewers give none."""
    body = {"note": "on it"}
    viewer = page.become(Role.VIEWER)
    assert 403 == (await page.client.post(path, json=body, headers=viewer)).status
    operator = page.become(Role.OPERATOR)
    assert 200 == (await page.client.post(path, json=body, headers=operator)).status
    assert [{**done, "author": "operator", "note": "on it"}] == page.acts.done


async def test_a_flow_is_looked_for_where_its_symbol_lies(page: Surface) -> None:
    """Of a flow that the page lists the symbol is known, of another not."""
    page.become(Role.VIEWER)
    for flow in ("f1", "f2"):
        assert {"flow_id": flow} == await (await page.client.get(f"/api/flows/{flow}")).json()
    assert [("f1", "ACME"), ("f2", None)] == page.searched


# -- what is refused -------------------------------------------------------------------------------


async def test_without_its_token_no_request_changes_anything(page: Surface) -> None:
    """A cookie alone, as another site could have it sent, is not enough."""
    page.become(Role.RISK_OFFICER)
    for headers in ({}, {"X-CSRF-Token": "wrong"}):
        answer = await page.client.post("/api/commands", json=HALT, headers=headers)
        assert 403 == answer.status
    assert [] == page.acts.done
    assert {"no CSRF token"} == {each["detail"] for each in page.told}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
    ],
)
async def test_other_sites_are_refused(page: Surface, headers: dict[str, str], status: int) -> None:
    """Neither another origin nor a name that was rebound to this machine gets anything."""
    own = page.become(Role.RISK_OFFICER)
    answer = await page.client.post("/api/commands", json=HALT, headers={**own, **headers})
    assert status == answer.status
    assert [] == page.acts.done


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{" + b'"reason": "' + b"x" * 20_000 + b'"}', "application/json", 413),
        (b'{"kind": "HALT", "reason": "r"}', "text/plain", 415),
        (b"kind=HALT&reason=r", "application/x-www-form-urlencoded", 415),
        (b'{"kind": "HALT"}', "application/json", 400),
        (b'{"kind": "HALT", "reason": ""}', "application/json", 400),
        (b'{"kind": "HALT", "reason": "r", "author": "eve"}', "application/json", 400),
        (b'{"kind": "HALT", "reason": "r", "lifts": 1e999}', "application/json", 400),
        (b'{"kind": "NONSENSE", "reason": "r"}', "application/json", 400),
        (b"[" * 16_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"", "application/json", 400),
    ],
)
async def test_bodies_that_are_not_expected_are_refused(
    page: Surface, body: bytes, kind: str, status: int
) -> None:
    """Too long, of another type or shape: a clear answer, and nothing is done."""
    headers = {**page.become(Role.RISK_OFFICER), "Content-Type": kind}
    answer = await page.client.post("/api/commands", data=body, headers=headers)
    assert status == answer.status
    assert "error" in await answer.json()
    assert [] == page.acts.done


async def test_commands_are_limited_but_a_halt_gets_through(page: Surface) -> None:
    """Whoever commands too often waits; a halt does not wait for that."""
    headers = page.become(Role.OPERATOR)
    body = {"kind": "ISOLATE", "reason": "r", "scope": "symbol:ACME"}
    statuses = [
        (await page.client.post("/api/commands", json=body, headers=headers)).status
        for _ in range(11)
    ]
    assert [200] * 10 + [429] == statuses
    assert 200 == (await page.client.post("/api/commands", json=HALT, headers=headers)).status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("Expected a halt to lift, was none"), 409),
        (BrokerUnavailable("Expected a broker, was none"), 503),
        (RuntimeError("secret inside"), 500),
    ],
)
async def test_what_fails_is_said_without_its_insides(
    page: Surface, error: Exception, status: int
) -> None:
    """Our own errors are sentences for people; others stay in the log."""
    page.acts.error = error
    headers = page.become(Role.OPERATOR)
    answer = await page.client.post("/api/commands", json=HALT, headers=headers)
    assert status == answer.status
    said = (await answer.json())["error"]
    assert (str(error) == said) is (status != 500)
    assert "secret" not in said


# -- pictures --------------------------------------------------------------------------------------


async def test_pictures_are_streamed_until_the_user_is_gone(page: Surface) -> None:
    """Each browser gets pictures, and none any more once its user may not look."""
    page.become(Role.VIEWER)
    async with page.client.get("/api/events") as answer:
        assert "text/event-stream" == answer.content_type
        assert b"event: picture\n" == await answer.content.readline()
        assert b'data: {"at":1.0}\n' == await answer.content.readline()
        page.users.remove("viewer")
        rest = await answer.content.read()
    assert rest.endswith(b"event: logged-out\ndata: {}\n\n")
    assert 0 == page.pictures.streams


async def test_only_so_many_streams_are_open(page: Surface) -> None:
    """One more than there may be is refused, and does not count."""
    page.become(Role.VIEWER)
    page.pictures.streams = 50
    assert 503 == (await page.client.get("/api/events")).status
    assert 50 == page.pictures.streams
