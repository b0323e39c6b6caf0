"""Workers beside the path give way to those of the path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = (
    "import os, sys, pathlib; from pipeline.watch.modesty import step_back;"
    " step_back(pathlib.Path(sys.argv[1])); print(os.nice(0))"
)


@pytest.mark.parametrize("alone", [True, False])
def test_a_session_of_its_own_gives_way_and_a_shared_one_does_not(
    tmp_path: Path, *, alone: bool
) -> None:
    """The process does in both; of a shared session others may be workers of the path."""
    autogroup = tmp_path / "autogroup"
    autogroup.write_text("/autogroup-7 nice 0\n", encoding="ascii")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(autogroup)],
        start_new_session=alone, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) == min(19, os.nice(0) + 10)
    assert autogroup.read_text(encoding="ascii") == ("10\n" if alone else "/autogroup-7 nice 0\n")


def test_where_there_are_no_such_groups_nothing_is_written(tmp_path: Path) -> None:
    """As on other systems than Linux."""
    absent = tmp_path / "autogroup"
    subprocess.run([sys.executable, "-c", SCRIPT, str(absent)], start_new_session=True, check=True)
    assert not absent.exists()
