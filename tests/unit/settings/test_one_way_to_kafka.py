"""Every Kafka client of the project gets its properties from one place: `Settings.client`."""

import ast
from pathlib import Path

import pipeline

_CLIENTS = {"Producer", "Consumer", "AdminClient", "DeserializingConsumer", "SerializingProducer"}
_EXEMPT = {
    # They are handed an address and properties, not settings.
    "broker/probe.py",
    # Other programs, which the bench runs beside ours on a broker of its own.
    "bench/peers/loop.py",
}
_ROOT = Path(pipeline.__file__).parent


def _makes_clients(tree: ast.AST) -> bool:
    imported = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("confluent_kafka")
        for name in node.names
    }
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in imported & _CLIENTS
        for node in ast.walk(tree)
    )


def _asks_settings(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "client"
        for node in ast.walk(tree)
    )


def test_every_client_is_made_of_the_settings() -> None:
    """So TLS and SASL hold for all of them, and nobody forgets one."""
    makers, strangers = 0, []
    for path in sorted(_ROOT.rglob("*.py")):
        name = path.relative_to(_ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if name in _EXEMPT or not _makes_clients(tree):
            continue
        makers += 1
        if not _asks_settings(tree):
            strangers.append(name)
    assert strangers == []
    assert makers > 10
