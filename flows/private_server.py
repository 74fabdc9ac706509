"""The private Prefect server of a build in the terminal: used by one process, and ended with it.

Prefect can start a server itself, but with the user's home, database, settings and proxies, on a port
that may be taken, and without an error message if the start fails. This one listens on a socket that is
bound before it starts, reads only the settings given here, and keeps its files below the user's cache
folder, or in a temporary folder if that is not writable. Each process uses another home, so no two
servers share a database.

Its parts: `start` and `PrivateServer` for the process that needs a server, `main` for the server's own.
"""

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path

import platformdirs

from lookalike.errors import LookalikeError

# Migrations of a new database, on a busy machine. A start that fails says so at once.
_START_TIMEOUT_SECONDS = 120.0
# The history is not needed; beyond this size a new database is faster.
_MAX_DATABASE_BYTES = 50_000_000
_DATABASE = "prefect.db"


class PrivateServer:
    """A server process that was started and may not be ready yet."""

    def __init__(self, home: Path, lock: int | None) -> None:
        self.home = home
        self._lock = lock
        self._launch()
        atexit.register(self.stop)

    @property
    def api_url(self) -> str:
        """The address of its API."""
        return f"http://127.0.0.1:{self._port}/api"

    def wait(self) -> None:
        """Wait until the server answers; LookalikeError with the cause if it does not."""
        had_database = self._had_database
        if self._answers():
            return
        if had_database:
            # The database is probably damaged, and its content is not needed.
            self._end()
            with contextlib.suppress(OSError):
                _clear(self.home)
                self._launch(self._port)
            if self._answers():
                return
        self._end()
        raise LookalikeError(f"Prefect's private server did not start: {self._cause()}; its files are in {self.home}")

    def stop(self) -> None:
        """End the process at once; no other process uses its database."""
        self._end()
        if self._lock is None:
            shutil.rmtree(self.home, ignore_errors=True)

    def _launch(self, port: int = 0) -> None:
        database = self.home / _DATABASE
        self._had_database = database.exists()
        with contextlib.closing(socket.socket()) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            # From now on clients are kept waiting until the server takes them, and are cut off if it ends.
            listener.listen(128)
            self._port = listener.getsockname()[1]
            inherited = [listener.fileno(), *([] if self._lock is None else [self._lock])]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.private_server", str(listener.fileno())],
                cwd=self.home,
                env=_environment(self.home),
                pass_fds=inherited,
                # Kept open by this process alone: the server ends when it is closed, however this process ends.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                errors="replace",
            )
        # In memory: a full disk is one of the causes to report.
        self._output: deque[str] = deque(maxlen=200)
        self._reader = threading.Thread(target=self._output.extend, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _answers(self) -> bool:
        import httpx

        try:
            with httpx.Client(trust_env=False, timeout=_START_TIMEOUT_SECONDS) as client:
                return client.get(f"{self.api_url}/health").is_success
        except httpx.TransportError:
            return False

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _cause(self) -> str:
        lines = [line.strip() for line in self._output if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
        return (errors or lines or ["it said nothing"])[-1]


def start() -> PrivateServer:
    """Start a private server and return without waiting for it; LookalikeError if that is not possible."""
    try:
        home, lock = _take_home()
        if lock is not None and (home / _DATABASE).exists() and (home / _DATABASE).stat().st_size > _MAX_DATABASE_BYTES:
            _clear(home)
        return PrivateServer(home, lock)
    except OSError as error:
        raise LookalikeError(f"Prefect's private server cannot be started: {error}") from error


def _take_home() -> tuple[Path, int | None]:
    """Return a folder that no other process uses, and its lock; a temporary folder has no lock."""
    for home in _homes():
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=home):
                pass
            lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            break
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        except OSError:
            os.close(lock)
            break
        return home, lock
    return Path(tempfile.mkdtemp(prefix="lookalike-prefect-")), None


def _homes() -> Iterator[Path]:
    cache = platformdirs.user_cache_path("lookalike")
    # Without a home folder the path would be taken as relative to the current folder.
    if cache.is_absolute():
        yield from (cache / f"prefect-{version('prefect')}" / str(number) for number in count(1))


def _clear(home: Path) -> None:
    for path in home.glob(f"{_DATABASE}*"):
        path.unlink()


def _environment(home: Path) -> dict[str, str]:
    """Return the environment of the server, without the user's Prefect settings and proxies."""
    foreign = ("prefect_", "http_proxy", "https_proxy", "all_proxy")
    kept = {name: value for name, value in os.environ.items() if not name.lower().startswith(foreign)}
    project = str(Path(__file__).parents[1])
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, [project, kept.get("PYTHONPATH")])),
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        # Blocks are for deployments; to register their types takes a third of the start.
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    }


def main() -> None:
    """Serve on the inherited socket until the process that started this one closes our standard input, or dies."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    server = uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on"))
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
