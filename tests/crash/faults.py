"""What can be done to a build from outside: kills at numbered points, full disks, clocks that go backwards.

The points of a stage are numbered by Python's audit events of opening a file for writing, renaming,
removing and making folders below the artifact root, by syncs, and by each step of a progress bar. So
every write, every rename and every training step is a point, without a line of test code in the product.
"""

import ctypes
import datetime
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_AUDITED = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CLONE_NEWNS = 0x00020000


class Watch:
    """Counts the points of a build, and does at one of them what the command says.

    `kill_at` N: SIGKILL for the whole process group before the N-th point of `stage`. `tear_at` N, a sync:
    the file is cut to half first, as when the machine stops in a write. `full_at` N: no space left from there on.
    """

    def __init__(self, command: dict[str, Any]) -> None:
        self.stage = ""
        self.events: list[tuple[str, str, str]] = []
        self._root = f"{command['root']}/"
        self._broken_stage = command.get("stage")
        self._number = -1
        self._kill_at = command.get("kill_at")
        self._tear_at = command.get("tear_at")
        self.full_at = command.get("full_at")

    def start(self) -> None:
        """Watch this process from now on, until it ends."""
        sys.addaudithook(self._audit)
        self._wrap_syncs()
        self._wrap_progress()

    def point(self, kind: str, path: str) -> None:
        """One point is reached."""
        self.events.append((self.stage, kind, path))
        if self.stage != self._broken_stage:
            return
        self._number += 1
        if self._number == self._tear_at:
            os.truncate(path, Path(path).stat().st_size // 2)
        if self._number in (self._kill_at, self._tear_at):
            os.killpg(0, signal.SIGKILL)
        if self.full_at is not None and self._number >= self.full_at and kind in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _AUDITED or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(arguments[0])
        is_reading = event == "open" and not (arguments[2] & _WRITING)
        exists_already = event == "os.mkdir" and Path(path).exists()
        if path.startswith(self._root) and "/locks" not in path and not is_reading and not exists_already:
            self.point(event, path)

    def _wrap_syncs(self) -> None:
        sync, fsync = os.sync, os.fsync

        def watched_sync() -> None:
            self.point("sync", "")
            sync()

        def watched_fsync(descriptor: int) -> None:
            self.point("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            fsync(descriptor)

        os.sync, os.fsync = watched_sync, watched_fsync

    def _wrap_progress(self) -> None:
        from tqdm import tqdm

        update = tqdm.update

        def watched_update(bar: Any, count: float | None = 1) -> Any:
            self.point("progress", str(bar.desc))
            return update(bar, count)

        tqdm.update = watched_update


def prepare(command: dict[str, Any], watch: Watch) -> Iterator[Callable[[], None]]:
    """One function for each build that the command runs in a row, to be called before it."""
    if "clock_seconds" in command:
        set_clock_back(command["clock_seconds"])
    if "disk_bytes" in command:
        yield lambda: mount_small_disk(Path(command["root"]), command["disk_bytes"])
        yield lambda: enlarge_disk(Path(command["root"]))
        return
    yield watch.start
    if watch.full_at is not None:
        yield lambda: setattr(watch, "full_at", None)


def set_clock_back(seconds: float) -> None:
    """Let this process believe that it is earlier than it is."""
    now = time.time

    class EarlierDatetime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime.fromtimestamp(now() - seconds, tz)

    time.time = lambda: now() - seconds
    for name in ("lookalike.store.artifacts", "lookalike.pipeline.publishing", "lookalike.store.events"):
        sys.modules[name].datetime = EarlierDatetime  # type: ignore[attr-defined]


def mount_small_disk(root: Path, size_bytes: int) -> None:
    """A real disk of a few blocks at `root`, seen by this process alone."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise PermissionError("a namespace of mounts cannot be had")
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(root)], check=True)


def enlarge_disk(root: Path) -> None:
    """Room again, as after somebody cleared up."""
    subprocess.run(["mount", "-o", "remount,size=64m", str(root)], check=True)
