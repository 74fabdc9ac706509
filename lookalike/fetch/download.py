"""Downloading a large file from configured mirrors: checked, whole or not at all, patient with bad networks."""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.config.sections import Mirror
from lookalike.errors import DownloadError
from lookalike.fetch.proxies import check_proxy
from lookalike.files import replacing, sha256_of_bytes
from lookalike.images.formats import HEAD_BYTES, is_html
from lookalike.progress import progress_bar

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 32 * 2**30
_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "lookalike (dataset download)"}


class _TransientError(Exception):
    """A failure that another attempt may cure."""


def download_file(
    mirrors: Sequence[Mirror],
    target: Path,
    *,
    check: Callable[[Path], None] = lambda path: None,
    attempts: int = 4,
    first_wait_seconds: float = 1.0,
    stall_seconds: float = 30.0,
    max_bytes: int = MAX_FILE_BYTES,
) -> Path:
    """Return the path of the file that the first good mirror gave: `target` with a suffix for the mirror.

    An earlier download of one of the mirrors is used again if it still passes the checks: the mirror's
    checksums, no web page, and `check`, which raises `DownloadError` to refuse the content. Failures of the
    network and of the server are tried again, `attempts` times in all, with doubling waits.

    Raises `DownloadError` naming what went wrong at each mirror.
    """
    # Mirrors hold different files, so each has a name of its own.
    paths = {m: target.with_name(f"{target.name}-{sha256_of_bytes(m.url.encode())[:12]}") for m in mirrors}
    for mirror, path in paths.items():
        if _is_intact(path, mirror, check):
            return path
    failures = []
    for mirror, path in paths.items():
        try:
            with replacing(path) as temporary:
                _fetch_patiently(mirror.url, temporary, attempts, first_wait_seconds, stall_seconds, max_bytes)
                _check_content(temporary, mirror, check)
        except DownloadError as error:
            logger.warning("%s: %s", mirror.url, error)
            failures.append(f"{mirror.url}: {error}")
        else:
            return path
    raise DownloadError("no mirror gave the file: " + ("; ".join(failures) or "none is configured"))


def _is_intact(path: Path, mirror: Mirror, check: Callable[[Path], None]) -> bool:
    try:
        _check_content(path, mirror, check)
    except (DownloadError, FileNotFoundError):
        return False
    return True


def _check_content(path: Path, mirror: Mirror, check: Callable[[Path], None]) -> None:
    with path.open("rb") as stream:
        if is_html(stream.read(HEAD_BYTES)):
            raise DownloadError("the server sent a web page instead of the file")
        for algorithm, expected in (("sha256", mirror.sha256), ("md5", mirror.md5)):
            if expected is not None:
                stream.seek(0)
                digest = hashlib.file_digest(stream, partial(hashlib.new, algorithm, usedforsecurity=False)).hexdigest()
                if digest != expected:
                    raise DownloadError(f"the file has {algorithm} {digest}, expected {expected}")
    check(path)


def _fetch_patiently(
    url: str, path: Path, attempts: int, wait_seconds: float, stall_seconds: float, max_bytes: int
) -> None:
    for attempt in range(attempts):
        try:
            _fetch(url, path, stall_seconds, max_bytes)
        except _TransientError as error:
            if attempt == attempts - 1:
                raise DownloadError(f"{error} (tried {attempts} times)") from error
            logger.warning("%s: %s; trying again in %g s", url, error, wait_seconds * 2**attempt)
            time.sleep(wait_seconds * 2**attempt)
        else:
            return


def _fetch(url: str, path: Path, stall_seconds: float, max_bytes: int) -> None:
    import httpx

    try:
        check_proxy(url)
        with (
            httpx.Client(follow_redirects=True, timeout=stall_seconds, headers=_HEADERS) as client,
            client.stream("GET", url) as response,
        ):
            _receive(response, path, max_bytes)
    except httpx.TransportError as error:
        raise _TransientError(f"the connection failed ({_one_line(error)})") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError, OSError) as error:
        # Too many redirects, a proxy of the environment that httpx does not know, a full disk.
        raise DownloadError(_one_line(error)) from error


def _receive(response: "httpx.Response", path: Path, max_bytes: int) -> None:
    status = f"the server answered {response.status_code} {response.reason_phrase}"
    if response.status_code in _TRANSIENT_STATUSES:
        raise _TransientError(status)
    if response.status_code != 200:
        raise DownloadError(status)
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise DownloadError("the server sent a web page (text/html) instead of the file")
    length = response.headers.get("content-length", "")
    total = int(length) if length.isdecimal() else None
    if total is not None and total > max_bytes:
        raise DownloadError(f"the file has {total} bytes, more than the limit of {max_bytes}")
    with path.open("wb") as stream, progress_bar("downloading", total, unit="B") as bar:
        for chunk in response.iter_raw():
            if stream.tell() + len(chunk) > max_bytes:
                raise DownloadError(f"the file has more than {max_bytes} bytes, the limit")
            stream.write(chunk)
            bar.update(len(chunk))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
