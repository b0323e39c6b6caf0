"""The proxy of the fault tests: forwards, holds, swallows and tears frames as it is told."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.faults.frames import Api, Fate, Frame
from tests.faults.proxy import FaultProxy

_TIMEOUT_S = 10.0


def _request(correlation: int, content: bytes, api: int = Api.PRODUCE) -> bytes:
    body = struct.pack(">hhi", api, 9, correlation) + content
    return struct.pack(">i", len(body)) + body


def _read(connection: socket.socket) -> bytes:
    """Return the next frame without its size; what came of it where the connection ends."""
    parts = b""
    wanted = 4
    while len(parts) < wanted:
        try:
            part = connection.recv(wanted - len(parts))
        except ConnectionResetError:
            part = b""
        if not part:
            return parts[4:]
        parts += part
        if wanted == 4 and len(parts) == 4:
            wanted += struct.unpack(">i", parts)[0]
    return parts[4:]


class _Broker:
    """Answers each request with its correlation id and its own address; keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.arrived = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while body := _read(connection):
                self.requests.append(body)
                self.arrived.set()
                answer = body[4:8] + b"127.0.0.1" + struct.pack(">i", self.port)
                connection.sendall(struct.pack(">i", len(answer)) + answer)

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def broker() -> Iterator[_Broker]:
    """A broker that answers everything."""
    made = _Broker()
    yield made
    made.close()


@pytest.fixture
def proxy(broker: _Broker) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy(f"127.0.0.1:{broker.port}") as made:
        yield made


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    """A connection to the proxy."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=_TIMEOUT_S) as made:
        yield made


def test_frames_pass_unchanged(client: socket.socket, broker: _Broker) -> None:
    """Without a rule nothing changes but the address in metadata."""
    client.sendall(_request(7, b"records"))
    assert struct.pack(">i", 7) + b"127.0.0.1" + struct.pack(">i", broker.port) == _read(client)
    assert [_request(7, b"records")[4:]] == broker.requests


def test_metadata_names_the_proxy(client: socket.socket, proxy: FaultProxy) -> None:
    """So that a client that follows it stays behind the proxy."""
    client.sendall(_request(7, b"", Api.METADATA))
    assert struct.pack(">i", proxy.port) == _read(client)[-4:]


def test_a_rule_sees_both_ways(client: socket.socket, proxy: FaultProxy) -> None:
    """A request when it is sent, and again beside its response."""
    seen: list[Frame] = []

    def rule(frame: Frame) -> Fate:
        seen.append(frame)
        return Fate.PASS

    proxy.rule = rule
    client.sendall(_request(7, b"records"))
    _read(client)
    asked, answered = seen
    assert asked.asks(Api.PRODUCE, b"records")
    assert not asked.asks(Api.PRODUCE, b"others")
    assert answered.acknowledges(b"records")
    assert not asked.acknowledges(b"records")


def test_a_held_frame_goes_on_when_released(
    client: socket.socket, proxy: FaultProxy, broker: _Broker
) -> None:
    """It waits, and all behind it on the connection; another connection does not."""
    proxy.rule = lambda frame: Fate.HOLD if frame.asks(Api.PRODUCE, b"late") else Fate.PASS
    client.sendall(_request(1, b"late") + _request(2, b"next"))
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=_TIMEOUT_S) as other:
        other.sendall(_request(3, b"other"))
        assert struct.pack(">i", 3) == _read(other)[:4]
    assert [b"other"] == [each[8:] for each in broker.requests]
    proxy.reset()
    assert [struct.pack(">i", 1), struct.pack(">i", 2)] == [_read(client)[:4] for _ in range(2)]


def test_a_dropped_response_leaves_the_connection(
    client: socket.socket, proxy: FaultProxy, broker: _Broker
) -> None:
    """The broker took the request, and the client hears of the next one only."""
    proxy.rule = lambda frame: Fate.DROP if frame.acknowledges(b"lost") else Fate.PASS
    client.sendall(_request(1, b"lost") + _request(2, b"next"))
    assert struct.pack(">i", 2) == _read(client)[:4]
    assert 2 == len(broker.requests)


@pytest.mark.parametrize("fate", [Fate.CUT, Fate.TEAR])
def test_a_cut_or_torn_request_never_arrives(
    client: socket.socket, proxy: FaultProxy, broker: _Broker, fate: Fate
) -> None:
    """The connection ends on both sides, and the broker has no whole request."""
    proxy.rule = lambda frame: fate if frame.asks(Api.PRODUCE, b"cut") else Fate.PASS
    client.sendall(_request(1, b"cut"))
    assert b"" == _read(client)
    assert _request(1, b"cut")[4:] not in broker.requests


def test_refused_and_cut_connections(client: socket.socket, proxy: FaultProxy) -> None:
    """`cut` ends what is there, `refusing` what comes."""
    client.sendall(_request(1, b"first"))
    _read(client)
    proxy.refusing = True
    proxy.cut()
    assert b"" == _read(client)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=_TIMEOUT_S) as other:
        assert b"" == _read(other)


def test_a_group_may_be_renamed(broker: _Broker) -> None:
    """A worker joins another group than it believes; topics of that name stay as they are."""
    with (
        FaultProxy(f"127.0.0.1:{broker.port}", rename=(b"risk", b"ris~")) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=_TIMEOUT_S) as client,
    ):
        client.sendall(_request(1, b"group risk", api=11))
        _read(client)
        client.sendall(_request(2, b"topic risk"))
        _read(client)
    assert [b"group ris~", b"topic risk"] == [each[8:] for each in broker.requests]
