import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from lookalike.config.sections import DatasetConfig, Mirror
from lookalike.dataset.source import Source
from lookalike.dataset.storage import open_dataset
from lookalike.errors import ConfigError, DatasetError, DownloadError
from lookalike.stages.download_dataset import download_dataset
from tests.conftest import CALTECH101_ARCHIVE
from tests.servers import content, html, status

REAL = CALTECH101_ARCHIVE


def small_caltech(top="101_ObjectCategories"):
    """A tar.gz laid out like Caltech-101: three labels of four images, and the stray file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for number, label in enumerate(("BACKGROUND_Google", "Faces", "ant")):
            names = [f"image_{index:04d}.jpg" for index in range(4)] + (["tmp"] if number == 0 else [])
            for index, name in enumerate(names):
                picture = io.BytesIO()
                Image.new("RGB", (30, 20), (number * 80, index * 50, 9)).save(picture, "JPEG")
                info = tarfile.TarInfo(f"{top}/{label}/{name}")
                info.size = len(picture.getvalue())
                archive.addfile(info, io.BytesIO(picture.getvalue()))
    return stream.getvalue()


def official_zip():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", small_caltech())
        archive.writestr("caltech-101/show_annotation.m", "%")
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.delenv("LOOKALIKE_CALTECH101", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def build(tmp_path):
    counter = iter(range(100))

    def run(**options):
        artifact = tmp_path / f"artifact-{next(counter)}"
        artifact.mkdir()
        summary = download_dataset(DatasetConfig(source="caltech101", **options), artifact, tmp_path / "downloads")
        return summary, open_dataset(artifact)

    return run


def assert_is_the_small_set(summary, dataset):
    assert (summary.n_files, summary.n_images, summary.n_rejects, summary.n_stray) == (13, 12, 1, 1)
    assert (summary.n_train, summary.n_valid) == (9, 3)
    assert dataset.classes == ["BACKGROUND_Google", "Faces", "ant"]
    assert all((dataset.root / path).is_file() for path in dataset.catalog["path"].to_pylist())


def test_download_from_the_official_archive(server, build):
    data = official_zip()
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    mirrors = (Mirror(url=server.serve("/caltech-101.zip", content(data, "application/zip")), md5=md5),)
    assert_is_the_small_set(*build(mirrors=mirrors))
    assert_is_the_small_set(*build(mirrors=mirrors))
    assert len(server.requests) == 1, "the second run uses the first one's download"


def test_second_mirror_with_the_flat_archive_is_used(server, build):
    mirrors = (
        Mirror(url=server.serve("/page", html())),
        Mirror(url=server.serve("/text", content(b"moved, see our new site"))),
        Mirror(url=server.serve("/caltech_101.tgz", content(small_caltech("caltech_101")))),
    )
    assert_is_the_small_set(*build(mirrors=mirrors))


def test_no_usable_mirror_says_what_to_do(server, build, tmp_path):
    mirrors = (Mirror(url=server.serve("/page", html())), Mirror(url=server.serve("/gone", status(404))))
    with pytest.raises(DownloadError, match=r"web page.*404.*name it in dataset\.archive or \$LOOKALIKE_CALTECH101"):
        build(mirrors=mirrors)
    assert list((tmp_path / "artifact-0").iterdir()) == []


def test_bad_download_is_not_kept_for_the_next_run(server, build, tmp_path):
    data = small_caltech()
    mirrors = (Mirror(url=server.serve("/a.tgz", content(data[: len(data) // 2]))),)
    with pytest.raises(DatasetError, match="damaged"):
        build(mirrors=mirrors)
    assert list((tmp_path / "artifact-0").iterdir()) == []
    server.serve("/a.tgz", content(data))
    assert_is_the_small_set(*build(mirrors=mirrors))


@pytest.mark.parametrize("from_environment", [False, True])
def test_local_archive(build, tmp_path, monkeypatch, from_environment):
    archive = tmp_path / "here.zip"
    archive.write_bytes(official_zip())
    if from_environment:
        monkeypatch.setenv("LOOKALIKE_CALTECH101", str(archive))
    options = {} if from_environment else {"archive": archive}
    assert_is_the_small_set(*build(**options))
    fingerprint = Source(DatasetConfig(source="caltech101", **options)).fingerprint
    assert fingerprint == {
        "source": "caltech101",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "bytes": archive.stat().st_size,
    }


def test_local_folder_is_used_where_it_lies(build, tmp_path):
    with tarfile.open(fileobj=io.BytesIO(small_caltech())) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    for folder in (tmp_path / "unpacked", tmp_path / "unpacked" / "101_ObjectCategories"):
        summary, dataset = build(archive=folder)
        assert_is_the_small_set(summary, dataset)
        assert dataset.root == tmp_path / "unpacked" / "101_ObjectCategories"


@pytest.mark.parametrize("from_environment", [False, True])
def test_missing_archive_is_an_error_at_once(tmp_path, monkeypatch, from_environment):
    if from_environment:
        monkeypatch.setenv("LOOKALIKE_CALTECH101", str(tmp_path / "missing.zip"))
    config = DatasetConfig(source="caltech101", archive=None if from_environment else tmp_path / "missing.zip")
    name = r"\$LOOKALIKE_CALTECH101" if from_environment else r"dataset\.archive"
    with pytest.raises(ConfigError, match=f"{name}: .*missing.zip does not exist"):
        Source(config).check()


def test_fingerprint_of_a_download_is_its_mirrors():
    config = DatasetConfig(
        source="caltech101", mirrors=(Mirror(url="http://a/"), Mirror(url="http://b/", md5="0" * 32))
    )
    assert Source(config).fingerprint["mirrors"] == [
        {"url": "http://a/", "md5": None, "sha256": None},
        {"url": "http://b/", "md5": "0" * 32, "sha256": None},
    ]


@pytest.mark.caltech101
@pytest.mark.skipif(REAL is None, reason="LOOKALIKE_CALTECH101 does not name the real archive")
def test_the_real_archive(build):
    summary, dataset = build(archive=Path(str(REAL)))
    assert (summary.n_files, summary.n_images, summary.n_labels) == (9145, 9144, 102)
    assert (summary.n_rejects, summary.n_stray) == (1, 1)
    assert abs(summary.n_valid / summary.n_images - 0.2) < 0.002
    assert dataset.catalog["path"][0].as_py() == "BACKGROUND_Google/image_0001.jpg"


@pytest.mark.caltech101
@pytest.mark.skipif(REAL is None, reason="LOOKALIKE_CALTECH101 does not name the real archive")
def test_the_real_archive_without_the_background(build):
    summary, dataset = build(archive=Path(str(REAL)), exclude_labels=("BACKGROUND_Google",))
    assert (summary.n_images, summary.n_labels, summary.n_excluded, summary.n_rejects) == (8677, 101, 468, 0)
    assert "BACKGROUND_Google" not in dataset.classes
