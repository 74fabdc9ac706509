"""The files below a folder, found without following links out of it, and a digest of them.

Left out, and counted: hidden and system files and folders, the artifact root, and what the patterns of
`dataset.exclude_paths` name. A folder that is left out is not entered, and counts once.
"""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from lookalike.config.sections import DatasetConfig
from lookalike.errors import DatasetError

_LINKED_FOLDER = "a symbolic link to a folder, which is not followed"
_LINK_OUT = "a symbolic link that leaves the folder"
LINK_PROBLEMS = frozenset({_LINKED_FOLDER, _LINK_OUT})

HIDDEN, ARTIFACTS, EXCLUDED = "hidden or system entries", "artifact root", "entries of dataset.exclude_paths"
# What systems and devices put among a user's files, beside names that begin with a dot; compared without case.
_SYSTEM_NAMES = frozenset(
    {
        "$recycle.bin",
        "system volume information",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",
        "icon\r",
        "lost+found",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
    }
)


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


@dataclass(frozen=True)
class Listing:
    """What a folder holds: `files` sorted by path, and how many entries were left out, by reason."""

    files: Sequence[FoundFile]
    left_out: Mapping[str, int]

    def digest(self) -> str:
        """Hexadecimal sha256 over path, size and modification time of all files."""
        digest = hashlib.sha256()
        for file in self.files:
            # A zero byte ends the path, since no name can hold one.
            digest.update(os.fsencode(file.path) + b"\0%d %d\n" % (file.n_bytes, file.mtime_ns))
        return digest.hexdigest()


def list_files(
    root: Path, exclude_paths: Sequence[str] = (), artifacts: Path | None = None, *, follow_links: bool = False
) -> Listing:
    """Return every entry below `root` that is no folder, but for those that are left out.

    A symbolic link counts as a file: it is usable if it leads to an ordinary file within `root`. Links
    to folders are not followed. With `follow_links` both may lead anywhere, but a folder is not entered from
    within itself. A folder that cannot be read is an entry too, with the cause as its problem.
    `artifacts` is the artifact root, wherever it is. Raises `DatasetError` if `root` itself is not a
    readable folder.
    """
    if not root.is_dir():
        cause = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"{root} {cause}; expected a folder of images")
    patterns = [pattern.split("/") for pattern in exclude_paths]
    artifacts_status = artifacts.stat() if artifacts is not None and artifacts.exists() else None
    walk = _Walk(root, patterns, artifacts_status, follow_links)
    try:
        files = sorted(walk.files(), key=lambda file: os.fsencode(file.path))
    except OSError as error:
        raise DatasetError(f"cannot list {error.filename or root}: {error.strerror or error}") from error
    return Listing(files, dict(walk.left_out))


def list_source(root: Path, config: DatasetConfig, artifacts: Path | None = None) -> Listing:
    """Return what `list_files` finds below `root`, with what the configuration leaves out and follows."""
    return list_files(root, config.exclude_paths, artifacts, follow_links=config.follow_links)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to a system and not to a collection."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


@dataclass
class _Walk:
    """One walk through a folder: what it was told to leave out, and what it has left out so far."""

    root: Path
    patterns: Sequence[Sequence[str]]
    artifacts: os.stat_result | None
    follow_links: bool
    left_out: Counter[str] = field(default_factory=Counter)

    def files(self) -> Iterator[FoundFile]:
        """Every file; raises OSError if the root cannot be read."""
        real_root = os.path.realpath(self.root)
        # Each with its real place, after those of the folders whose links led there.
        waiting: list[tuple[str, tuple[str, ...]]] = [("", (real_root,))]
        while waiting:
            prefix, places = waiting.pop()
            try:
                entries = self._entries(prefix)
            except OSError as error:
                if not prefix:
                    raise
                yield FoundFile(prefix.rstrip("/"), 0, 0, f"a folder that cannot be read: {error.strerror or error}")
                continue
            for entry, is_folder in entries:
                path = prefix + entry.name
                reason = self._reason_to_leave_out(entry, path, is_folder)
                if reason is not None:
                    self.left_out[reason] += 1
                elif is_folder:
                    waiting.append((path + "/", (*places[:-1], f"{places[-1]}/{entry.name}")))
                elif self.follow_links and entry.is_symlink() and entry.is_dir() and not _leads_back(entry, places):
                    waiting.append((path + "/", (*places, os.path.realpath(entry.path))))
                else:
                    yield _found(entry, path, None if self.follow_links else real_root)

    def _entries(self, prefix: str) -> list[tuple["os.DirEntry[str]", bool]]:
        with os.scandir(self.root / prefix) as entries:
            return [(entry, entry.is_dir(follow_symlinks=False)) for entry in entries]

    def _reason_to_leave_out(self, entry: "os.DirEntry[str]", path: str, is_folder: bool) -> str | None:
        if is_hidden(entry.name):
            return HIDDEN
        if self.artifacts is not None and is_folder and os.path.samestat(entry.stat(), self.artifacts):
            return ARTIFACTS
        parts = path.split("/")
        return EXCLUDED if any(_matches(parts, pattern) for pattern in self.patterns) else None


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the last parts of a path are those of a pattern; its wildcards stay within a part."""
    last = parts[-len(pattern) :]
    return len(last) == len(pattern) and all(map(fnmatchcase, last, pattern))


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
