"""The private Prefect server of `lookalike build`, in whatever environment it finds itself."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from flows import private_server
from lookalike.errors import LookalikeError
from tests.flows.conftest import TINY, last_json, run_cli


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)


@contextlib.contextmanager
def started():
    server = private_server.start()
    try:
        yield server
    finally:
        server.stop()


def is_up(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health", timeout=60).is_success
    return False


def test_a_build_does_not_care_about_the_machines_environment(built, tmp_path):
    home = tmp_path / "prefect home"
    home.mkdir()
    (home / "profiles.toml").write_text('active = "odd"\n[profiles.odd]\nPREFECT_API_REQUEST_TIMEOUT = "soon"\n')
    (home / "prefect.db").write_bytes(b"of another version")
    (damaged := private_server_home(tmp_path) / "prefect.db").parent.mkdir(parents=True)
    damaged.write_bytes(b"no database")
    proxies = dict.fromkeys(("HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy"), "http://127.0.0.1:9")
    settings = [argument for setting in (*TINY, f"artifacts.root={built[0]}") for argument in ("--set", setting)]
    done = run_cli(
        "build", *settings, "--json", HOME="/nonexistent/home", PREFECT_HOME=str(home), ALL_PROXY="socks://127.0.0.1:9",
        all_proxy="socks5://127.0.0.1:9", NO_PROXY="[::1],example.com", **proxies,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(last_json(done.stdout)["steps"].values()) == {"cached"}
    assert "Traceback" not in done.stderr
    assert damaged.read_bytes().startswith(b"SQLite format 3")
    assert (home / "prefect.db").read_bytes() == b"of another version"
    assert {path.name for path in home.iterdir()} == {"profiles.toml", "prefect.db"}


def private_server_home(tmp_path: Path) -> Path:
    from importlib.metadata import version

    return tmp_path / "cache" / "lookalike" / f"prefect-{version('prefect')}" / "1"


def test_servers_of_two_processes_share_nothing_and_end_with_them(tmp_path):
    script = (
        "from flows.private_server import start; s = start(); s.wait(); print(s.home, s.api_url, flush=True); input()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script]
    with (
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
        started() as server,
    ):
        home, url = other.stdout.readline().split()
        server.wait()
        assert Path(home) != server.home
        assert Path(home).parent == server.home.parent == private_server_home(tmp_path).parent
        assert is_up(url)
        assert is_up(server.api_url)
        other.send_signal(signal.SIGKILL)
        other.wait()
        deadline = time.monotonic() + 10
        while is_up(url) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not is_up(url)
        own_url = server.api_url
    assert not is_up(own_url)


def test_a_start_that_fails_is_one_line_with_its_cause_and_leaves_no_process(monkeypatch):
    settings = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////dev/null/prefect.db"}
    environment = private_server._environment
    monkeypatch.setattr(private_server, "_environment", lambda home: {**environment(home), **settings})
    with started() as server:
        with pytest.raises(
            LookalikeError, match=r"did not start: .*unable to open database file.*its files are in"
        ) as caught:
            server.wait()
        assert "\n" not in str(caught.value)
        assert not is_up(server.api_url)


def test_without_a_cache_folder_the_home_is_a_temporary_one(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "file" / name)
    with started() as server:
        assert server.home.is_dir()
        assert tmp_path not in server.home.parents
    assert not server.home.exists()


def test_a_large_history_is_thrown_away(monkeypatch, tmp_path):
    monkeypatch.setattr(private_server, "_MAX_DATABASE_BYTES", 10)
    home = private_server_home(tmp_path)
    home.mkdir(parents=True)
    (home / "prefect.db").write_bytes(b"x" * 11)
    with started():
        assert not (home / "prefect.db").exists() or (home / "prefect.db").read_bytes()[:1] != b"x"


@pytest.mark.parametrize(
    ("environment", "cause"),
    [
        ({"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}, "set PREFECT_API_URL to name one"),
        ({"PREFECT_LOGGING_LEVEL": "LOUD"}, "Prefect cannot read its settings: LoggingSettings level"),
    ],
)
def test_settings_that_cannot_be_are_one_line(built, environment, cause):
    settings = [argument for setting in (*TINY, f"artifacts.root={built[0]}") for argument in ("--set", setting)]
    done = run_cli("build", *settings, **environment)
    assert done.returncode == 2
    assert cause in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
