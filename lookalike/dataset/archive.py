"""Unpacking an archive that may be hostile: only plain files and folders, only below the target, only so much.

Zip and tar (plain, gzip, bzip2, xz) are read as streams. A zip that holds a tar, as the official
Caltech-101 file does, is unpacked in one pass, without writing the inner archive.
"""

import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lookalike.dataset.listing import is_hidden
from lookalike.errors import DatasetError
from lookalike.files import temporary_beside
from lookalike.images.formats import HEAD_BYTES, describe_content
from lookalike.progress import track

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DRIVE = re.compile(r"[A-Za-z]:")
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    # What zipfile raises for unknown compression and for encryption.
    NotImplementedError,
    RuntimeError,
)


class DamagedArchiveError(DatasetError):
    """Raised if the content of an archive is at fault, so that another copy of it may help."""


@dataclass(frozen=True)
class ArchiveLimits:
    """The most that an archive may unpack to."""

    member_bytes: int = 512 * 2**20
    total_bytes: int = 32 * 2**30
    n_members: int = 5_000_000


@dataclass(frozen=True)
class _Member:
    """A file, or a folder, which has no content."""

    name: str
    n_bytes: int
    content: IO[bytes] | None


def require_archive(path: Path) -> None:
    """Raise `DatasetError` unless `path` is a zip or tar archive, by its content and not its name."""
    with _explained(path, f"read {path}"):
        is_archive = zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    if not is_archive:
        with path.open("rb") as stream:
            content = describe_content(stream.read(HEAD_BYTES))
        raise DatasetError(f"{path} is not a zip or tar archive: it is {content}")


def extract_archive(archive: Path, target: Path, limits: ArchiveLimits | None = None) -> None:
    """Unpack `archive` into the new folder `target`, whole or not at all, without its outer folders.

    An outer folder is one that holds nothing but one other folder of folders; hidden and system entries do not
    count. Raises `DatasetError` for an archive that is damaged, exceeds `limits`, or holds an absolute path, `..`,
    a link or a device.
    """
    require_archive(archive)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    temporary.mkdir()
    try:
        with _explained(archive, f"unpack {archive} into {target}"):
            _unpack(archive, temporary, limits or ArchiveLimits())
            without_outer_folders(temporary).replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _explained(archive: Path, action: str) -> Iterator[None]:
    """Turn whatever the readers raise for a damaged or unreadable archive into a `DatasetError` of one line."""
    try:
        yield
    except _DAMAGED as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DamagedArchiveError(f"{archive} is damaged: {cause}") from error
    except OSError as error:
        raise DatasetError(f"cannot {action}: {error.strerror or error}") from error


def archived_paths(archive: Path) -> list[str]:
    """Return the paths of the files that `extract_archive` would unpack, without outer folders; raises as it does."""
    require_archive(archive)
    with _explained(archive, f"read {archive}"), _members(archive) as members:
        names = [_checked_name(archive, member.name) for member in members if member.content is not None]
    paths = [parts for parts in map(_visible_parts, names) if parts]
    while len({parts[0] for parts in paths}) == 1 and any(len(parts) > 2 for parts in paths):
        paths = [parts[1:] for parts in paths]
    return ["/".join(parts) for parts in paths]


def _visible_parts(name: str) -> list[str]:
    """The parts of a member's path, or none if one of them is hidden."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return [] if any(map(is_hidden, parts)) else parts


def without_outer_folders(folder: Path) -> Path:
    """Go down from `folder` while it holds nothing visible but one folder that itself holds a folder."""
    while True:
        entries = [entry for entry in folder.iterdir() if not is_hidden(entry.name)]
        if len(entries) != 1 or entries[0].is_symlink() or not entries[0].is_dir():
            return folder
        if not any(inner.is_dir() for inner in entries[0].iterdir() if not is_hidden(inner.name)):
            return folder
        folder = entries[0]


def _unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> None:
    total_bytes = 0
    with _members(archive) as members:
        for count, member in enumerate(track(members, "unpacking", unit=" file"), start=1):
            total_bytes += member.n_bytes
            if member.n_bytes > limits.member_bytes:
                size = f"{member.n_bytes} bytes, over {limits.member_bytes}"
                raise DatasetError(f"{archive}: {member.name!r} unpacks to {size}")
            if total_bytes > limits.total_bytes:
                raise DatasetError(f"{archive} unpacks to more than {limits.total_bytes} bytes")
            if count > limits.n_members:
                raise DatasetError(f"{archive} holds more than {limits.n_members} files")
            _write_member(archive, member, folder / _checked_name(archive, member.name))


def _checked_name(archive: Path, name: str) -> str:
    """Return `name` if it stays below the folder it is unpacked into, on every system."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or _DRIVE.match(parts[0]) is not None or ".." in parts or "\0" in name:
        raise DatasetError(f"{archive} is refused: {name!r} would be written outside of the target folder")
    return name


def _write_member(archive: Path, member: _Member, destination: Path) -> None:
    """Write a file or folder with the rights that the umask gives, whatever the archive says."""
    if member.content is None:
        destination.mkdir(parents=True, exist_ok=True)
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        stream = destination.open("xb")
    except FileExistsError as error:
        # Some file systems take names for the same that differ in case, or in how accents are written.
        raise DatasetError(f"{archive} holds {member.name!r} twice, or another name that is the same here") from error
    with stream:
        # Neither zipfile nor tarfile reads more than the announced size.
        shutil.copyfileobj(member.content, stream)
        if stream.tell() < member.n_bytes:
            raise DamagedArchiveError(f"{archive} is damaged: {member.name!r} ends too early")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    if not zipfile.is_zipfile(archive):
        with tarfile.open(archive, "r:*") as outer:
            yield _tar_members(archive, outer)
        return
    with zipfile.ZipFile(archive) as outer_zip:
        nested = _nested_archive(archive, outer_zip)
        if nested is None:
            yield _zip_members(archive, outer_zip)
        else:
            with outer_zip.open(nested) as stream, tarfile.open(fileobj=stream, mode="r|*") as inner:
                yield _tar_members(archive, inner)


def _nested_archive(archive: Path, outer: zipfile.ZipFile) -> str | None:
    """The one tar that a zip holds; of several, the one of the images, as Caltech-101 names it."""
    names = [name for name in outer.namelist() if name.endswith(_TAR_SUFFIXES) and "__MACOSX/" not in name]
    preferred = [name for name in names if "ObjectCategories" in name] or names
    if len(preferred) > 1:
        raise DatasetError(f"{archive} holds several archives ({', '.join(preferred)}); unpack the right one yourself")
    return preferred[0] if preferred else None


def _tar_members(archive: Path, outer: tarfile.TarFile) -> Iterator[_Member]:
    for info in outer:
        if not (info.isreg() or info.isdir()):
            raise DatasetError(f"{archive} is refused: {info.name!r} is a link or device")
        yield _Member(info.name, info.size if info.isreg() else 0, outer.extractfile(info))
        # Otherwise tarfile keeps every header in memory.
        outer.members = []  # type: ignore[attr-defined]


def _zip_members(archive: Path, outer: zipfile.ZipFile) -> Iterator[_Member]:
    for info in outer.infolist():
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DatasetError(f"{archive} is refused: {info.filename!r} is a link or device")
        if info.is_dir():
            yield _Member(info.filename, 0, None)
        else:
            with outer.open(info) as stream:
                yield _Member(info.filename, info.file_size, stream)
