import gzip
import io
import os
import tarfile
import zipfile

import numpy as np
import pytest

from lookalike.dataset.archive import ArchiveLimits, extract_archive, require_archive
from lookalike.errors import DatasetError

FILES = {"cat/one.jpg": b"cat 1", "cat/two.jpg": b"cat 2", "dog/one.jpg": b"dog 1"}


def tar_bytes(files, mode="w:gz", change=None):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if change is not None:
                change(info)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def zip_bytes(files, compression=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def under(folder, files):
    return {f"{folder}/{name}": data for name, data in files.items()}


def extracted(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def extract(tmp_path):
    """Extract bytes as an archive and return what came out; whatever happens, no temporary folder stays."""

    def run(data, **limits):
        source = tmp_path / "some archive"
        source.write_bytes(data)
        try:
            extract_archive(source, tmp_path / "out" / "images", ArchiveLimits(**limits))
            return extracted(tmp_path / "out" / "images")
        finally:
            assert [path.name for path in (tmp_path / "out").glob("*") if path.name != "images"] == []
            assert sorted(path.name for path in tmp_path.iterdir() if path.name != "out") == ["some archive"]

    return run


OFFICIAL = zip_bytes(
    {
        "caltech-101/101_ObjectCategories.tar.gz": tar_bytes(under("101_ObjectCategories", FILES)),
        "caltech-101/Annotations.tar": tar_bytes({"Annotations/cat/a.mat": b"?"}, "w"),
        "caltech-101/show_annotation.m": b"%",
        "__MACOSX/caltech-101/._101_ObjectCategories.tar.gz": b"?",
    }
)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(OFFICIAL, id="official zip"),
        pytest.param(zip_bytes({"data/images.tar.gz": tar_bytes(FILES)}), id="zip of one tar"),
        pytest.param(tar_bytes(under("caltech_101", FILES)), id="flat tgz under one folder"),
        pytest.param(tar_bytes(under("./a/b", FILES)), id="two outer folders"),
        pytest.param(tar_bytes(FILES), id="flat tgz"),
        pytest.param(tar_bytes(FILES, "w"), id="plain tar"),
        pytest.param(tar_bytes(FILES, "w:bz2"), id="tar.bz2"),
        pytest.param(tar_bytes(FILES, "w:xz"), id="tar.xz"),
        pytest.param(zip_bytes(FILES), id="flat zip"),
        pytest.param(zip_bytes(under("caltech_101", FILES), zipfile.ZIP_STORED), id="stored zip"),
    ],
)
def test_every_layout_gives_label_folders(extract, data):
    assert extract(data) == FILES


def test_archive_of_one_label_keeps_its_folder(extract):
    assert extract(tar_bytes({"cat/one.jpg": b"1"})) == {"cat/one.jpg": b"1"}


def test_odd_but_harmless_names_are_kept(extract):
    names = {"a label/<img onerror=1>.jpg": b"1", "ä/..x..jpg": b"2", "ab:c/d.jpg": b"3"}
    assert extract(tar_bytes(names)) == names


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "cat/../../evil.jpg", "/tmp/evil.jpg", "..\\evil.jpg", "C:\\evil.jpg", "\\evil.jpg", "a/.."]
)
@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_paths_outside_of_the_target_are_refused(extract, make, name):
    with pytest.raises(DatasetError, match="outside of the target folder"):
        extract(make({**FILES, name: b"evil"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(extract, kind):
    def change(info):
        info.type, info.size, info.linkname = kind, 0, "/etc/passwd"

    with pytest.raises(DatasetError, match="link or device"):
        extract(tar_bytes({"cat/one.jpg": b""}, change=change))


def test_links_in_a_zip_are_refused(extract):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo("cat/one.jpg")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DatasetError, match="link or device"):
        extract(stream.getvalue())


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("mode", [0o6777, 0o000])
def test_rights_are_those_of_the_umask_whatever_the_archive_says(tmp_path, umask, mode):
    def change(info):
        info.mode = mode

    (tmp_path / "a.tar").write_bytes(tar_bytes(FILES, change=change))
    before = os.umask(umask)
    try:
        extract_archive(tmp_path / "a.tar", tmp_path / "images")
    finally:
        os.umask(before)
    for path in (tmp_path / "images", *(tmp_path / "images").rglob("*")):
        assert path.stat().st_mode & 0o7777 == (0o777 if path.is_dir() else 0o666) & ~umask


def test_a_member_that_is_shorter_than_it_announces_is_refused(extract):
    data = zip_bytes({"cat/one.jpg": b"\0" * 100_000})
    with pytest.raises(DatasetError, match="ends too early"):
        extract(data.replace((100_000).to_bytes(4, "little"), (200_000).to_bytes(4, "little")))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"member_bytes": 999}, "unpacks to 1000 bytes, over 999"),
        ({"total_bytes": 2999}, "unpacks to more than 2999 bytes"),
        ({"n_members": 2}, "more than 2 files"),
    ],
)
@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_archives_that_unpack_to_too_much_are_refused(extract, make, limits, message):
    with pytest.raises(DatasetError, match=message):
        extract(make({f"cat/{number}.jpg": b"\0" * 1000 for number in range(3)}), **limits)


def test_a_member_cannot_unpack_to_more_than_it_announces(extract):
    data = zip_bytes({"cat/one.jpg": b"\0" * 100_000})
    lying = data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != data
    with pytest.raises(DatasetError, match="damaged"):
        extract(lying, total_bytes=50_000)


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_duplicate_names_are_refused(extract, make):
    class Twice(dict):
        def items(self):
            return [*super().items()] * 2

    with pytest.warns(UserWarning, match="Duplicate") if make is zip_bytes else pytest.raises(DatasetError):
        data = make(Twice(FILES))
        if make is tar_bytes:
            extract(data)
    with pytest.raises(DatasetError, match="twice"):
        extract(data)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"", "empty"),
        (b"hello", "text"),
        (b"\xff\xd8\xff\xe0 no archive", "a JPEG image"),
        (gzip.compress(b"no tar inside"), "a gzip archive"),
    ],
)
def test_what_is_no_archive_is_called_by_its_name(tmp_path, content, what):
    (tmp_path / "caltech-101.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=f"not a zip or tar archive: it is {what}"):
        extract_archive(tmp_path / "caltech-101.zip", tmp_path / "images")
    with pytest.raises(DatasetError, match="cannot read"):
        require_archive(tmp_path / "missing.zip")


def test_several_inner_archives_are_not_guessed_at(extract):
    inner = tar_bytes(FILES)
    with pytest.raises(DatasetError, match="several archives"):
        extract(zip_bytes({"a.tar.gz": inner, "b.tar.gz": inner}))


def test_encrypted_zip_gives_a_clear_error(extract):
    data = bytearray(zip_bytes({"cat/one.jpg": b"1"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    with pytest.raises(DatasetError, match="encrypted"):
        extract(bytes(data))


def test_damaged_archives_are_refused_or_extracted_whole(extract, tmp_path):
    """Random damage never raises anything else, and never leaves a part behind (see the fixture)."""
    rng = np.random.default_rng(0)
    seeds = [OFFICIAL, tar_bytes(FILES), tar_bytes(FILES, "w"), zip_bytes(FILES), tar_bytes(FILES, "w:xz")]
    outcomes = set()
    for round_number in range(300):
        data = bytearray(seeds[round_number % len(seeds)])
        for position in rng.integers(len(data), size=int(rng.integers(1, 4))):
            data[position] = int(rng.integers(256))
        cut = int(rng.integers(len(data))) if round_number % 4 == 0 else len(data)
        try:
            extract(bytes(data[:cut]))
            outcomes.add("extracted")
            os.rename(tmp_path / "out" / "images", tmp_path / "out" / "images-done")  # noqa: PTH104
            for path in sorted((tmp_path / "out" / "images-done").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (tmp_path / "out" / "images-done").rmdir()
        except DatasetError as error:
            outcomes.add("refused" if "\n" not in str(error) else "refused in several lines")
    assert outcomes == {"extracted", "refused"}
