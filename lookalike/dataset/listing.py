"""The files below a folder, found without following links out of it, and a digest of them."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import DatasetError

_LINKED_FOLDER = "a symbolic link to a folder, which is not followed"
_LINK_OUT = "a symbolic link that leaves the folder"
LINK_PROBLEMS = frozenset({_LINKED_FOLDER, _LINK_OUT})


@dataclass(frozen=True)
class FoundFile:
    """One file below the root: its path relative to the root, size, time, label, and why it cannot be used, if so."""

    path: str
    n_bytes: int
    mtime_ns: int
    problem: str | None = None
    label: str = ""

    @property
    def printable_path(self) -> str:
        """The path as valid Unicode, whatever bytes the name has."""
        return os.fsencode(self.path).decode(errors="backslashreplace")


def list_files(root: Path, *, follow_links: bool = False) -> list[FoundFile]:
    """Return every entry below `root` that is no folder, sorted by path.

    A symbolic link counts as a file: it is usable if it leads to an ordinary file within `root`. Links to
    folders are not followed. With `follow_links` both may lead anywhere, but a folder is not entered from
    within itself. Raises `DatasetError` if `root` is not a readable folder.
    """
    if not root.is_dir():
        cause = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"{root} {cause}; expected a folder of images")
    try:
        found = list(_walk(root, follow_links))
    except OSError as error:
        raise DatasetError(f"cannot list {error.filename or root}: {error.strerror or error}") from error
    return sorted(found, key=lambda file: os.fsencode(file.path))


def listing_digest(files: list[FoundFile]) -> str:
    """Hexadecimal sha256 over path, size and modification time of `files`."""
    digest = hashlib.sha256()
    for file in files:
        # A zero byte ends the path, since no name can hold one.
        digest.update(os.fsencode(file.path) + b"\0%d %d\n" % (file.n_bytes, file.mtime_ns))
    return digest.hexdigest()


def _walk(root: Path, follow_links: bool) -> Iterator[FoundFile]:
    real_root = os.path.realpath(root)
    # Each with its real place, after those of the folders whose links led there.
    waiting: list[tuple[str, tuple[str, ...]]] = [("", (real_root,))]
    while waiting:
        prefix, places = waiting.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((path + "/", (*places[:-1], f"{places[-1]}/{entry.name}")))
                elif follow_links and entry.is_symlink() and entry.is_dir() and not _leads_back(entry, places):
                    waiting.append((path + "/", (*places, os.path.realpath(entry.path))))
                else:
                    yield _found(entry, path, None if follow_links else real_root)


def _leads_back(entry: "os.DirEntry[str]", places: tuple[str, ...]) -> bool:
    """Whether a link leads to a folder that the walk is in."""
    target = os.path.realpath(entry.path)
    return any(os.path.commonpath([target, place]) == target for place in places)


def _found(entry: "os.DirEntry[str]", path: str, within: str | None) -> FoundFile:
    try:
        status = entry.stat()
    except OSError as error:
        return FoundFile(path, 0, 0, f"cannot be read: {error.strerror or error}")
    return FoundFile(path, status.st_size, status.st_mtime_ns, _problem_of(entry, path, status, within))


def _problem_of(entry: "os.DirEntry[str]", path: str, status: os.stat_result, within: str | None) -> str | None:
    if entry.is_symlink() and stat.S_ISDIR(status.st_mode):
        return _LINKED_FOLDER if within else "a symbolic link to a folder around it"
    if entry.is_symlink() and within and os.path.commonpath([within, os.path.realpath(entry.path)]) != within:
        return _LINK_OUT
    if not stat.S_ISREG(status.st_mode):
        return "not an ordinary file"
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return "its name is not valid UTF-8; rename it"
    return None
