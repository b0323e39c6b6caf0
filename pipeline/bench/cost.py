"""CPU time and memory of process trees."""

from collections.abc import Iterable, Mapping

import psutil

__all__ = ["CostMeter"]


class CostMeter:
    """Adds up what processes and all their children use.

    Looking at a tree reads all of /proc, so look before and after what is measured, not meanwhile.
    What a process used before it ended is kept as of the last look at it.

    Args:
        roots: Process ids by name of what they belong to.
    """

    def __init__(self, roots: Mapping[str, Iterable[int]]) -> None:
        self._roots = {name: tuple(pids) for name, pids in roots.items()}
        self._seen: dict[str, dict[tuple[int, float], float]] = {name: {} for name in self._roots}

    def cpu_s(self) -> dict[str, float]:
        """Return CPU seconds so far, user and system."""
        for name in self._roots:
            for process in self._tree(name):
                try:
                    with process.oneshot():
                        times = process.cpu_times()
                        key = (process.pid, process.create_time())
                except psutil.Error:
                    continue
                self._seen[name][key] = times.user + times.system
        return {name: sum(used.values()) for name, used in self._seen.items()}

    def rss_mb(self) -> dict[str, float]:
        """Return resident memory now, megabytes."""
        found = {}
        for name in self._roots:
            total = 0
            for process in self._tree(name):
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            found[name] = total / 1e6
        return found

    def _tree(self, name: str) -> list[psutil.Process]:
        found = []
        for pid in self._roots[name]:
            try:
                root = psutil.Process(pid)
                found.extend([root, *root.children(recursive=True)])
            except psutil.Error:
                continue
        return found
