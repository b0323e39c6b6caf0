import subprocess
import sys

from pipeline.run import bound, child


def test_the_command_takes_the_launchers_place() -> None:
    """The command runs with its arguments, and its exit code comes back."""
    command = bound([sys.executable, "-c", "import sys; sys.exit(int(sys.argv[1]))", "5"])
    assert 5 == subprocess.run(command, check=False).returncode


def test_nothing_runs_for_a_parent_that_is_gone() -> None:
    """A launcher whose parent ended before it could bind to it starts nothing."""
    ran = subprocess.run(
        [sys.executable, child.__file__, "1", sys.executable, "-c", "print('ran')"],
        capture_output=True,
        check=False,
    )
    assert (1, b"") == (ran.returncode, ran.stdout)


def test_elsewhere_the_command_is_followed() -> None:
    """Without help of the kernel the command runs below the launcher, and its code comes back."""
    code = "import os, sys; from pipeline.run import child;"
    code += "sys.exit(child.follow(os.getppid(), [sys.executable, '-c', 'raise SystemExit(4)']))"
    assert 4 == subprocess.run([sys.executable, "-c", code], check=False).returncode


def test_elsewhere_the_command_ends_with_the_parent() -> None:
    """Without help of the kernel the launcher kills the command when its parent is another."""
    code = "import sys; from pipeline.run import child;"
    code += "sys.exit(abs(child.follow(1, [sys.executable, '-c', 'import time; time.sleep(60)'])))"
    assert 9 == subprocess.run([sys.executable, "-c", code], check=False).returncode
