"""Downloading a large file, whole or not at all, checked, with retries; from one address or from mirrors in order."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
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
ATTEMPTS = 4
FIRST_WAIT_SECONDS = 1.0
STALL_SECONDS = 30.0
_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "lookalike (download)"}

# Raises DownloadError to refuse the content of a file.
Check = Callable[[Path], None]


def _accept(path: Path) -> None:
    """Accept any content."""


class _TransientError(Exception):
    """A failure after which a retry may succeed."""


def download(url: str, path: Path, digests: Mapping[str, str], check: Check = _accept) -> None:
    """Fetch `url` to `path`, unless an earlier download there is intact.

    `digests` holds hexadecimal digests, or their first digits, by algorithm (sha256, md5). Failures of the network
    and of the server are retried, `ATTEMPTS` times in all, with doubling waits. Raises `DownloadError`.
    """
    if _is_intact(path, digests, check):
        return
    with replacing(path) as temporary:
        _fetch_patiently(url, temporary)
        _check_content(temporary, digests, check)


def download_from_mirrors(mirrors: Sequence[Mirror], target: Path, check: Check = _accept) -> Path:
    """Return the path of the file that the first good mirror gave: `target` with a suffix for the mirror.

    An intact earlier download from any of the mirrors is used again. Raises `DownloadError` naming what went wrong
    at each mirror.
    """
    # Mirrors may hold different files, so each gets another name.
    paths = {m: target.with_name(f"{target.name}-{sha256_of_bytes(m.url.encode())[:12]}") for m in mirrors}
    for mirror, path in paths.items():
        if _is_intact(path, _digests(mirror), check):
            return path
    failures = []
    for mirror, path in paths.items():
        try:
            download(mirror.url, path, _digests(mirror), check)
        except DownloadError as error:
            logger.warning("%s: %s", mirror.url, error)
            failures.append(f"{mirror.url}: {error}")
        else:
            return path
    raise DownloadError("no mirror gave the file: " + ("; ".join(failures) or "none is configured"))


def _digests(mirror: Mirror) -> dict[str, str]:
    return {name: digest for name, digest in (("sha256", mirror.sha256), ("md5", mirror.md5)) if digest is not None}


def _is_intact(path: Path, digests: Mapping[str, str], check: Check) -> bool:
    try:
        _check_content(path, digests, check)
    except (DownloadError, FileNotFoundError):
        return False
    return True


def _check_content(path: Path, digests: Mapping[str, str], check: Check) -> None:
    with path.open("rb") as stream:
        if is_html(stream.read(HEAD_BYTES)):
            raise DownloadError("the server sent a web page instead of the file")
        for algorithm, expected in digests.items():
            stream.seek(0)
            digest = hashlib.file_digest(stream, partial(hashlib.new, algorithm, usedforsecurity=False)).hexdigest()
            if not digest.startswith(expected):
                raise DownloadError(f"the file has {algorithm} {digest}, expected {expected}")
    check(path)


def _fetch_patiently(url: str, path: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _fetch(url, path)
        except _TransientError as error:
            if attempt == ATTEMPTS:
                raise DownloadError(f"{error} (tried {ATTEMPTS} times)") from error
            wait_seconds = FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
            logger.warning("%s: %s; trying again in %g s", url, error, wait_seconds)
            time.sleep(wait_seconds)
        else:
            return


def _fetch(url: str, path: Path) -> None:
    import httpx

    try:
        check_proxy(url)
        with (
            httpx.Client(follow_redirects=True, timeout=STALL_SECONDS, headers=_HEADERS) as client,
            client.stream("GET", url) as response,
        ):
            _receive(response, path)
    except httpx.TransportError as error:
        raise _TransientError(f"the connection failed ({_one_line(error)})") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError, OSError) as error:
        # Too many redirects, a proxy of the environment that httpx does not know, a full disk.
        raise DownloadError(_one_line(error)) from error


def _receive(response: "httpx.Response", path: Path) -> None:
    status = f"the server answered {response.status_code} {response.reason_phrase}"
    if response.status_code in _TRANSIENT_STATUSES:
        raise _TransientError(status)
    if response.status_code != 200:
        raise DownloadError(status)
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise DownloadError("the server sent a web page (text/html) instead of the file")
    length = response.headers.get("content-length", "")
    total = int(length) if length.isdecimal() else None
    if total is not None and total > MAX_FILE_BYTES:
        raise DownloadError(f"the file has {total} bytes, more than the limit of {MAX_FILE_BYTES}")
    with path.open("wb") as stream, progress_bar("downloading", total, unit="B") as bar:
        for chunk in response.iter_raw():
            if stream.tell() + len(chunk) > MAX_FILE_BYTES:
                raise DownloadError(f"the file has more than {MAX_FILE_BYTES} bytes, the limit")
            stream.write(chunk)
            bar.update(len(chunk))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
