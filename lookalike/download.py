"""Downloading a large file from configured mirrors: resumable, checked, patient with bad networks."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.config import Mirror
from lookalike.errors import DownloadError
from lookalike.files import flush_to_disk, read_json, sha256_of_bytes, sha256_of_file, write_json_atomic
from lookalike.image_formats import HEAD_BYTES, is_html
from lookalike.progress import progress_bar

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 32 * 2**30
_PERMANENT_STATUSES = frozenset({400, 401, 403, 404, 405, 410, 451})


@dataclass(frozen=True)
class DownloadedFile:
    """A finished download: where it lies, where it came from, and its digest."""

    path: Path
    url: str
    sha256: str
    n_bytes: int


def download_file(
    mirrors: Sequence[Mirror],
    target: Path,
    *,
    check: Callable[[Path], None] | None = None,
    attempts: int = 4,
    first_wait_seconds: float = 1.0,
    stall_seconds: float = 30.0,
    max_bytes: int = MAX_FILE_BYTES,
) -> DownloadedFile:
    """Return the file at `target`, downloaded from the first mirror that gives a good one.

    A finished download of one of the mirrors is used again if it is intact. An interrupted one goes
    on where it stopped, if the server says that its file is still the same. Each mirror is tried
    `attempts` times (counted anew after every progress), with doubling waits; checksums are compared
    where the mirror names them; `check` may raise `DownloadError` to refuse the content.

    Raises `DownloadError` naming what went wrong at each mirror.
    """
    if not mirrors:
        raise DownloadError("no mirror is configured to download from")
    kept = _kept_download(mirrors, target)
    if kept is not None:
        return kept
    failures = []
    for mirror in mirrors:
        fetch = _Fetch(mirror, target, stall_seconds, max_bytes)
        try:
            fetch.run(attempts, first_wait_seconds)
            return _finish(fetch, target, check)
        except DownloadError as error:
            logger.warning("%s: %s", mirror.url, error)
            failures.append(f"{mirror.url}: {error}")
    raise DownloadError("no mirror gave the file: " + "; ".join(failures))


def discard_download(target: Path) -> None:
    """Forget a finished download, so that the next `download_file` fetches it anew."""
    target.unlink(missing_ok=True)
    _record_path(target).unlink(missing_ok=True)


def _record_path(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _kept_download(mirrors: Sequence[Mirror], target: Path) -> DownloadedFile | None:
    """An earlier finished download, if it is intact and from a mirror that is still configured."""
    record_path = _record_path(target)
    if not (target.is_file() and record_path.is_file()):
        return None
    try:
        record = read_json(record_path, DownloadError)
        kept = DownloadedFile(target, record["url"], record["sha256"], record["n_bytes"])
    except (DownloadError, KeyError, TypeError):
        return None
    is_configured = any(mirror.url == kept.url for mirror in mirrors)
    is_intact = target.stat().st_size == kept.n_bytes and sha256_of_file(target) == kept.sha256
    return kept if is_configured and is_intact else None


def _finish(fetch: "_Fetch", target: Path, check: Callable[[Path], None] | None) -> DownloadedFile:
    """Check a complete partial file and give it its final name."""
    try:
        _refuse_html(fetch.partial)
        sha256 = _verified_sha256(fetch.partial, fetch.mirror)
        if check is not None:
            check(fetch.partial)
    except DownloadError:
        # Going on from bad content would never end well.
        fetch.discard()
        raise
    flush_to_disk(fetch.partial)
    done = DownloadedFile(target, fetch.mirror.url, sha256, fetch.partial.stat().st_size)
    record = asdict(done)
    del record["path"]
    # First the record: a whole partial file is recognised later, a file without its record is not.
    write_json_atomic(_record_path(target), record)
    fetch.partial.replace(target)
    fetch.discard()
    return done


def _refuse_html(path: Path) -> None:
    with path.open("rb") as stream:
        if is_html(stream.read(HEAD_BYTES)):
            raise DownloadError("the server sent a web page instead of the file")


def _verified_sha256(path: Path, mirror: Mirror) -> str:
    sha256 = sha256_of_file(path)
    if mirror.sha256 is not None and sha256 != mirror.sha256:
        raise DownloadError(f"the file has sha256 {sha256}, expected {mirror.sha256}")
    if mirror.md5 is not None:
        with path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if md5 != mirror.md5:
            raise DownloadError(f"the file has md5 {md5}, expected {mirror.md5}")
    return sha256


class _Retry(Exception):
    """A failure that another attempt may cure."""


class _Fetch:
    """One mirror's file on its way into a partial file, which outlives an interruption."""

    def __init__(self, mirror: Mirror, target: Path, stall_seconds: float, max_bytes: int) -> None:
        self.mirror = mirror
        self._stall_seconds = stall_seconds
        self._max_bytes = max_bytes
        # Mirrors hold different files, so each has its own partial one.
        suffix = sha256_of_bytes(mirror.url.encode())[:12]
        self.partial = target.with_name(f"{target.name}.{suffix}.partial")
        self._state_path = target.with_name(f"{target.name}.{suffix}.partial.json")
        target.parent.mkdir(parents=True, exist_ok=True)

    def discard(self) -> None:
        """Forget the partial file."""
        self.partial.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)

    def run(self, attempts: int, first_wait_seconds: float) -> None:
        """Complete the partial file; raise `DownloadError` once `attempts` in a row brought nothing."""
        failed = 0
        while True:
            before = self._size()
            try:
                return self._attempt()
            except _Retry as error:
                failed = 1 if self._size() > before else failed + 1
                if failed >= attempts:
                    raise DownloadError(f"{error} (tried {attempts} times)") from error
                wait_seconds = first_wait_seconds * 2 ** (failed - 1)
                logger.warning("%s: %s; trying again in %g s", self.mirror.url, error, wait_seconds)
                time.sleep(wait_seconds)

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _attempt(self) -> None:
        import httpx

        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": "lookalike (dataset download)",
            **self._resume_headers(),
        }
        try:
            with (
                httpx.Client(follow_redirects=True, timeout=self._stall_seconds) as client,
                client.stream("GET", self.mirror.url, headers=headers) as response,
            ):
                self._receive(response)
        except httpx.TransportError as error:
            raise _Retry(f"the connection failed ({' '.join(str(error).split()) or type(error).__name__})") from error
        except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise DownloadError(str(error)) from error
        except OSError as error:
            raise DownloadError(f"cannot write {self.partial}: {error.strerror or error}") from error

    def _resume_headers(self) -> dict[str, str]:
        """Headers that ask for the rest only, if there is a part and a way to know that it still fits."""
        size = self._size()
        if size == 0 or not self._state_path.is_file():
            return {}
        try:
            validator = read_json(self._state_path, DownloadError)["validator"]
        except (DownloadError, KeyError, TypeError):
            return {}
        if not isinstance(validator, str):
            return {}
        return {"Range": f"bytes={size}-", "If-Range": validator}

    def _receive(self, response: "httpx.Response") -> None:
        status = response.status_code
        if status == 416:
            if response.headers.get("content-range") == f"bytes */{self._size()}":
                # The run before was killed when it had all of the file, but had not said so.
                return
            self.discard()
            raise _Retry("the partial file did not fit the server's file")
        if status in _PERMANENT_STATUSES:
            raise DownloadError(f"the server answered {status} {response.reason_phrase}")
        if status not in (200, 206):
            raise _Retry(f"the server answered {status} {response.reason_phrase}")
        if response.headers.get("content-type", "").lower().startswith("text/html"):
            raise DownloadError("the server sent a web page (text/html) instead of the file")
        offset = self._offset(response)
        length = response.headers.get("content-length", "")
        total = offset + int(length) if length.isdecimal() else None
        if total is not None and total > self._max_bytes:
            raise DownloadError(f"the file has {total} bytes, more than the limit of {self._max_bytes}")
        write_json_atomic(self._state_path, {"url": self.mirror.url, "validator": _validator(response)})
        self._append(response, offset, total)

    def _offset(self, response: "httpx.Response") -> int:
        """Where the answer starts in the file: at our size, or at 0 if the server sends everything."""
        if response.status_code == 200:
            return 0
        start = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
        if not start.isdecimal() or int(start) != self._size():
            self.discard()
            raise _Retry("the server sent another part than was asked for")
        return int(start)

    def _append(self, response: "httpx.Response", offset: int, total: int | None) -> None:
        name = os.path.basename(response.url.path) or self.mirror.url  # noqa: PTH119
        with self.partial.open("r+b" if offset else "wb") as stream, progress_bar(name, total, unit="B") as bar:
            stream.seek(offset)
            bar.update(offset)
            # Pieces as they come: with a fixed size, httpx would drop the last one of a broken connection.
            for chunk in response.iter_raw():
                if stream.tell() + len(chunk) > self._max_bytes:
                    raise DownloadError(f"the file has more than {self._max_bytes} bytes, the limit")
                stream.write(chunk)
                bar.update(len(chunk))


def _validator(response: "httpx.Response") -> Any:
    """A strong ETag or else the date of the last change, by which a server recognises its file; or None."""
    etag = response.headers.get("etag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    return response.headers.get("last-modified")
