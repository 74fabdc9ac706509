import hashlib
import io
import json
import os
import shutil
import sys
from collections import Counter

import pyarrow.parquet as pq
import pytest
from PIL import Image

from lookalike.config.sections import DatasetConfig
from lookalike.dataset.source import Source
from lookalike.dataset.storage import open_dataset
from lookalike.errors import ConfigError, DatasetError
from lookalike.images.formats import IMAGE_SUFFIXES
from lookalike.stages.download_dataset import download_dataset
from tests import corpus


def image_bytes(number, kind="PNG", size=(20, 10)):
    stream = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256, 99)).save(stream, kind)
    return stream.getvalue()


def fill(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def photos(tmp_path):
    """Two labels of ten images."""
    return fill(
        tmp_path / "my photos",
        {
            f"{label}/{number}.png": image_bytes(10 * (label == "cat") + number)
            for label in ("cat", "dog")
            for number in range(10)
        },
    )


@pytest.fixture
def build(tmp_path):
    """Run the stage on a folder of images; returns (summary, dataset, rejects as {path: error}, artifact folder)."""
    counter = iter(range(100))

    def run(folder, **options):
        artifact = tmp_path / f"artifact-{next(counter)}"
        artifact.mkdir()
        # Most of these folders hold more that cannot be read than a build allows.
        config = DatasetConfig(source="folder", folder=folder, **{"max_failure_fraction": 1.0, **options})
        summary = download_dataset(config, artifact, tmp_path / "downloads")
        table = pq.read_table(artifact / "rejects.parquet")
        assert set(table["stage"].to_pylist()) <= {"download_dataset"}
        rejects = dict(zip(table["path"].to_pylist(), table["error"].to_pylist(), strict=True))
        assert summary.n_files == summary.n_images + summary.n_rejects + summary.n_excluded
        return summary, open_dataset(artifact), rejects, artifact

    return run


def test_catalog_describes_every_image(photos, build):
    summary, dataset, rejects, artifact = build(photos)
    assert (summary.n_images, summary.n_labels, summary.n_train, summary.n_valid, summary.n_rejects) == (
        20,
        2,
        16,
        4,
        0,
    )
    assert rejects == {}
    assert dataset.root == photos
    assert dataset.classes == ["cat", "dog"]
    assert sorted(path.name for path in artifact.iterdir()) == ["catalog.parquet", "dataset.json", "rejects.parquet"]
    rows = dataset.catalog.to_pylist()
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    for row in rows:
        data = (dataset.root / row["path"]).read_bytes()
        assert row["image_id"] == hashlib.sha256(data).hexdigest()
        assert (row["width"], row["height"], row["bytes"]) == (20, 10, len(data))
        assert row["label"] == row["path"].split("/")[0]
    assert Counter((row["label"], row["split"]) for row in rows) == {
        ("cat", "train"): 8,
        ("cat", "valid"): 2,
        ("dog", "train"): 8,
        ("dog", "valid"): 2,
    }


def test_second_run_writes_the_same_bytes(photos, build):
    first, second = build(photos)[3], build(photos)[3]
    for name in ("catalog.parquet", "rejects.parquet", "dataset.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_stray_and_broken_files_are_rejected_with_their_cause(photos, build):
    whole = image_bytes(77, "JPEG", (200, 150))
    fill(
        photos,
        {
            "cat/.DS_Store": b"\0\0\0\1Bud1",
            "cat/notes.txt": b"hello",
            "cat/tmp": whole,
            "cat/text.jpg": b"hello",
            "cat/empty.png": b"",
            "cat/cut.jpg": whole[:-900],
            "cat/phone.heic": b"\0\0\0\x18ftypheic" + b"\0" * 30,
            "cat/bomb.png": corpus.png(20_000, 20_000, 8, 2, b""),
            "cat/fine.JPEG": whole,
        },
    )
    summary, dataset, rejects, _ = build(photos)
    assert summary.n_images == 21
    assert (summary.n_rejects, summary.n_stray, summary.n_left_out) == (7, 2, 1)
    assert rejects == {
        "cat/bomb.png": "20000 x 20000 pixels are too many: at most 120 megapixels are decoded (dataset.max_pixels)",
        "cat/cut.jpg": "truncated: the file ends before the image does",
        "cat/empty.png": "not an image: it is empty (0 bytes)",
        "cat/notes.txt": "no image by its name: it lacks a suffix such as .jpg or .png",
        "cat/phone.heic": "not an image: it is a HEIC photograph",
        "cat/text.jpg": "not an image: it is text",
        "cat/tmp": "no image by its name: it lacks a suffix such as .jpg or .png",
    }
    assert "cat/fine.JPEG" in dataset.catalog["path"].to_pylist()


UNREADABLE = {
    "empty": b"",
    "page": b"<!DOCTYPE html><html><body>404</body></html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "zeros": b"\0" * 5000,
    "heic": b"\0\0\0\x18ftypheic" + b"\0" * 30,
    "raw": b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 30,
    "noise": bytes(range(256)),
}


def test_whatever_is_named_as_an_image_counts_as_one(photos, build):
    broken = {f"cat/{name}{suffix.upper()}": data for name, data in UNREADABLE.items() for suffix in IMAGE_SUFFIXES}
    summary, _, rejects, _ = build(fill(photos, broken))
    assert rejects.keys() == broken.keys()
    assert (summary.n_images, summary.n_stray) == (20, 0)


def test_the_share_of_unreadable_images_has_a_limit(photos, build):
    fill(photos, {"cat/broken.jpg": b""})
    assert build(photos, max_failure_fraction=0.05)[0].n_rejects == 1
    with pytest.raises(DatasetError, match=r"1 of 21 images could not be read, .*max_failure_fraction = 0\.04 allows"):
        build(photos, max_failure_fraction=0.04)


@pytest.mark.parametrize("name", ["notes.txt", "._1.jpg", ".hidden.png", "tmp", "thumbs.db", "movie.mp4"])
def test_other_files_are_no_failures(photos, build, name):
    fill(photos, {f"cat/{name}": UNREADABLE["noise"]})
    summary = build(photos, max_failure_fraction=0.0)[0]
    assert (summary.n_images, summary.n_stray + summary.n_left_out) == (20, 1)


def test_too_many_unreadable_images_name_the_causes_and_the_file(photos, build, tmp_path):
    fill(photos, {f"cat/{name}{number}.jpg": data for name, data in UNREADABLE.items() for number in range(len(name))})
    with pytest.raises(DatasetError) as failure:
        build(photos, max_failure_fraction=0.05)
    message = str(failure.value)
    assert "29 of 49 images" in message
    assert "cat/empty0.jpg: not an image: it is empty (0 bytes) (and 4 more); " in message
    assert "\n" not in message
    rejects = tmp_path / "artifact-0" / "rejects.parquet"
    assert message.endswith(f"all are listed in {rejects}")
    assert pq.read_table(rejects).num_rows == 29
    assert not (tmp_path / "artifact-0" / "dataset.json").exists()


def test_the_limit_on_pixels_is_a_setting(photos, build):
    assert build(photos, max_pixels=200)[0].n_rejects == 0
    fill(photos, {"cat/large.png": image_bytes(99, size=(21, 10))})
    summary, _, rejects, _ = build(photos, max_pixels=200)
    assert summary.n_images == 20
    assert rejects == {
        "cat/large.png": "21 x 10 pixels are too many: at most 0.0002 megapixels are decoded (dataset.max_pixels)"
    }


def test_each_image_of_the_corpus_is_a_row_or_a_reject(build, tmp_path):
    whole, broken = corpus.whole_images(), corpus.truncated_images() | corpus.bombs()
    broken |= {name: data for name, (data, _) in corpus.not_images().items()}
    files = {
        f"whole/{number:03d} {name}.jpg".replace("%", ""): data for number, (name, data) in enumerate(whole.items())
    }
    files |= {f"broken/{number:03d}.png": data for number, data in enumerate(broken.values())}
    summary, dataset, rejects, _ = build(fill(tmp_path / "corpus", files))
    found = set(dataset.catalog["path"].to_pylist())
    assert found | set(rejects) == set(files)
    assert {path for path in files if path.startswith("whole/")} <= found
    # Those with too much metadata: their pixels are fine.
    assert summary.n_images - len(whole) == 3
    assert all(error and "\n" not in error for error in rejects.values())


def test_labels_of_top_level_and_nested_images(build, tmp_path):
    names = ["top.png", "bird/a.png", "bird/2019/may/b.png", "fish/x/c.png"]
    folder = fill(tmp_path / "mixed", {name: image_bytes(number) for number, name in enumerate(names)})
    _, dataset, _, _ = build(folder)
    assert {row["path"]: row["label"] for row in dataset.catalog.to_pylist()} == {
        "top.png": "unlabelled",
        "bird/a.png": "bird",
        "bird/2019/may/b.png": "bird",
        "fish/x/c.png": "fish",
    }
    assert dataset.classes == ["bird", "fish", "unlabelled"]


def test_odd_names_are_kept(build, tmp_path):
    names = [
        "<b>&'\"/<img src=x onerror=alert(1)>.jpg.png",
        "a b/ leading and trailing .png",
        "ünïcödé/日本.png",
        "new\nline/tab\t.png",
        "-rf/--.png",
        "%2e%2e/%00.png",
        "long/" + "n" * 250 + ".png",
    ]
    folder = fill(tmp_path / "odd", {name: image_bytes(number) for number, name in enumerate(names)})
    _, dataset, rejects, _ = build(folder)
    assert sorted(dataset.catalog["path"].to_pylist()) == sorted(names)
    assert rejects == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux file systems take any bytes as names")
@pytest.mark.parametrize("name", [b"cat/\xff\xfe.png", b"\xe9t\xe9/fine.png"])
def test_names_that_are_not_utf8_are_rejected(photos, build, name):
    path = os.path.join(os.fsencode(photos), name)  # noqa: PTH118
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "wb") as stream:  # noqa: PTH123
        stream.write(image_bytes(200))
    summary, _, rejects, _ = build(photos)
    assert summary.n_images == 20
    assert list(rejects) == [name.decode(errors="backslashreplace")]
    assert "not valid UTF-8" in next(iter(rejects.values()))


def test_links_are_used_within_the_folder_only(photos, build, tmp_path):
    outside = fill(tmp_path / "outside", {"secret.png": image_bytes(300), "sub/deep.png": image_bytes(301)})
    (photos / "cat/out.png").symlink_to(outside / "secret.png")
    (photos / "cat/gone.png").symlink_to(outside / "gone.png")
    (photos / "cat/sub").symlink_to(outside / "sub")
    (photos / "cat/loop").symlink_to(photos)
    (photos / "cat/self.png").symlink_to("self.png")
    (photos / "cat/in.png").symlink_to("../dog/3.png")
    os.mkfifo(photos / "cat/pipe.png")
    summary, dataset, rejects, _ = build(photos)
    assert summary.n_images == 21
    assert "cat/in.png" in dataset.catalog["path"].to_pylist()
    assert {path: error.split(":")[0] for path, error in rejects.items()} == {
        "cat/gone.png": "cannot be read",
        "cat/loop": "a symbolic link to a folder, which is not followed",
        "cat/out.png": "a symbolic link that leaves the folder",
        "cat/pipe.png": "not an ordinary file",
        "cat/self.png": "cannot be read",
        "cat/sub": "a symbolic link to a folder, which is not followed",
    }


def test_identical_files_never_straddle_the_split(build, tmp_path):
    files = {f"cat/{copy}-{number}.png": image_bytes(number) for number in range(30) for copy in range(3)}
    files |= {f"dog/{number}.png": image_bytes(number) for number in range(10, 60)}
    _, dataset, _, _ = build(fill(tmp_path / "copies", files), valid_fraction=0.4)
    splits, labels = {}, {}
    for row in dataset.catalog.to_pylist():
        splits.setdefault(row["image_id"], set()).add(row["split"])
        labels.setdefault(row["image_id"], set()).add(row["label"])
    assert all(len(split) == 1 for split in splits.values())
    assert all(splits[image_id] == {"train"} for image_id, names in labels.items() if len(names) == 2)


def test_excluded_labels_are_left_out_and_counted(photos, build):
    fill(photos, {"dog/broken.jpg": b"hello"})
    summary, dataset, rejects, _ = build(photos, exclude_labels=("dog",))
    assert (summary.n_files, summary.n_images, summary.n_excluded, summary.n_rejects) == (21, 10, 11, 0)
    assert dataset.classes == ["cat"]
    assert rejects == {}


def test_unknown_excluded_label_names_near_ones(photos, build):
    with pytest.raises(ConfigError, match=r"dataset\.exclude_labels: there is no label 'cats'; did you mean 'cat'\?"):
        build(photos, exclude_labels=("cats",))


def test_one_image_is_a_dataset(build, tmp_path):
    summary, dataset, _, _ = build(fill(tmp_path / "one", {"cat/1.png": image_bytes(1)}))
    assert (summary.n_images, summary.n_labels, summary.n_train, summary.n_valid) == (1, 1, 1, 0)
    assert dataset.classes == ["cat"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no readable image"),
        ({"cat/a.jpg": b"hello"}, "the first is cat/a.jpg: not an image: it is text"),
    ],
)
def test_folder_without_images_is_an_error(build, tmp_path, files, message):
    folder = tmp_path / "nothing"
    folder.mkdir()
    with pytest.raises(DatasetError, match=message):
        build(fill(folder, files))


@pytest.mark.parametrize("make", [lambda _path: None, lambda path: path.write_text("x")])
def test_source_that_is_no_folder_is_an_error_at_once(build, tmp_path, make):
    make(tmp_path / "photos")
    with pytest.raises(ConfigError, match=r"dataset\.folder: .*photos .*; expected a folder of images"):
        build(tmp_path / "photos")
    with pytest.raises(ConfigError, match=r"dataset\.folder: .*photos .*; expected a folder of images"):
        Source(DatasetConfig(source="folder", folder=tmp_path / "photos")).check()


def test_fingerprint_of_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="is empty"):
        Source(DatasetConfig(source="folder", folder=tmp_path)).check()


def test_fingerprint_of_a_folder_notices_every_change(photos):
    config = DatasetConfig(source="folder", folder=photos)
    seen = [Source(config).fingerprint]
    assert json.loads(json.dumps(seen[0])) == seen[0] == Source(config).fingerprint

    def changed():
        now = Source(config).fingerprint
        is_new = now not in seen
        seen.append(now)
        return is_new

    (photos / "cat/0.png").write_bytes(image_bytes(500, size=(30, 30)))
    assert changed()
    os.utime(photos / "cat/1.png", ns=(1, 1))
    assert changed()
    (photos / "cat/2.png").rename(photos / "cat/2b.png")
    assert changed()
    (photos / "dog/5.png").unlink()
    assert changed()


def test_moved_folder_has_another_fingerprint(photos, tmp_path):
    """Because the stored dataset says where its images lie."""
    before = Source(DatasetConfig(source="folder", folder=photos)).fingerprint
    shutil.copytree(photos, tmp_path / "copy")
    assert Source(DatasetConfig(source="folder", folder=tmp_path / "copy")).fingerprint != before


def test_synthetic_source_brings_its_images(tmp_path):
    folder = tmp_path / "artifact"
    folder.mkdir()
    config = DatasetConfig(source="synthetic", synthetic_labels=3, synthetic_images_per_label=5)
    summary = download_dataset(config, folder, tmp_path / "downloads")
    dataset = open_dataset(folder)
    assert (summary.n_images, summary.n_valid, summary.n_rejects) == (15, 3, 0)
    assert dataset.root == folder / "images"
    assert dataset.classes == ["cat", "house", "sailboat"]
    moved = folder.rename(tmp_path / "moved")
    assert open_dataset(moved).root == moved / "images"
    assert set(Source(config).fingerprint) == {"source", "generator_version"}


def test_full_disk_or_forbidden_folder_gives_one_line(tmp_path):
    config = DatasetConfig(source="synthetic", synthetic_labels=2, synthetic_images_per_label=2)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot write the dataset to"):
        download_dataset(config, tmp_path / "file", tmp_path / "downloads")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dataset.json", None, "cannot read"),
        ("dataset.json", b"{", "not valid JSON"),
        ("dataset.json", b"[]", "was altered"),
        ("dataset.json", b'{"format_version": 99}', "a later version"),
        ("catalog.parquet", None, "missing or damaged"),
        ("catalog.parquet", b"PAR1 no more", "missing or damaged"),
    ],
)
def test_damaged_artifact_gives_a_clear_error(photos, build, name, content, message):
    artifact = build(photos)[3]
    (artifact / name).unlink()
    if content is not None:
        (artifact / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        open_dataset(artifact)


def test_dataset_whose_images_are_gone_is_an_error(photos, build):
    artifact = build(photos)[3]
    shutil.rmtree(photos)
    with pytest.raises(DatasetError, match="images of this dataset are gone"):
        open_dataset(artifact)
