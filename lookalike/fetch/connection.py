"""Network connections to permitted addresses only, with one deadline for all their steps.

The name of a host is resolved once; if all its addresses are permitted, the connection goes to one
of them, so that a second answer of the name server cannot lead elsewhere. One deadline covers name
resolution, connecting, encryption, sending and receiving, however slowly the other side drips.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from lookalike.errors import DownloadError
from lookalike.fetch.addresses import IPAddress, parse_address


class Deadline:
    """The time at which all work on one URL must be done."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left; raises if there are none, because a socket takes 0 for "never wait"."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("no time left")
        return left


def open_pool(scheme: str, deadline: Deadline, permits: Callable[[IPAddress], bool]) -> httpcore.ConnectionPool:
    """Return a connection pool for one request, whose every wait ends at `deadline`.

    It raises `DownloadError` for a host with an address that `permits` refuses, and httpcore's
    exceptions for everything else that goes wrong on the network.
    """
    return httpcore.ConnectionPool(
        # Reading the trusted certificates takes longer than many a download.
        ssl_context=_tls_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        network_backend=_Backend(deadline, permits),
        max_keepalive_connections=0,
    )


class _Stream(httpcore.NetworkStream):
    """A connection on which each wait ends at the common deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.remaining())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining())
        return _Stream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Connects to permitted addresses only; the one place where names become addresses."""

    def __init__(self, deadline: Deadline, permits: Callable[[IPAddress], bool]) -> None:
        self._deadline = deadline
        self._permits = permits

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _resolve(host, port, self._deadline)
        refused = [address for address in addresses if not self._permits(parse_address(address))]
        if refused:
            raise DownloadError(
                f"{host} is at {refused[0]}, which is not a public address "
                "(query.allow_private_addresses would permit it)"
            )
        return _Stream(_connect_first(addresses, port, self._deadline), self._deadline)


def _connect_first(addresses: list[str], port: int, deadline: Deadline) -> httpcore.NetworkStream:
    backend = httpcore.SyncBackend()
    for position, address in enumerate(addresses):
        try:
            # An unreachable first address must leave time for the others.
            share = deadline.remaining() / (len(addresses) - position)
            return backend.connect_tcp(address, port, timeout=share)
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            if position == len(addresses) - 1:
                raise
    raise DownloadError("the host name has no address")


def _resolve(host: str, port: int, deadline: Deadline) -> list[str]:
    """Return the addresses of `host`; in a thread, because the system's resolver has no time limit."""
    answer: list[Any] = []

    def look_up() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=look_up, daemon=True, name="lookalike-resolve")
    thread.start()
    thread.join(deadline.remaining())
    if not answer:
        raise httpcore.ConnectTimeout("name resolution")
    if isinstance(answer[0], Exception):
        raise DownloadError(f"the host name {host} cannot be resolved") from answer[0]
    return list(dict.fromkeys(str(entry[4][0]) for entry in answer[0]))


def _tls_context() -> ssl.SSLContext:
    """Trust what the system trusts, or the certificates of `certifi` on a system that has none."""
    context = ssl.create_default_context()
    if context.cert_store_stats()["x509_ca"] == 0:
        import certifi

        context.load_verify_locations(certifi.where())
    return context
