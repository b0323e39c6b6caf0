from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from pipeline.yaml_file import load_mapping, load_with_positions


def _file(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text)
    return path


def test_a_mapping_is_read_with_the_lines_of_its_keys(tmp_path: Path) -> None:
    """Nested keys are found by their path."""
    content, positions = load_with_positions(_file(tmp_path, "a: 1\nb:\n  c: [1, 2]\n"))
    assert content == {"a": 1, "b": {"c": [1, 2]}}
    assert positions == {("a",): 1, ("b",): 2, ("b", "c"): 3}


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    """A file of comments alone sets nothing."""
    assert load_mapping(_file(tmp_path, "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a:\n  b: 1\n  b: 2\n", r"'b' again, at .*file\.yaml:3"),
        ("- a\n", "mapping"),
        ("1: a\n", "names as keys"),
        ("a: [1\n", "Expected YAML"),
        ("a: !!python/object:os.system x\n", "Expected YAML"),
        ("a: \x07\n", "Expected YAML"),
    ],
)
def test_what_is_no_plain_mapping_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """Repeated keys, lists, odd keys, broken YAML and objects are errors that say where."""
    with pytest.raises(ConfigurationError, match=sentence):
        load_mapping(_file(tmp_path, text))


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A folder in place of a file is named in the error."""
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        load_mapping(tmp_path)


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    """A binary file is refused as unreadable."""
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigurationError, match=r"binary\.yaml"):
        load_mapping(path)
