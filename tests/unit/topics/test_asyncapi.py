import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft7Validator

from pipeline.cli import main
from pipeline.packets import schemas
from pipeline.settings import load_settings
from pipeline.topics.asyncapi import document
from pipeline.topics.file import TopicFile

FOLDER = Path(__file__).parent / "asyncapi"
FILE = TopicFile.load()


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    """Return a validator of AsyncAPI 3.0.0 documents."""
    return Draft7Validator(json.loads(gzip.decompress((FOLDER / "3.0.0.json.gz").read_bytes())))


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """Return the document of the project's own topics."""
    return document(FILE, load_settings(namespace="prod", topic_profile="cluster"))


def test_the_schema_is_the_one_that_its_metadata_describes() -> None:
    """What was vendored is what its origin, size and hash say."""
    metadata = json.loads((FOLDER / "3.0.0.metadata.json").read_text())
    content = (FOLDER / metadata["file"]).read_bytes()
    assert (metadata["size_bytes"], metadata["sha256"]) == (
        len(content), hashlib.sha256(content).hexdigest(),
    )  # fmt: skip


def test_the_document_is_valid(validator: Draft7Validator, made: dict[str, Any]) -> None:
    """It has no error by the schema of AsyncAPI 3.0.0."""
    assert [] == [error.message[:300] for error in validator.iter_errors(made)]


def test_the_validator_finds_faults(validator: Draft7Validator, made: dict[str, Any]) -> None:
    """A document that is spoilt is seen to be, or the test above would pass for nothing."""
    channel = made["channels"]["cascade.market"]
    spoilt = {**made, "channels": {"cascade.market": {**channel, "address": 5}}}
    assert list(validator.iter_errors(spoilt))
    assert list(validator.iter_errors({**made, "asyncapi": "2.6.0"}))


def test_every_topic_and_every_role_is_in_it(made: dict[str, Any]) -> None:
    """Channels are the topics under the namespace; operations are producers and consumers."""
    addresses = {channel["address"] for channel in made["channels"].values()}
    assert {f"prod.{name}" for name in FILE.topics} == addresses
    expected = {
        *((role, "send", name) for name, t in FILE.topics.items() for role in t.producers),
        *((role, "receive", name) for name, t in FILE.topics.items() for role in t.consumers),
    }
    said = {
        (each["tags"][0]["name"], each["action"], each["channel"]["$ref"].split("/")[-1])
        for each in made["operations"].values()
    }
    assert expected == said
    bindings = made["channels"]["cascade.market"]["bindings"]["kafka"]
    assert (4, 3) == (bindings["partitions"], bindings["replicas"])


def test_every_reference_leads_somewhere(made: dict[str, Any]) -> None:
    """Channels and messages that are named are there."""

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return (
            [found for item in node for found in references(item)] if isinstance(node, list) else []
        )

    found = references(made)
    assert len(found) > len(FILE.topics)
    for reference in found:
        node: Any = made
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_messages_carry_their_schemas(made: dict[str, Any]) -> None:
    """A packet's payload is its Avro schema in full; dead letters have headers instead."""
    messages = made["components"]["messages"]
    schema = messages["ExecutionPlan"]["payload"]["schema"]
    expected = [field["name"] for field in schemas.current("ExecutionPlan")["fields"]]
    assert expected == [field["name"] for field in schema["fields"]]
    headers = messages["BytesDeadLetter"]["headers"]["properties"]
    assert "__cascade.errors.class" in headers


def test_the_command_writes_it_as_yaml_and_as_json() -> None:
    """Both forms say the same."""
    as_yaml = CliRunner().invoke(main, ["topics", "asyncapi"])
    as_json = CliRunner().invoke(main, ["topics", "asyncapi", "--json"])
    assert (0, 0) == (as_yaml.exit_code, as_json.exit_code)
    assert yaml.safe_load(as_yaml.output) == json.loads(as_json.output)
    assert "3.0.0" == json.loads(as_json.output)["asyncapi"]
