"""The files below a folder, found without following links out of it, and a digest of them."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lookalike.errors import DatasetError

# Label of images that lie directly in the folder, under no label of their own.
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class FoundFile:
    """One file below the root: its path relative to the root, size and time, and why it cannot be used, if so."""

    path: str
    n_bytes: int
    mtime_ns: int
    problem: str | None = None

    @property
    def label(self) -> str:
        """The first folder of the path; images of nested folders belong to the outermost one."""
        parts = PurePosixPath(self.path).parts
        return parts[0] if len(parts) > 1 else UNLABELLED

    @property
    def printable_path(self) -> str:
        """The path as valid Unicode, whatever bytes the name has."""
        return os.fsencode(self.path).decode(errors="backslashreplace")


def list_files(root: Path) -> list[FoundFile]:
    """Return every entry below `root` that is no folder, sorted by path.

    A symbolic link counts as a file: it is usable if it leads to an ordinary file within `root`. Links
    to folders are not followed. Raises `DatasetError` if `root` is not a readable folder.
    """
    if not root.is_dir():
        cause = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"{root} {cause}; expected a folder with one sub-folder for each label")
    try:
        found = list(_walk(root))
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


def _walk(root: Path) -> Iterator[FoundFile]:
    real_root = os.path.realpath(root)
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path + "/")
                else:
                    yield _found(entry, path, real_root)


def _found(entry: "os.DirEntry[str]", path: str, real_root: str) -> FoundFile:
    try:
        status = entry.stat()
    except OSError as error:
        return FoundFile(path, 0, 0, f"cannot be read: {error.strerror or error}")
    return FoundFile(path, status.st_size, status.st_mtime_ns, _problem_of(entry, path, status, real_root))


def _problem_of(entry: "os.DirEntry[str]", path: str, status: os.stat_result, real_root: str) -> str | None:
    if entry.is_symlink():
        if stat.S_ISDIR(status.st_mode):
            return "a symbolic link to a folder, which is not followed"
        if os.path.commonpath([real_root, os.path.realpath(entry.path)]) != real_root:
            return "a symbolic link that leaves the folder"
    if not stat.S_ISREG(status.st_mode):
        return "not an ordinary file"
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return "its name is not valid UTF-8; rename it"
    return None
