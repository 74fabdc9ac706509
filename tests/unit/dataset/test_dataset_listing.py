"""What the walk through a folder takes in, what it leaves out, and what it does where it cannot go on."""

import errno
import io
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lookalike.config.loading import load_config
from lookalike.config.sections import DatasetConfig
from lookalike.dataset.listing import ARTIFACTS, EXCLUDED, HIDDEN, is_hidden, list_files
from lookalike.dataset.source import Source
from lookalike.errors import ConfigError, DatasetError
from lookalike.stages.download_dataset import download_dataset

NOT_OURS = (
    ".git/objects/ab/cd.png",
    ".ipynb_checkpoints/a-checkpoint.png",
    ".thumbnails/normal/a.png",
    ".Trash-1000/files/a.png",
    ".Spotlight-V100/a.png",
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.png",
    "#recycle/a.png",
    "#snapshot/a.png",
    "$RECYCLE.BIN/a.png",
    "System Volume Information/a.png",
    "__MACOSX/cat/a.png",
    "lost+found/a.png",
    "cat/@eaDir/a.png",
    "cat/.hidden/a.png",
    "cat/._1.png",
    "cat/.DS_Store",
    "cat/Thumbs.db",
    "cat/desktop.ini",
)


def png(number=0):
    stream = io.BytesIO()
    Image.new("RGB", (6, 6), (number % 256, number // 256, 9)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path):
    """Two labels of three images."""
    folder = tmp_path / "photos"
    for number in range(6):
        write(folder, f"{('cat', 'dog')[number % 2]}/{number}.png", png(number))
    return folder


def write(folder, name, data=b""):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def paths_of(listing):
    return [file.path for file in listing.files]


def build(folder, tmp_path, artifacts=None, **options):
    artifact = tmp_path / "artifact"
    artifact.mkdir(exist_ok=True)
    return download_dataset(DatasetConfig(source="folder", folder=folder, **options), artifact, tmp_path, artifacts)


def test_hidden_and_system_entries_are_left_out_and_counted(photos, tmp_path, caplog):
    before = list_files(photos)
    fingerprint = Source(DatasetConfig(source="folder", folder=photos)).fingerprint
    for number, name in enumerate(NOT_OURS):
        write(photos, name, png(100 + number))
    listing = list_files(photos)
    assert paths_of(listing) == paths_of(before)
    assert listing.left_out == {HIDDEN: len(NOT_OURS)}
    assert Source(DatasetConfig(source="folder", folder=photos)).fingerprint == fingerprint
    with caplog.at_level("INFO", "lookalike"):
        summary = build(photos, tmp_path)
    assert (summary.n_images, summary.n_labels, summary.n_rejects) == (6, 2, 0)
    assert (summary.n_files, summary.n_left_out) == (6, len(NOT_OURS))
    assert f"left out: {len(NOT_OURS)} hidden or system entries" in caplog.text


def test_names_that_only_look_like_those_of_systems_stay(photos):
    names = ["git/1.png", "lost and found/1.png", "recycle/1.png", "#1/1.png", "@home/1.png", "$5/1.png", "_/1.png"]
    for name in names:
        write(photos, name, png())
    assert set(names) <= set(paths_of(list_files(photos)))


def test_system_names_are_known_however_a_file_system_spells_them():
    assert all(map(is_hidden, ("THUMBS.DB", "lost+found", "$Recycle.Bin", "@EADIR", "Icon\r")))


def test_a_folder_below_hidden_ones_may_be_the_collection(tmp_path):
    write(tmp_path, ".hidden/@eaDir/cat/1.png", png())
    assert paths_of(list_files(tmp_path / ".hidden" / "@eaDir")) == ["cat/1.png"]


@pytest.mark.parametrize("root", ["artifacts", "cat/art", "../linked"])
def test_the_artifact_root_among_the_images_is_left_out(photos, tmp_path, root, caplog):
    artifacts = photos / "deep" / "art" if root == "../linked" else photos / root
    write(artifacts, "download_dataset/key/attempt/images/bird/1.png", png(50))
    (tmp_path / "linked").symlink_to(photos / "deep" / "art")
    config = DatasetConfig(source="folder", folder=photos)
    fingerprint = Source(config, photos / root).fingerprint
    write(artifacts, "embed_all/key/attempt/2.png", png(51))
    assert Source(config, photos / root).fingerprint == fingerprint
    assert list_files(photos, (), photos / root).left_out == {ARTIFACTS: 1}
    with caplog.at_level("INFO", "lookalike"):
        summary = build(photos, tmp_path, photos / root)
    assert (summary.n_images, summary.n_labels, summary.n_left_out) == (6, 2, 1)
    assert "left out: 1 artifact root" in caplog.text


def test_a_root_that_does_not_exist_yet_changes_nothing(photos):
    config = DatasetConfig(source="folder", folder=photos)
    fingerprint = Source(config, photos / "artifacts").fingerprint
    (photos / "artifacts").mkdir()
    assert Source(config, photos / "artifacts").fingerprint == fingerprint


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.png", ["a.jpg", "b/thumbs/x.gif", "b/thumbs2/c.gif"]),
        ("thumbs", ["a.jpg", "a.png", "b/thumbs2/c.gif", "c/2019/d.png", "c/d.png"]),
        ("thumbs/", ["a.jpg", "a.png", "b/thumbs2/c.gif", "c/2019/d.png", "c/d.png"]),
        ("thumbs*", ["a.jpg", "a.png", "c/2019/d.png", "c/d.png"]),
        ("b/thumbs?", ["a.jpg", "a.png", "b/thumbs/x.gif", "c/2019/d.png", "c/d.png"]),
        ("2019/*.png", ["a.jpg", "a.png", "b/thumbs/x.gif", "b/thumbs2/c.gif", "c/d.png"]),
        ("c/*.png", ["a.jpg", "a.png", "b/thumbs/x.gif", "b/thumbs2/c.gif", "c/2019/d.png"]),
        ("[ab].jpg", ["a.png", "b/thumbs/x.gif", "b/thumbs2/c.gif", "c/2019/d.png", "c/d.png"]),
        ("A.JPG", ["a.jpg", "a.png", "b/thumbs/x.gif", "b/thumbs2/c.gif", "c/2019/d.png", "c/d.png"]),
    ],
)
def test_patterns_are_compared_with_the_last_parts_of_a_path(tmp_path, pattern, left):
    for name in ("a.jpg", "a.png", "b/thumbs/x.gif", "b/thumbs2/c.gif", "c/2019/d.png", "c/d.png"):
        write(tmp_path, name)
    patterns = load_config(overrides=[f"dataset.exclude_paths=['{pattern}']"]).dataset.exclude_paths
    listing = list_files(tmp_path, patterns)
    assert paths_of(listing) == left
    assert (EXCLUDED in listing.left_out) == (len(left) < 6)


def test_patterns_leave_labels_out_and_belong_to_the_key(photos, tmp_path):
    summary = build(photos, tmp_path, exclude_paths=("dog",))
    assert (summary.n_images, summary.n_labels, summary.n_files, summary.n_left_out) == (3, 1, 3, 1)
    with pytest.raises(ConfigError, match="there is no label 'dog'"):
        build(photos, tmp_path, exclude_paths=("dog",), exclude_labels=("dog",))


@given(
    name=st.text(st.characters(exclude_characters="/\0*?[", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
        lambda name: not is_hidden(name)
    )
)
def test_a_name_without_wildcards_leaves_out_what_is_called_so_and_nothing_else(name):
    with TemporaryDirectory() as folder:
        for path in (f"{name}/1.png", f"zz/{name}", f"_{name}", f"{name}-/2.png"):
            write(Path(folder), path)
        assert sorted(paths_of(list_files(Path(folder), (name,)))) == sorted([f"_{name}", f"{name}-/2.png"])


@pytest.mark.parametrize("folder", ["private", "cat/private"])
@pytest.mark.parametrize("cause", [errno.EACCES, errno.EIO, errno.ENAMETOOLONG])
def test_a_folder_that_cannot_be_read_is_one_reject_with_its_cause(photos, tmp_path, monkeypatch, folder, cause):
    """Emulated, since the tests may run as a user who may read everything."""
    write(photos, f"{folder}/secret.png", png(70))
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).rstrip("/") == str(photos / folder):
            raise OSError(cause, os.strerror(cause), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    summary = build(photos, tmp_path)
    assert (summary.n_images, summary.n_rejects, summary.n_stray, summary.n_labels) == (6, 1, 1, 2)
    assert Source(DatasetConfig(source="folder", folder=photos)).fingerprint["n_files"] == 7
    reject = next(file for file in list_files(photos).files if file.problem)
    assert (reject.path, reject.problem) == (folder, f"a folder that cannot be read: {os.strerror(cause)}")


def test_a_listing_that_breaks_off_is_a_reject_too(photos, monkeypatch):
    scandir = os.scandir

    class BreaksOff:
        def __init__(self, path):
            self.entries = scandir(path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.entries.close()

        def __iter__(self):
            yield next(self.entries)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "scandir", lambda path: (BreaksOff if str(path).endswith("dog") else scandir)(path))
    listing = list_files(photos)
    assert [(file.path, file.problem is None) for file in listing.files if not file.path.startswith("cat/")] == [
        ("dog", False)
    ]


def test_a_root_that_cannot_be_read_is_an_error(photos, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"cannot list .*photos/?: Permission denied"):
        list_files(photos)


def test_nothing_but_hidden_entries_is_said_so(tmp_path):
    write(tmp_path, "photos/.git/config")
    with pytest.raises(DatasetError, match="is empty but for 1 hidden or system entries, which are left out"):
        Source(DatasetConfig(source="folder", folder=tmp_path / "photos")).check()
