import hashlib
import io
import tarfile

import httpx
import pytest

from lookalike.config.sections import Mirror
from lookalike.errors import DownloadError
from lookalike.fetch import download
from tests.servers import content, html, in_turn, lying_length, redirect, silent, status, without_length

DATA = bytes(range(256)) * 4000
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy_and_no_waits(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(download, "ATTEMPTS", 3)
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "downloads" / "archive"


def fetch(target, *mirrors, **options):
    return download.download_from_mirrors(mirrors, target, **options)


def test_download_writes_the_file_whole_and_nothing_else(server, target):
    done = fetch(target, Mirror(url=server.serve("/a", content(DATA)), md5=MD5, sha256=SHA256))
    assert done.read_bytes() == DATA
    assert done.name.startswith("archive-")
    assert list(target.parent.iterdir()) == [done]


@pytest.mark.parametrize("digests", [{}, {"md5": MD5}, {"sha256": SHA256}])
def test_finished_download_is_used_again(server, target, digests):
    mirrors = [Mirror(url=server.serve("/gone", status(404))), Mirror(url=server.serve("/a", content(DATA)), **digests)]
    assert fetch(target, *mirrors) == fetch(target, *mirrors)
    assert len(server.requests) == 2


@pytest.mark.parametrize("digests", [{"md5": MD5}, {"sha256": SHA256}, {"md5": MD5, "sha256": SHA256}])
@pytest.mark.parametrize("damaged", [DATA[:-1], DATA[:-1] + b"?", b""])
def test_damaged_download_is_fetched_again(server, target, damaged, digests):
    mirror = Mirror(url=server.serve("/a", content(DATA)), **digests)
    fetch(target, mirror).write_bytes(damaged)
    assert fetch(target, mirror).read_bytes() == DATA
    assert len(server.requests) == 2


def test_download_that_no_longer_passes_the_check_is_fetched_again(server, target):
    mirror = Mirror(url=server.serve("/a", content(DATA)))

    def check(path):
        if path.read_bytes() != DATA:
            raise DownloadError("other content")

    fetch(target, mirror, check=check).write_bytes(b"other")
    assert fetch(target, mirror, check=check).read_bytes() == DATA


def test_download_of_a_mirror_no_longer_configured_is_not_used(server, target):
    fetch(target, Mirror(url=server.serve("/old", content(b"old"))))
    assert fetch(target, Mirror(url=server.serve("/new", content(b"new")))).read_bytes() == b"new"


@pytest.mark.parametrize("broken", [lying_length(DATA[:300_000], len(DATA)), lambda handler: None])
def test_broken_connection_is_tried_again(server, target, broken):
    url = server.serve("/a", in_turn(broken, broken, content(DATA)))
    assert fetch(target, Mirror(url=url)).read_bytes() == DATA
    assert len(server.requests) == 3


def test_server_that_stalls_is_given_up(server, target, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.1)
    with pytest.raises(DownloadError, match=r"connection failed .*tried 3 times"):
        fetch(target, Mirror(url=server.serve("/a", silent())))


def test_waits_between_attempts_double(server, target, monkeypatch):
    waits = []
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 1.0)
    monkeypatch.setattr("lookalike.fetch.download.time.sleep", waits.append)
    with pytest.raises(DownloadError, match="503"):
        fetch(target, Mirror(url=server.serve("/a", status(503))))
    assert waits == [1.0, 2.0]


def test_killed_download_leaves_nothing_under_the_final_name(server, target, monkeypatch):
    mirror = Mirror(url=server.serve("/a", content(DATA)))

    def killed_on_the_way(response):
        yield DATA[:1000]
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(httpx.Response, "iter_raw", killed_on_the_way)
        with pytest.raises(KeyboardInterrupt):
            fetch(target, mirror)
    assert list(target.parent.iterdir()) == []
    assert fetch(target, mirror).read_bytes() == DATA


def test_proxy_of_the_environment_is_used(server, target, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", server.url(""))
    server.serve("http://far-away.invalid/a", content(DATA))
    assert fetch(target, Mirror(url="http://far-away.invalid/a")).read_bytes() == DATA


def test_unusable_proxy_gives_one_clear_line(target, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    with pytest.raises(DownloadError, match="Unknown scheme for proxy"):
        fetch(target, Mirror(url="http://far-away.invalid/a"))


def test_server_errors_are_tried_again(server, target):
    url = server.serve("/a", in_turn(status(503), status(500), content(DATA)))
    fetch(target, Mirror(url=url))
    assert len(server.requests) == 3


def test_missing_file_is_not_asked_for_twice(server, target):
    url = server.serve("/a", status(404))
    with pytest.raises(DownloadError, match="404 Not Found"):
        fetch(target, Mirror(url=url))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "bad",
    [
        status(404),
        status(503),
        html(),
        content(b"<html>captive portal</html>"),
        content(DATA[1:]),
        lying_length(DATA, len(DATA) + 1),
        redirect("http://127.0.0.1:1/"),
        redirect("/bad"),
    ],
)
def test_next_mirror_is_used_after_a_bad_one(server, target, bad):
    good = Mirror(url=server.serve("/good", content(DATA)), md5=MD5)
    done = fetch(target, Mirror(url=server.serve("/bad", bad), md5=MD5), good)
    assert list(target.parent.iterdir()) == [done]
    assert done.read_bytes() == DATA


def test_all_mirrors_failing_are_all_named_in_one_line(server, target):
    mirrors = [Mirror(url=server.serve("/page", html())), Mirror(url=server.serve("/gone", status(410)))]
    with pytest.raises(DownloadError) as failure:
        fetch(target, *mirrors)
    message = str(failure.value)
    assert "web page" in message
    assert "410 Gone" in message
    assert "\n" not in message
    assert list(target.parent.iterdir()) == []


def test_wrong_checksum_is_refused_and_leaves_nothing(server, target):
    with pytest.raises(DownloadError, match=f"md5 {MD5}, expected {'0' * 32}"):
        fetch(target, Mirror(url=server.serve("/a", content(DATA)), md5="0" * 32))
    with pytest.raises(DownloadError, match="expected"):
        fetch(target, Mirror(url=server.serve("/a", content(DATA)), sha256="0" * 64))
    assert list(target.parent.iterdir()) == []


def test_check_may_refuse_the_content(server, target):
    def must_be_tar(path):
        if not tarfile.is_tarfile(path):
            raise DownloadError("no tar")

    stream = io.BytesIO()
    tarfile.open(fileobj=stream, mode="w").close()
    good = Mirror(url=server.serve("/tar", content(stream.getvalue())))
    bad = Mirror(url=server.serve("/other", content(DATA)))
    assert fetch(target, bad, good, check=must_be_tar).read_bytes() == stream.getvalue()


def test_download_stops_at_the_size_limit(server, target, monkeypatch):
    monkeypatch.setattr(download, "MAX_FILE_BYTES", 1000)
    announced = Mirror(url=server.serve("/a", content(DATA)))
    silent = Mirror(url=server.serve("/b", without_length(DATA)))
    with pytest.raises(DownloadError, match=r"more than the limit of 1000.*more than 1000 bytes"):
        fetch(target, announced, silent)


def test_redirects_are_followed(server, target):
    server.serve("/a", content(DATA))
    assert fetch(target, Mirror(url=server.serve("/go", redirect("/a")))).read_bytes() == DATA


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[/", "http://no-such-host.invalid/", "http://x:99999/"])
def test_unreachable_mirror_gives_one_clear_line(target, url):
    with pytest.raises(DownloadError, match="no mirror gave the file") as failure:
        fetch(target, Mirror(url=url))
    assert "\n" not in str(failure.value)


def test_no_mirrors_is_an_error(target):
    with pytest.raises(DownloadError, match="no mirror gave the file: none is configured"):
        fetch(target)
