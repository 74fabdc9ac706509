import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from lookalike.config import Mirror
from lookalike.download import discard_download, download_file
from lookalike.errors import DownloadError
from tests.servers import LocalServer, content, html, in_turn, lying_length, ranged, redirect, status, without_length

DATA = bytes(range(256)) * 4000
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "downloads" / "archive"


def fetch(target, *mirrors, **options):
    return download_file(mirrors, target, first_wait_seconds=0.0, **options)


def test_download_writes_the_file_and_says_what_it_is(server, target):
    url = server.serve("/a", content(DATA))
    done = fetch(target, Mirror(url=url, md5=MD5, sha256=SHA256))
    assert target.read_bytes() == DATA
    assert (done.path, done.url, done.sha256, done.n_bytes) == (target, url, SHA256, len(DATA))
    assert sorted(path.name for path in target.parent.iterdir()) == ["archive", "archive.json"]


def test_finished_download_is_used_again(server, target):
    mirror = Mirror(url=server.serve("/a", content(DATA)))
    assert fetch(target, mirror) == fetch(target, mirror)
    assert len(server.requests) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "record"])
def test_damaged_download_is_fetched_anew(server, target, damage):
    mirror = Mirror(url=server.serve("/a", content(DATA)))
    fetch(target, mirror)
    if damage == "record":
        target.with_name("archive.json").write_text("{")
    else:
        target.write_bytes(DATA[:-1] + (b"" if damage == "cut" else b"?"))
    fetch(target, mirror)
    assert target.read_bytes() == DATA
    assert len(server.requests) == 2


def test_download_of_a_mirror_no_longer_configured_is_not_used(server, target):
    fetch(target, Mirror(url=server.serve("/old", content(b"old"))))
    fetch(target, Mirror(url=server.serve("/new", content(b"new"))))
    assert target.read_bytes() == b"new"


def test_discarded_download_is_fetched_anew(server, target):
    mirror = Mirror(url=server.serve("/a", content(DATA)))
    fetch(target, mirror)
    discard_download(target)
    fetch(target, mirror)
    assert len(server.requests) == 2


def test_broken_connection_is_resumed_where_it_stopped(server, target):
    url = server.serve("/a", in_turn(ranged(DATA, stop_after=300_000), ranged(DATA)))
    fetch(target, Mirror(url=url, sha256=SHA256))
    assert [headers.get("Range") for _, headers in server.requests] == [None, "bytes=300000-"]
    assert target.read_bytes() == DATA


def test_download_goes_on_as_long_as_it_makes_progress(server, target):
    url = server.serve("/a", ranged(DATA, stop_after=200_000))
    fetch(target, Mirror(url=url, sha256=SHA256), attempts=2)
    assert target.read_bytes() == DATA
    assert len(server.requests) == 6


def test_interrupted_download_is_resumed_by_the_next_run(server, target):
    url = server.serve("/a", in_turn(ranged(DATA, stop_after=300_000), status(503)))
    with pytest.raises(DownloadError, match="503"):
        fetch(target, Mirror(url=url), attempts=2)
    server.serve("/a", ranged(DATA))
    fetch(target, Mirror(url=url, sha256=SHA256))
    assert server.requests[-1][1]["Range"] == "bytes=300000-"


def test_changed_file_is_not_glued_to_the_old_part(server, target):
    other = DATA[::-1]
    url = server.serve("/a", in_turn(ranged(DATA, '"v1"', stop_after=300_000), ranged(other, '"v2"')))
    fetch(target, Mirror(url=url))
    assert target.read_bytes() == other


def test_part_without_validator_is_not_resumed(server, target):
    url = server.serve("/a", in_turn(ranged(DATA, None, stop_after=300_000), ranged(DATA, None)))
    fetch(target, Mirror(url=url))
    assert [headers.get("Range") for _, headers in server.requests] == [None, None]
    assert target.read_bytes() == DATA


def test_server_without_ranges_sends_everything_again(server, target):
    url = server.serve("/a", in_turn(ranged(DATA, stop_after=300_000), content(DATA)))
    fetch(target, Mirror(url=url))
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("bad", [status(416), lambda handler: handler.start(206, Content_Range="bytes 5-9/10")])
def test_part_that_does_not_fit_is_thrown_away(server, target, bad):
    url = server.serve("/a", in_turn(ranged(DATA, stop_after=300_000), bad, ranged(DATA)))
    fetch(target, Mirror(url=url))
    assert server.requests[-1][1].get("Range") is None
    assert target.read_bytes() == DATA


def test_download_that_was_killed_just_before_its_end_is_not_fetched_again(server, target, monkeypatch):
    mirror = Mirror(url=server.serve("/a", ranged(DATA)), sha256=SHA256)
    rename = Path.replace

    def killed_at_the_last_rename(path, destination):
        if destination == target:
            raise KeyboardInterrupt
        return rename(path, destination)

    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", killed_at_the_last_rename)
        with pytest.raises(KeyboardInterrupt):
            fetch(target, mirror)
    assert not target.exists()
    fetch(target, mirror)
    assert target.read_bytes() == DATA
    assert server.requests[-1][1]["Range"] == f"bytes={len(DATA)}-"
    assert sorted(path.name for path in target.parent.iterdir()) == ["archive", "archive.json"]


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
    done = fetch(target, Mirror(url=server.serve("/bad", bad), md5=MD5), good, attempts=2)
    assert done.url == good.url
    assert target.read_bytes() == DATA


def test_all_mirrors_failing_are_all_named_in_one_line(server, target):
    mirrors = [Mirror(url=server.serve("/page", html())), Mirror(url=server.serve("/gone", status(410)))]
    with pytest.raises(DownloadError) as failure:
        fetch(target, *mirrors)
    message = str(failure.value)
    assert "web page" in message
    assert "410 Gone" in message
    assert "\n" not in message
    assert not target.exists()


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
    assert fetch(target, bad, good, check=must_be_tar).url == good.url


def test_download_stops_at_the_size_limit(server, target):
    announced = Mirror(url=server.serve("/a", content(DATA)))
    silent = Mirror(url=server.serve("/b", without_length(DATA)))
    with pytest.raises(DownloadError, match=r"more than the limit of 1000.*more than 1000 bytes"):
        fetch(target, announced, silent, max_bytes=1000)


def test_redirects_are_followed(server, target):
    server.serve("/a", content(DATA))
    fetch(target, Mirror(url=server.serve("/go", redirect("/a"))))
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "not a url", "http://no-such-host.invalid/", "ftp://x/"])
def test_unreachable_mirror_gives_one_clear_line(target, url):
    with pytest.raises(DownloadError, match="no mirror gave the file") as failure:
        fetch(target, Mirror(url=url), attempts=2)
    assert "\n" not in str(failure.value)


def test_no_mirrors_is_an_error(target):
    with pytest.raises(DownloadError, match="no mirror is configured"):
        fetch(target)
