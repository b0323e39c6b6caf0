"""An AsyncAPI 3 document of the topics: channels, messages, and who sends and receives them.

Made from the topics file and `schemas/`, so it cannot say anything else than they do. By the
AsyncAPI specification 3.0 and its Kafka bindings 0.5: a topic is a channel, a record type a
message, and each (role, topic) of `producers` and `consumers` an operation.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline import __version__
from pipeline.packets import schemas
from pipeline.settings import Settings
from pipeline.topics.file import Profile, Topic, TopicFile

__all__ = ["document"]

_AVRO = "application/vnd.apache.avro"
_BINDINGS = "0.5.0"
_HEADER_PREFIX = "__cascade.errors."
_BYTES = "Bytes"
_FRAMING = (
    "Avro single-object encoding: C3 01, the 8-byte little-endian CRC-64-AVRO fingerprint of the"
    " schema, the Avro body."
)
_REGISTRY_FRAMING = (
    " Also read with a registry's framing: 00, the 4-byte big-endian schema id, the Avro body."
)


def document(file: TopicFile, settings: Settings) -> dict[str, Any]:
    """Return the document, as JSON has it.

    Args:
        file: The topics.
        settings: Broker, namespace, topic profile.

    Raises:
        ConfigurationError: If there is no such profile, or a schema is missing.
    """
    profile = file.profile(settings.topic_profile)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Inter-MARL Cascade",
            "version": __version__,
            "description": "Market data in, order plans out: the topics of the cascade.",
        },
        "defaultContentType": _AVRO,
        "servers": {
            "kafka": {
                "host": settings.broker or "localhost:9092",
                "protocol": _protocol(settings),
                "description": "The Kafka cluster of this installation.",
            }
        },
        "channels": {
            name: _channel(name, topic, profile, settings) for name, topic in file.topics.items()
        },
        "operations": dict(_operations(file, settings)),
        "components": {"messages": dict(_messages(file, settings))},
    }


def _protocol(settings: Settings) -> str:
    security = settings.connection().get("security.protocol", "PLAINTEXT").upper()
    return "kafka-secure" if "SSL" in security else "kafka"


def _names(topic: Topic) -> list[str]:
    """Return the messages of a topic; bytes that stay as they came are one too."""
    return topic.schemas or [f"{_BYTES}{topic.headers or ''}"]


def _channel(name: str, topic: Topic, profile: Profile, settings: Settings) -> dict[str, Any]:
    config = topic.config(profile)
    return {
        "address": settings.topic(name),
        "description": topic.description,
        "messages": {
            message: {"$ref": f"#/components/messages/{message}"} for message in _names(topic)
        },
        "bindings": {
            "kafka": {
                "topic": settings.topic(name),
                "partitions": topic.partitions,
                "replicas": profile.replication,
                "topicConfiguration": {
                    "cleanup.policy": [config["cleanup.policy"]],
                    "retention.ms": topic.retention_ms,
                    "retention.bytes": -1,
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": _BINDINGS,
            }
        },
    }


def _operations(file: TopicFile, settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, topic in file.topics.items():
        for role in topic.producers:
            yield f"{role}.sends.{name}", _operation("send", role, name, settings)
        for role in topic.consumers:
            yield f"{role}.receives.{name}", _operation("receive", role, name, settings)


def _operation(action: str, role: str, topic: str, settings: Settings) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": f"{role} {action}s {topic}.",
        "tags": [{"name": role}],
        "bindings": {
            "kafka": {
                "clientId": {"type": "string", "description": settings.group(f"cascade.{role}")},
                "bindingVersion": _BINDINGS,
            }
        },
    }


def _messages(file: TopicFile, settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    del settings
    keys: dict[str, set[str]] = {}
    for topic in file.topics.values():
        for name in _names(topic):
            keys.setdefault(name, set()).add(topic.key)
    for name in sorted(keys):
        message = _bytes(name) if name.startswith(_BYTES) else _packet(name)
        told = " or ".join(sorted(keys[name]))
        key = {"type": "string", "description": f"The {told}."}
        message["bindings"] = {"kafka": {"key": key, "bindingVersion": _BINDINGS}}
        yield name, message


def _packet(name: str) -> dict[str, Any]:
    schema = _plain(schemas.current(name))
    framing = _FRAMING + (_REGISTRY_FRAMING if name == "MarketData" else "")
    return {
        "name": name,
        "title": name,
        "summary": schema.get("doc", name),
        "description": framing,
        "contentType": _AVRO,
        "payload": {"schemaFormat": f"{_AVRO};version=1.9.0", "schema": schema},
        "tags": [{"name": schemas.fingerprint_of(schemas.current(name)).hex()}],
    }


def _bytes(name: str) -> dict[str, Any]:
    """Return a message of bytes as they came, with the headers of their record type."""
    message: dict[str, Any] = {
        "name": name,
        "title": name,
        "summary": "The bytes of a record unchanged, or none.",
        "contentType": "application/octet-stream",
        "payload": {"type": ["string", "null"], "format": "binary"},
    }
    if headers := name.removeprefix(_BYTES):
        fields: list[Mapping[str, Any]] = schemas.current(headers)["fields"]
        message["headers"] = {
            "type": "object",
            "properties": {
                f"{_HEADER_PREFIX}{field['name']}": {
                    "type": "string",
                    "description": field.get("doc", field["name"]),
                }
                for field in fields
            },
        }
    return message


def _plain(schema: Any) -> Any:
    """Return a parsed schema without the parser's notes, names and namespaces apart again."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if not key.startswith("__")}
    namespace, _, name = str(plain.get("name", "")).rpartition(".")
    return {**plain, "name": name, "namespace": namespace} if namespace else plain
