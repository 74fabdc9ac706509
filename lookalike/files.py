"""File helpers: atomic writes, digests, checked JSON documents."""

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

TEMPORARY_PREFIX = ".tmp-"
# What file systems answer that have nothing to flush or to reserve (some network mounts and FUSE).
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
_PIECE_BYTES = 2**20


def user_path(path: Path | str) -> Path:
    """Return a path given by a user, with `~` or `~name` at its start replaced by that home folder, if it exists."""
    # Not Path.expanduser, which raises for an unknown user instead of leaving the name as it is.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def temporary_beside(path: Path) -> Path:
    """Return a new, short name in the folder of `path`; short, because names have a maximum length."""
    return path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}"


def sha256_of_bytes(data: bytes) -> str:
    """Return the hexadecimal sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no white space: equal values give equal text. Refuses NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """Return the hexadecimal sha256 of the canonical JSON of `value`."""
    return sha256_of_bytes(canonical_json(value).encode())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    A reader sees the old file or the whole new one, never a part. On any exception the temporary
    file is removed and `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    # Made here, so that whoever fills it leaves it with the rights that the umask grants.
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json_atomic(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys to `path`, whole or not at all."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes_atomic(path, (text + "\n").encode())


def read_json(path: Path, error: Callable[[str], Exception]) -> Any:
    """Read a JSON file; a missing or malformed one raises `error` with one clear line."""
    try:
        return json.loads(path.read_bytes())
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or cause}") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} is not valid JSON ({cause}); it was truncated or altered") from cause


def read_document(
    path: Path,
    error: Callable[[str], Exception],
    needs: Mapping[str, type],
    *,
    version: int | None = None,
    earlier_versions: Collection[int] = (),
    version_key: str = "format_version",
    remedy: str = "run `lookalike build` again",
) -> dict[str, Any]:
    """Return the JSON object in a file, which has the entries `needs`, each of its type, and the format `version`.

    A format of `earlier_versions` is accepted too. Anything else raises `error` with one line that ends in `remedy`,
    as does a missing or malformed file. Without a `version` the file has none.
    """
    content = read_json(path, error)
    entries: dict[str, Any] = content if isinstance(content, dict) else {}
    if version is not None:
        found, needs = entries.get(version_key), {version_key: int, **needs}
        if isinstance(found, int) and found not in (version, *earlier_versions):
            writer = "an earlier" if found < version else "a later"
            raise error(f"{path} has format {found} of {writer} version, this version reads {version}; {remedy}")
    wrong = [name for name, kind in needs.items() if not isinstance(entries.get(name), kind)]
    if wrong:
        raise error(f"{path} was altered: {', '.join(wrong)} are missing or of another type; {remedy}")
    return entries


def flush_to_disk(path: Path) -> None:
    """Force a file's content (or a folder's entries) to the disk, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def flush_everything() -> None:
    """Flush all written data to the disk in one call, on systems that have one."""
    if hasattr(os, "sync"):
        os.sync()


def reserve_disk(path: Path) -> None:
    """Allocate the disk space of a sparse file; OSError if there is not enough.

    Writing to a memory-mapped file on a full disk would kill the process instead (SIGBUS).
    """
    with path.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except AttributeError:  # macOS
            _write_again(stream)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            _write_again(stream)


def _write_again(stream: IO[bytes]) -> None:
    """Write a file's content in place again, which allocates the space of its holes."""
    position = 0
    while piece := stream.read(_PIECE_BYTES):
        stream.seek(position)
        stream.write(piece)
        position += len(piece)
        stream.seek(position)
    stream.flush()
    os.fsync(stream.fileno())
