"""A real local HTTP server for tests, which behaves as well or as badly as a test asks.

`with LocalServer() as server: server.serve("/a.jpg", content(data))` answers requests for that path
with a reply: a function that is handed the request's handler and writes to its socket. Replies that
never end stop when the client goes away or the server is closed.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Reply = Callable[["Handler"], None]
_CHUNK = b"\0" * 65536


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the reply of its path."""

    server: "_Server"
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        self.server.requests.append((self.path, dict(self.headers)))
        reply = self.server.replies.get(self.path.partition("?")[0], status(404))
        # The client hung up, which is what many tests are about.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            reply(self)

    def start(self, code: int, **headers: Any) -> None:
        """Send the status line and headers; underscores in names stand for hyphens."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        # Else a client that is redirected may send its next request on a connection that is about to close.
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), Handler)
        self.replies: dict[str, Reply] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """Keep the test output clean of clients that refuse our certificate."""


class LocalServer:
    """The server as a context manager; `address` may be any loopback address, such as 127.0.0.2."""

    def __init__(self, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._address = address
        self._server = _Server(address)
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def requests(self) -> list[tuple[str, dict[str, str]]]:
        """(path, headers) of all requests so far."""
        return self._server.requests

    def url(self, path: str, host: str | None = None) -> str:
        return f"{self._scheme}://{host or self._address}:{self.port}{path}"

    def serve(self, path: str, reply: Reply) -> str:
        """Answer requests for `path` with `reply` from now on; return the URL."""
        self._server.replies[path] = reply
        return self.url(path)


def content(data: bytes, content_type: str = "application/octet-stream", **headers: Any) -> Reply:
    """The whole of `data`."""

    def reply(handler: Handler) -> None:
        handler.start(200, Content_Type=content_type, Content_Length=len(data), **headers)
        handler.wfile.write(data)

    return reply


def without_length(data: bytes) -> Reply:
    """All of `data`, its end told only by closing the connection."""

    def reply(handler: Handler) -> None:
        handler.start(200)
        handler.wfile.write(data)

    return reply


def html(text: str = "<!DOCTYPE html><html><body>not here</body></html>") -> Reply:
    return content(text.encode(), "text/html; charset=utf-8")


def status(code: int) -> Reply:
    def reply(handler: Handler) -> None:
        handler.start(code, Content_Length=0)

    return reply


def redirect(to: str, code: int = 302) -> Reply:
    def reply(handler: Handler) -> None:
        handler.start(code, Location=to, Content_Length=0)

    return reply


def in_turn(*replies: Reply) -> Reply:
    """The first reply to the first request, and so on; the last one for all further requests."""
    waiting = list(replies)

    def reply(handler: Handler) -> None:
        (waiting.pop(0) if len(waiting) > 1 else waiting[0])(handler)

    return reply


def lying_length(data: bytes, announced: int) -> Reply:
    """A Content-Length that is not that of the content."""

    def reply(handler: Handler) -> None:
        handler.start(200, Content_Length=announced)
        handler.wfile.write(data)

    return reply


def endless(start: bytes = b"") -> Reply:
    """`start`, and then zeros for ever."""

    def reply(handler: Handler) -> None:
        handler.start(200)
        handler.wfile.write(start)
        while not handler.server.closing.is_set():
            handler.wfile.write(_CHUNK)

    return reply


def drip(data: bytes, pause_seconds: float = 0.02) -> Reply:
    """One byte of the content at a time, so slowly that no single wait is long but the whole is."""

    def reply(handler: Handler) -> None:
        handler.start(200, Content_Length=len(data))
        _drip(handler, data, pause_seconds)

    return reply


def drip_headers(pause_seconds: float = 0.02) -> Reply:
    """A header that never ends, one byte at a time."""

    def reply(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        _drip(handler, b"x" * 60_000, pause_seconds)

    return reply


def silent() -> Reply:
    """Accepts the request and says nothing."""

    def reply(handler: Handler) -> None:
        handler.server.closing.wait()

    return reply


def _drip(handler: Handler, data: bytes, pause_seconds: float) -> None:
    for byte in data:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        if handler.server.closing.wait(pause_seconds):
            return
