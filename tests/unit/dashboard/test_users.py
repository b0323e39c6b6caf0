"""Users, their passwords and sessions, and how often somebody may try."""

import stat
from pathlib import Path

import pytest

from pipeline.dashboard import passwords
from pipeline.dashboard.limits import RateLimit
from pipeline.dashboard.passwords import hash_password, verify_password
from pipeline.dashboard.sessions import Sessions
from pipeline.dashboard.users import Role, User, UserFile
from pipeline.errors import ConfigurationError, UsageError
from tests.unit.dashboard.surface import PASSWORD, hashed, write_users


@pytest.fixture
def users(tmp_path: Path) -> UserFile:
    """A file with a user of each role."""
    found = UserFile(tmp_path / "deep" / "users.json")
    write_users(found)
    return found


class Time:
    """Seconds that go on when told."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def test_a_password_is_kept_as_a_salted_hash() -> None:
    """The same password hashes differently each time, and only itself fits."""
    again = hash_password(PASSWORD)
    assert hashed() != again
    assert PASSWORD not in again
    assert verify_password(PASSWORD, again)
    assert not verify_password(PASSWORD + "!", again)


@pytest.mark.parametrize("password", ["", "elevenchars", "x" * 1025])
def test_a_password_has_a_length(password: str) -> None:
    """Short ones are guessed, and endless ones take endless time."""
    with pytest.raises(UsageError, match="Expected a password of 12 to 1024 characters"):
        hash_password(password)


@pytest.mark.parametrize("text", ["", "plain text", "scrypt$1$1$1$!!$!!", "scrypt$2$1$1$YQ==$YQ=="])
def test_what_is_no_hash_lets_nobody_in(text: str) -> None:
    """A file that was tampered with is an error, not a password."""
    with pytest.raises(ConfigurationError):
        verify_password("anything at all", text)


def test_only_its_owner_reads_the_file(users: UserFile) -> None:
    """It is written so, and one that others may read is refused."""
    assert 0o600 == stat.S_IMODE(users.path.stat().st_mode)
    users.path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"readable by its owner alone.*chmod 600"):
        UserFile(users.path).users()


def test_changes_are_seen_by_others_who_have_the_file(users: UserFile) -> None:
    """Another process sees an added, changed and removed user with its next look."""
    other = UserFile(users.path)
    assert {"viewer", "operator", "risk-officer"} == set(other.users())
    users.add("mary", Role.OPERATOR, PASSWORD)
    assert Role.OPERATOR is other.users()["mary"].role
    assert Role.OPERATOR is users.set_role("mary", Role.VIEWER).role
    assert Role.VIEWER is other.users()["mary"].role
    users.remove("mary")
    assert "mary" not in other.users()


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "a\nb", "<b>", "ä"])
def test_a_name_is_a_plain_word(users: UserFile, name: str) -> None:
    """Names go into logs and commands."""
    with pytest.raises(UsageError, match="Expected a name"):
        users.add(name, Role.VIEWER, PASSWORD)


def test_what_cannot_be_changed_is_said(users: UserFile) -> None:
    """A taken name and a user who is not there are errors, and change nothing."""
    before = users.path.read_bytes()
    with pytest.raises(UsageError, match="not taken, was viewer"):
        users.add("viewer", Role.RISK_OFFICER, PASSWORD)
    for change in (users.remove, lambda name: users.set_role(name, Role.OPERATOR)):
        with pytest.raises(UsageError, match="Expected a user"):
            change("nobody")
    assert before == users.path.read_bytes()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 1, "users": [{}]}'])
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, text: str) -> None:
    """Half a file is no file."""
    path = tmp_path / "users.json"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="Expected users at"):
        UserFile(path).users()


def test_nobody_is_let_in_by_what_is_not_theirs(
    users: UserFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password and an unknown name cost a hash each, so that both take as long."""
    hashes: list[str] = []
    real = passwords._scrypt

    def counted(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        hashes.append(password)
        return real(password, salt, n, r, p)

    monkeypatch.setattr(passwords, "_scrypt", counted)
    assert users.verify("operator", "not the password") is None
    assert users.verify("nobody", "not the password") is None
    assert 2 == len(hashes)
    found = users.verify("operator", PASSWORD)
    assert found is not None
    assert "operator" == found.name


def test_roles_cover_those_before_them() -> None:
    """A risk officer may what an operator may, never the other way round."""
    assert Role.RISK_OFFICER.covers(Role.OPERATOR)
    assert Role.OPERATOR.covers(Role.VIEWER)
    assert not Role.VIEWER.covers(Role.OPERATOR)
    assert not Role.OPERATOR.covers(Role.RISK_OFFICER)


def test_a_user_is_printed_without_the_hash() -> None:
    """Logs and tracebacks hold no hash."""
    assert "secret" not in repr(User("mary", Role.VIEWER, "secret"))


def test_a_session_ends_when_it_is_unused_and_after_half_a_day() -> None:
    """Use prolongs it, up to twelve hours; a look that is none does not."""
    time = Time()
    sessions = Sessions(600.0, time)
    token, _ = sessions.open(User("mary", Role.VIEWER, "hash"))
    time.s += 599.0
    assert sessions.find(token) is not None
    time.s += 599.0
    assert sessions.find(token, used=False) is not None
    time.s += 2.0
    assert sessions.find(token) is None
    token, _ = sessions.open(User("mary", Role.VIEWER, "hash"))
    for _ in range(12 * 3600 // 500):
        time.s += 500.0
        sessions.find(token)
    time.s += 500.0
    assert sessions.find(token) is None


def test_sessions_are_bounded_and_their_tokens_not_kept() -> None:
    """The thousand and first makes room by ending the one that was unused longest."""
    sessions = Sessions(600.0, Time())
    tokens = [sessions.open(User("mary", Role.VIEWER, "hash"))[0] for _ in range(1001)]
    assert 1001 == len(set(tokens))
    assert sessions.find(tokens[0]) is None
    assert sessions.find(tokens[1]) is not None
    assert tokens[1] not in repr(vars(sessions))
    assert sessions.find("x" * 43) is None


def test_a_limit_lets_a_burst_through_and_then_one_now_and_then() -> None:
    """Each key has its own; what was refused costs nothing."""
    time = Time()
    limit = RateLimit(burst=2, every_s=10.0, monotonic=time)
    assert [0.0, 0.0, 10.0, 10.0] == [limit.take("a") for _ in range(4)]
    assert 0.0 == limit.take("b")
    time.s += 4.0
    assert 6.0 == pytest.approx(limit.take("a"))
    time.s += 6.0
    assert 0.0 == limit.take("a")
    assert limit.take("a") > 0.0
    time.s += 1000.0
    assert [0.0, 0.0] == [limit.take("a") for _ in range(2)]
    assert limit.take("a") > 0.0
