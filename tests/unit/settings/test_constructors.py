"""The components' constructors take the settings of the specification, by the table's names."""

import inspect
from typing import Any

import pytest

import pipeline.cascade
from pipeline.events import EventBus
from pipeline.settings import SPECIFIED, EmergencyContact, SettingName, Settings, load_settings

CHANGED = {
    "max_concurrent_flows": 7,
    "cascade_timeout_ms": 170,
    "emergency_threshold": 0.5,
    "coordination.heartbeat_interval": 0.5,
    "coordination.sync_timeout": 3.0,
    "coordination.max_concurrent_requests": 9,
    "performance.target_latency_ms": 55.0,
    "performance.sampling_interval": 0.5,
    "performance.report_interval": 2.0,
    "performance.history_size": 99,
    "validation.interval": 2.0,
    "validation.deep_interval": 9.0,
    "validation.max_concurrent_validations": 3,
    "emergency.response_timeout": 11.0,
    "emergency.recovery_attempts": 5,
    "emergency.emergency_contacts": (EmergencyContact(name="a", contact="a", type="log"),),
}
IDS = [name.setting for name in SPECIFIED]


def _settings(name: SettingName) -> Settings:
    section, _, key = name.setting.partition(".")
    value = CHANGED[name.setting]
    return load_settings(**({section: {key: value}} if key else {section: value}))


@pytest.mark.parametrize("name", SPECIFIED, ids=IDS)
def test_each_setting_is_an_argument_of_its_component(name: SettingName) -> None:
    """Every setting has the argument that the table names, and None there means the setting."""
    component = getattr(pipeline.cascade, name.component)
    parameter = inspect.signature(component).parameters[name.argument]
    assert parameter.default is None


@pytest.mark.parametrize("name", SPECIFIED, ids=IDS)
def test_a_component_begins_with_its_setting(name: SettingName) -> None:
    """Without an argument a component has the value of the settings, and connects to nothing."""
    bus = EventBus("127.0.0.1:1", _settings(name))
    component = getattr(pipeline.cascade, name.component)
    quiet = {"continuous": False} if name.setting.startswith("validation") else {}
    made = component(event_bus=bus, **quiet)
    try:
        assert CHANGED[name.setting] == _value(made, name)
    finally:
        (made.close if hasattr(made, "close") else made.shutdown)()
        bus.close()


def _value(component: Any, name: SettingName) -> object:
    """Return what a component made of a setting."""
    if name.argument == "emergency_contacts":
        return tuple(
            EmergencyContact(name=each.name, contact=each.contact_info, type=each.contact_type)
            for each in component.emergency_contacts
        )
    if name.argument == "max_concurrent_validations":
        return component._most
    holder = component._settings if name.yaml[0] == "cascade" else component
    return getattr(holder, name.argument)
