"""The models and the schemas say the same."""

from enum import Enum
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from pipeline.errors import ConfigurationError
from pipeline.packets import events, models, schemas, vocabulary
from tests.unit.packets.generation import MODELS

_BY_NAME = {model.__name__: model for model in MODELS}
_ENUMERATIONS = {
    name: found
    for module in (vocabulary, events)
    for name in module.__all__
    if isinstance(found := getattr(module, name), type) and issubclass(found, Enum)
}


def _shape_of_schema(kind: Any) -> Any:
    if isinstance(kind, list):
        assert kind[0] == "null"
        assert len(kind) == 2
        return ("optional", _shape_of_schema(kind[1]))
    if isinstance(kind, str):
        return kind.removeprefix("cascade.")
    if kind["type"] in ("record", "enum"):
        return kind["name"].removeprefix("cascade.")
    if kind["type"] == "array":
        return ("array", _shape_of_schema(kind["items"]))
    if kind["type"] == "map":
        return ("map", _shape_of_schema(kind["values"]))
    return kind["type"]


def _shape_of_model(kind: inspect.Type) -> Any:  # noqa: PLR0911  # one kind of type each
    match kind:
        case inspect.UnionType(types=types):
            (held,) = [each for each in types if not isinstance(each, inspect.NoneType)]
            return ("optional", _shape_of_model(held))
        case inspect.StructType(cls=cls) | inspect.EnumType(cls=cls):
            return cls.__name__
        case inspect.VarTupleType(item_type=item):
            return ("array", _shape_of_model(item))
        case inspect.DictType(value_type=value):
            return ("map", _shape_of_model(value))
        case inspect.FloatType():
            return "double"
        case inspect.IntType(ge=least, le=most):
            assert least is not None
            assert most is not None
            return ("long", "int") if most <= 2**31 - 1 and least >= -(2**31) else "long"
        case inspect.StrType():
            return "string"
        case inspect.BytesType():
            return "bytes"
        case inspect.BoolType():
            return "boolean"
    raise NotImplementedError(kind)


def _defaults_of_schema(schema: Any) -> dict[str, Any]:
    return {f["name"]: f["default"] for f in schema["fields"] if "default" in f}


def _default_of_model(field: inspect.Field) -> Any:
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return msgspec.json.decode(msgspec.json.encode(value))


def test_every_schema_has_a_model_and_every_model_a_schema() -> None:
    """No schema is without a model or an enumeration, and none of those without a schema."""
    # A priority travels as a plain number, so that there may be more of them.
    enumerations = _ENUMERATIONS.keys() - {"Priority"}
    assert set(schemas.names()) == _BY_NAME.keys() | enumerations


@pytest.mark.parametrize("name", sorted(_BY_NAME))
def test_a_model_has_the_fields_of_its_schema(name: str) -> None:
    """Names, order, types and nullability are the same on both sides."""
    info = inspect.type_info(_BY_NAME[name])
    assert isinstance(info, inspect.StructType)
    declared = [(f["name"], _shape_of_schema(f["type"])) for f in schemas.current(name)["fields"]]
    modelled = [(field.encode_name, _shape_of_model(field.type)) for field in info.fields]
    assert len(declared) == len(modelled)
    for (schema_name, schema_shape), (model_name, model_shape) in zip(
        declared, modelled, strict=True
    ):
        assert schema_name == model_name
        # A model may bound an integer more tightly than Avro's two widths can.
        either = model_shape if model_shape == ("long", "int") else (model_shape,)
        assert schema_shape in either, schema_name


@pytest.mark.parametrize("name", sorted(_BY_NAME))
def test_a_model_has_the_defaults_of_its_schema(name: str) -> None:
    """What may be left out is the same on both sides, with the same meaning."""
    info = inspect.type_info(_BY_NAME[name])
    assert isinstance(info, inspect.StructType)
    expected = {
        field.encode_name: _default_of_model(field) for field in info.fields if not field.required
    }
    declared = _defaults_of_schema(schemas.current(name))
    assert declared.keys() >= {key for key, value in expected.items() if value is None}, (
        "an optional field needs a default in the schema"
    )
    assert {key: expected.get(key) for key in declared} == declared


@pytest.mark.parametrize("name", sorted(_ENUMERATIONS.keys() - {"Priority"}))
def test_an_enumeration_has_the_symbols_of_its_schema(name: str) -> None:
    """Symbols and their order are the same on both sides."""
    assert [member.value for member in _ENUMERATIONS[name]] == schemas.current(name)["symbols"]


def test_the_lists_of_models_are_complete() -> None:
    """Every model and enumeration of the modules is public."""
    for module in (models, events):
        found = {
            name
            for name, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, msgspec.Struct | Enum)
            and value.__module__ == module.__name__
        }
        assert found <= set(module.__all__)


def test_an_unknown_schema_is_an_error_that_names_its_file() -> None:
    """Asking for a schema that is not there says where it was looked for."""
    with pytest.raises(ConfigurationError, match=r"cascade\.Nothing\.avsc"):
        schemas.current("Nothing")


def test_the_recorded_schemas_are_named_after_their_content() -> None:
    """Every file of the history loads under its own fingerprint."""
    assert {name for name, _ in schemas.history().values()} <= set(schemas.names())
