"""Whatever arrives by HTTP: no crash, no hang, and nothing is done that was not allowed."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from pipeline.dashboard.limits import RateLimit
from pipeline.dashboard.users import Role
from pipeline.packets.events import ControlKind
from tests.unit.dashboard.surface import Surface

_EXAMPLES = 60
# One server for all examples of a test; they leave nothing behind that another could see.
_CALM = settings(
    max_examples=_EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_PATHS = (
    "/api/login",
    "/api/logout",
    "/api/commands",
    "/api/alerts/a1/acknowledge",
    "/api/emergencies/e1/acknowledge",
)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
_documents = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
_commands = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from([*ControlKind]) | _scalars,
        "reason": st.text(max_size=600) | _scalars,
        "scope": st.sampled_from(["*", "stage:risk", "symbol:A"]) | _scalars,
        "lifts": st.integers() | _scalars,
        "author": st.text(max_size=5),
    },
)


class Probe:
    """Sends requests to a server from tests that are no coroutines."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self._runner = runner
        self.surface = runner.run(self._start(folder))

    async def _start(self, folder: Path) -> Surface:
        surface = Surface(folder)
        await surface.client.start_server()
        return surface

    def close(self) -> None:
        """End the server."""
        self._runner.run(self.surface.client.close())

    def send(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        """Send a request; return status and body of the answer."""

        async def ask() -> tuple[int, bytes]:
            client = self.surface.client
            url = client.make_url("/").with_path(path, encoded=False)
            async with client.session.request(method, URL(url), **options) as answer:
                return answer.status, await answer.read()

        return self._runner.run(asyncio.wait_for(ask(), 60.0))

    def send_raw(self, content: bytes) -> None:
        """Send bytes that need not be HTTP, and wait until the server hangs up or answers."""

        async def talk() -> None:
            server = self.surface.client
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(content)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 60.0)
            writer.close()

        self._runner.run(talk())

    def healthy(self) -> bool:
        """Say whether the server still answers."""
        return self.send("GET", "/healthz")[0] == 200


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Probe]:
    """A server that anything may be sent to, however often."""
    monkeypatch.setattr(RateLimit, "take", lambda *_: 0.0)
    with asyncio.Runner() as runner:
        found = Probe(runner, tmp_path)
        yield found
        found.close()


@pytest.fixture
def officer(probe: Probe) -> dict[str, str]:
    """Headers of a risk officer who is logged in."""
    return probe.surface.become(Role.RISK_OFFICER)


@_CALM
@given(path=st.sampled_from(_PATHS), body=st.binary(max_size=300) | _documents.map(json.dumps))
def test_strangers_achieve_nothing(probe: Probe, path: str, body: bytes | str) -> None:
    """Any body to any path: refused, never a fault of the server, nothing done."""
    status, answer = probe.send(
        "POST", path, data=body, headers={"Content-Type": "application/json"}
    )
    assert status in {400, 401, 413, 415}
    assert "error" in json.loads(answer)
    assert [] == probe.surface.acts.done


@_CALM
@given(body=_commands)
def test_only_commands_that_are_whole_are_given(
    probe: Probe, officer: dict[str, str], body: dict[str, Any]
) -> None:
    """A command that reaches the desk has all that it must have, and its user as author."""
    probe.surface.acts.done.clear()
    status, answer = probe.send("POST", "/api/commands", json=body, headers=officer)
    assert status in {200, 400}
    assert status != 200 or "said" in json.loads(answer)
    for done in probe.surface.acts.done:
        assert "risk-officer" == done["author"]
        assert 1 <= len(done["reason"]) <= 500
        assert -1 <= done["lifts"] <= 2**62
        assert "author" not in body


@_CALM
@given(
    path=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"]),
)
def test_any_path_is_answered(
    probe: Probe, officer: dict[str, str], path: str, method: str
) -> None:
    """What is not there is 404, what is not done so 405; no file beside the page is served."""
    status, _ = probe.send(method, f"/{path}", headers=officer)
    assert status in {200, 400, 404, 405, 415}
    assert [] == probe.surface.acts.done


@_CALM
@given(
    cookie=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200),
    token=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200),
)
def test_no_made_up_session_is_one(probe: Probe, cookie: str, token: str) -> None:
    """A cookie and a token that nobody gave out let nobody in."""
    headers = {"Cookie": f"cascade={cookie}", "X-CSRF-Token": token}
    body = {"kind": "HALT", "reason": "r"}
    assert 401 == probe.send("POST", "/api/commands", json=body, headers=headers)[0]
    assert [] == probe.surface.acts.done


@_CALM
@given(content=st.binary(max_size=400), head=st.sampled_from([b"", b"GET / HTTP/1.1\r\n"]))
def test_bytes_that_are_no_http_end_their_connection_alone(
    probe: Probe, content: bytes, head: bytes
) -> None:
    """The server goes on for all others."""
    probe.send_raw(head + content)
    assert probe.healthy()
