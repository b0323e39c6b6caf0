"""Signatures: what counts, and what does not."""

import stat
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError, SignatureRefused, UsageError
from pipeline.keys import SIGNATURE, Purpose, RingFile, Signer
from pipeline.keys.signing import Headers
from pipeline.settings import load_settings
from tests.unit.keys.key_factories import START_US, Keys

_TOPIC = "desk.cascade.control"
_SECOND = 1_000_000


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """A ring with one key, `ops`."""
    keys = Keys(tmp_path)
    keys.new("ops", Purpose.CONTROL, "mary")
    return keys


def _signed(keys: Keys, value: bytes = b"value") -> Headers:
    return keys.signer("ops").sign(_TOPIC, value, Purpose.CONTROL)


def _check(
    keys: Keys,
    headers: Headers | None,
    value: bytes = b"value",
    *,
    topic: str = _TOPIC,
    at_us: int = START_US,
    purpose: Purpose = Purpose.CONTROL,
) -> str:
    return keys.verifier().check(topic, value, headers, at_us, (purpose,)).id


def test_what_was_signed_counts(keys: Keys) -> None:
    """The key is named."""
    assert _check(keys, _signed(keys)) == "ops"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value": b"valuf"}, "over these bytes"),
        ({"value": b""}, "over these bytes"),
        ({"topic": "other.cascade.control"}, "for other.cascade.control"),
        ({"topic": "desk.cascade.execution"}, "for desk.cascade.execution"),
        ({"purpose": Purpose.PLANS}, "a key for plans"),
        ({"at_us": START_US - 3600 * _SECOND}, "not valid yet"),
    ],
)
def test_anything_else_does_not_count(keys: Keys, changes: dict[str, object], why: str) -> None:
    """Other bytes, another namespace or topic, another purpose, another time."""
    with pytest.raises(SignatureRefused, match=why):
        _check(keys, _signed(keys), **changes)  # type: ignore[arg-type]  # one of several kinds


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "was none"),
        ([], "was none"),
        ([(SIGNATURE, None)], "usual length"),
        ([(SIGNATURE, b"x" * 10_000)], "usual length"),
        ([(SIGNATURE, b"ops")], "64 bytes"),
        ([(SIGNATURE, b"ops:%%%%")], "base64"),
        ([(SIGNATURE, b"ops:" + b"A" * 86 + b"==")], "over these bytes"),
        ([(SIGNATURE, b"other:" + b"A" * 86 + b"==")], "by a key of the ring"),
        ([(SIGNATURE, b"\xff\xfe:" + b"A" * 86 + b"==")], "by a key of the ring"),
    ],
)
def test_what_is_no_signature_is_refused(keys: Keys, header: Headers | None, why: str) -> None:
    """Whatever stands in its place, the refusal says what was expected."""
    with pytest.raises(SignatureRefused, match=why):
        _check(keys, header)


def test_two_signatures_are_none(keys: Keys) -> None:
    """Or a reader that takes the last and one that takes the first would disagree."""
    with pytest.raises(SignatureRefused, match="2 of them"):
        _check(keys, _signed(keys) * 2)


def test_a_revoked_key_signs_nothing_more_and_what_it_signed_before_counts(keys: Keys) -> None:
    """So that a halt is not lifted by revoking the key that gave it."""
    headers, signer = _signed(keys), keys.signer("ops")
    keys.clock.us += _SECOND
    keys.maker.revoke("ops")
    assert _check(keys, headers, at_us=START_US) == "ops"
    with pytest.raises(SignatureRefused, match="revoked"):
        _check(keys, headers, at_us=START_US + _SECOND)
    with pytest.raises(SignatureRefused, match="revoked"):
        signer.sign(_TOPIC, b"value", Purpose.CONTROL)


def test_rotation_leaves_time_to_take_the_new_key(keys: Keys) -> None:
    """Both count at first, then the new one alone; a signer takes the new file by itself."""
    old, signer = _signed(keys), keys.signer("ops")
    new = keys.maker.rotate("ops", keys.file("ops"), grace_s=60.0)
    assert (new.id, new.purpose, new.authors) == ("ops-2", Purpose.CONTROL, ("mary",))
    assert _check(keys, signer.sign(_TOPIC, b"value", Purpose.CONTROL)) == "ops-2"
    assert _check(keys, old, at_us=START_US + 59 * _SECOND) == "ops"
    with pytest.raises(SignatureRefused, match="replaced"):
        _check(keys, old, at_us=START_US + 60 * _SECOND)
    again = keys.maker.rotate("ops-2", keys.file("ops"), grace_s=0.0)
    assert again.id == "ops-3"


def test_a_running_verifier_learns_of_a_revocation(keys: Keys) -> None:
    """It looks at the ring's file each time."""
    verifier, headers = keys.verifier(), _signed(keys)
    verifier.check(_TOPIC, b"value", headers, START_US, (Purpose.CONTROL,))
    keys.maker.revoke("ops")
    with pytest.raises(SignatureRefused, match="revoked"):
        verifier.check(_TOPIC, b"value", headers, START_US, (Purpose.CONTROL,))


def test_a_ring_that_is_spoilt_leaves_what_was_known(keys: Keys) -> None:
    """A slip of an editor must not stop everybody."""
    verifier, headers = keys.verifier(), _signed(keys)
    keys.path.write_text("{")
    verifier.check(_TOPIC, b"value", headers, START_US, (Purpose.CONTROL,))
    with pytest.raises(ConfigurationError, match="key ring"):
        RingFile(keys.path)


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 2, "required_from": 0, "keys": []}',
        '{"version": 1, "required_from": 0, "keys": [], "more": 1}',
        (
            '{"version": 1, "required_from": 0, "keys": [{"id": "a", "purpose": "control",'
            ' "public": "short", "valid_from": 0}]}'
        ),
        "[" * 100_000,
    ],
)
def test_a_ring_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    """With a sentence, whatever it is."""
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="Expected"):
        RingFile(path)


def test_private_keys_are_closed_to_others(keys: Keys) -> None:
    """They are made so, and refused otherwise; nothing of them is told."""
    file = keys.file("ops")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod o="):
        keys.signer("ops")
    file.chmod(0o600)
    file.write_text("hunter2")
    with pytest.raises(ConfigurationError, match="Ed25519 private key") as caught:
        keys.signer("ops")
    assert "hunter2" not in str(caught.value)


def test_a_process_without_a_key_cannot_sign(keys: Keys) -> None:
    """The refusal says how to get one."""
    settings = load_settings(keys=keys.path)
    signer = Signer.of(settings)
    assert signer is not None
    assert not signer.may(Purpose.CONTROL, Purpose.RESTRICT)
    with pytest.raises(SignatureRefused, match="CASCADE_SIGNING_KEY"):
        signer.sign(_TOPIC, b"value", Purpose.CONTROL)
    assert Signer.of(load_settings()) is None


def test_a_key_signs_for_its_purpose_only(keys: Keys) -> None:
    """A stranger's key signs nothing at all."""
    with pytest.raises(SignatureRefused, match=r"for plans .*was one for control"):
        keys.signer("ops").sign(_TOPIC, b"value", Purpose.PLANS)
    others = Keys(keys.folder / "others")
    others.folder.mkdir()
    others.new("ops", Purpose.CONTROL)
    keys.file("ops").write_bytes(others.file("ops").read_bytes())
    with pytest.raises(SignatureRefused, match="stranger"):
        _signed(keys)


def test_a_key_is_made_once(keys: Keys) -> None:
    """Neither a known id nor an existing file is overwritten, and odd ids are refused."""
    with pytest.raises(UsageError, match="no key has"):
        keys.new("ops", Purpose.CONTROL)
    with pytest.raises(UsageError, match="no file"):
        keys.maker.new("other", Purpose.PLANS, (), keys.file("ops"))
    with pytest.raises(UsageError, match="another id"):
        keys.new("a b", Purpose.PLANS)
    with pytest.raises(UsageError, match=r"\(ops\), was nobody"):
        keys.maker.revoke("nobody")
