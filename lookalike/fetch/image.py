"""Fetching one image from a URL that a stranger may have chosen.

Every step is bounded: schemes, ports, addresses, redirects, bytes, and the time of all of it
together (see `connection.py`). Proxies are not used, since behind one the address could not be
judged.
"""

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import OK, responses
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httpcore

from lookalike.config.sections import QueryConfig
from lookalike.errors import DownloadError, ImageError
from lookalike.fetch.addresses import IPAddress, is_public
from lookalike.fetch.connection import Deadline, open_pool
from lookalike.images.formats import HEAD_BYTES, describe_content, image_format

_DEFAULT_PORTS = {"http": 80, "https": 443}
# What web servers use; anything else on a foreign host is more likely a probe of its other services.
_PUBLIC_PORTS = frozenset({80, 443, 8000, 8080, 8443})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_URL_LENGTH = 4096
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~-._"
_SAFE_IN_QUERY = _SAFE_IN_PATH + "?[]"
_HEADERS = (
    (b"User-Agent", b"lookalike (image search)"),
    (b"Accept", b"image/*"),
    # A compressed answer could unpack to anything; images gain nothing from it.
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
)


def fetch_image_bytes(url: str, config: QueryConfig, permits: Callable[[IPAddress], bool] | None = None) -> bytes:
    """Return the bytes of the image file at `url`, which may come from a stranger.

    At most `config.max_redirects` redirects are followed, `config.max_bytes` read, and all of it takes
    at most `config.timeout_seconds`. `permits` judges each address instead of `config.allow_private_addresses`.

    Raises `DownloadError` when the image cannot be fetched within these limits or must not be (scheme, port,
    private address), and `ImageError` when what came is no image.
    """
    if permits is None:
        permits = (lambda address: True) if config.allow_private_addresses else is_public
    deadline = Deadline(config.timeout_seconds)
    target = _checked_url(url, any_port=config.allow_private_addresses)
    for _ in range(config.max_redirects + 1):
        headers = [(b"Host", target.netloc.encode()), *_HEADERS]
        with (
            _explained(target, deadline),
            open_pool(target.scheme, deadline, permits) as pool,
            pool.stream("GET", target.geturl(), headers=headers) as response,
        ):
            if response.status not in _REDIRECTS:
                return _image_in(response, config.max_bytes)
            location = _absolute_location(target, response)
        target = _checked_url(location, any_port=config.allow_private_addresses)
    raise DownloadError(f"{_shown(url)}: more than {config.max_redirects} redirects")


def _checked_url(url: str, *, any_port: bool) -> SplitResult:
    """Split `url` and write it in ASCII; raise if its scheme, port or form is not allowed."""
    if len(url) > _MAX_URL_LENGTH:
        raise DownloadError(f"the URL is longer than {_MAX_URL_LENGTH} characters")
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        ascii_host = host if ":" in host else host.encode("idna").decode()
    except ValueError as error:
        raise DownloadError(f"{_shown(url)} is not a valid URL: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise DownloadError(f"{_shown(url)}: only http and https are fetched, not {parts.scheme or 'no scheme'}")
    if not ascii_host:
        raise DownloadError(f"{_shown(url)} names no host")
    if parts.username is not None or parts.password is not None:
        raise DownloadError(f"a URL with a user name or password is not fetched (host {ascii_host})")
    if not any_port and port is not None and port not in _PUBLIC_PORTS:
        allowed = ", ".join(map(str, sorted(_PUBLIC_PORTS)))
        raise DownloadError(f"{_shown(url)}: port {port} is not allowed; allowed are {allowed}")
    netloc = f"[{ascii_host}]" if ":" in ascii_host else ascii_host
    return SplitResult(
        parts.scheme,
        netloc if port is None else f"{netloc}:{port}",
        quote(parts.path, safe=_SAFE_IN_PATH) or "/",
        quote(parts.query, safe=_SAFE_IN_QUERY),
        "",
    )


def _image_in(response: httpcore.Response, max_bytes: int) -> bytes:
    """Return the body of a final answer, if it is an image of at most `max_bytes`."""
    if response.status != OK:
        raise DownloadError(f"the server answered {response.status} {responses.get(response.status, '')}".rstrip())
    encoding = _header(response, b"content-encoding").lower()
    if encoding not in ("", "identity"):
        raise DownloadError(f"the server sent {encoding}-compressed data, though asked not to")
    if _header(response, b"content-type").lower().startswith("text/html"):
        raise ImageError("not an image: it is an HTML page; give the address of the picture itself")
    length = _header(response, b"content-length")
    if length.isdecimal() and int(length) > max_bytes:
        raise DownloadError(f"the file has {int(length)} bytes, more than the limit of {max_bytes} (query.max_bytes)")
    return _limited(response.iter_stream(), max_bytes)


def _limited(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    data = bytearray()
    is_checked = False
    for chunk in chunks:
        data += chunk
        if len(data) > max_bytes:
            raise DownloadError(f"the file has more than {max_bytes} bytes, the limit (query.max_bytes)")
        if not is_checked and len(data) >= HEAD_BYTES:
            _require_image(bytes(data[:HEAD_BYTES]))
            is_checked = True
    _require_image(bytes(data[:HEAD_BYTES]))
    return bytes(data)


def _require_image(head: bytes) -> None:
    if image_format(head) is None:
        raise ImageError(f"not an image: it is {describe_content(head)}; give the address of the picture itself")


def _absolute_location(target: SplitResult, response: httpcore.Response) -> str:
    """Return the target of a redirect, which may be relative, as an absolute URL."""
    location = _header(response, b"location")
    try:
        absolute = urljoin(target.geturl(), location)
    except ValueError as error:
        raise DownloadError(f"the server redirects to {_shown(location)}, which is not a valid URL") from error
    if not location:
        raise DownloadError(f"the server answered {response.status} without saying where to go")
    return absolute


def _header(response: httpcore.Response, name: bytes) -> str:
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("latin-1").strip()
    return ""


def _shown(url: str) -> str:
    """Return `url` for a message: shortened, and without control characters."""
    text = "".join(character if character.isprintable() else "?" for character in url)
    return text if len(text) <= 200 else text[:197] + "..."


@contextmanager
def _explained(target: SplitResult, deadline: Deadline) -> Iterator[None]:
    """Put the address in front of every message, and turn network errors into `DownloadError`."""
    address = _shown(target.geturl())
    try:
        yield
    except (DownloadError, ImageError) as error:
        raise type(error)(f"{address}: {error}") from error
    except httpcore.TimeoutException as error:
        raise DownloadError(
            f"{address}: not fetched within {deadline.seconds:g} seconds (query.timeout_seconds)"
        ) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise DownloadError(f"{address}: {_network_cause(error)}") from error


def _network_cause(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return f"the connection failed ({' '.join(str(error).split()) or type(error).__name__})"
