"""Starts a command that must not outlive who started it: `python child.py PARENT_PID COMMAND...`.

On Linux the kernel kills the command when the thread that started it ends, by whatever way
(`PR_SET_PDEATHSIG`, which an `exec` keeps). Elsewhere this process stays, runs the command below
itself, and kills it within half a second after its own parent is gone.

A program of its own rather than a `preexec_fn`, since that is unsafe in a process with threads. It
imports nothing but the standard library, to start in a few milliseconds.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["bound", "follow", "main"]

_PR_SET_PDEATHSIG = 1
_WATCH_S = 0.5


def bound(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` and ends with the calling process's thread."""
    # -I -S: the launcher needs nothing of the environment, and starts faster without.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(arguments: list[str]) -> int:
    """Run the command; on Linux this does not return.

    Args:
        arguments: Process id of the parent, then the command and its arguments.

    Returns:
        The command's exit code.
    """
    parent, command = int(arguments[0]), arguments[1:]
    if not sys.platform.startswith("linux"):
        return follow(parent, command)
    _die_with_parent()
    if os.getppid() != parent:  # it ended before the kernel was told
        return 1
    return _become(command)


def follow(parent: int, command: list[str]) -> int:
    """Run a command below this process and end it when `parent` is no longer the parent."""
    with subprocess.Popen(command) as child:
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        while child.poll() is None:
            if os.getppid() != parent:
                child.kill()
            time.sleep(_WATCH_S)
        return child.returncode


def _become(command: list[str]) -> NoReturn:
    os.execv(command[0], command)  # noqa: S606  # an argument list, never a shell


def _die_with_parent() -> None:
    # Without the call the command still runs; it would only outlive a killed parent.
    with contextlib.suppress(OSError, AttributeError):
        import ctypes  # not everywhere there

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
