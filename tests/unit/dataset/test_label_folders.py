"""Folders of every shape: built sensibly, or refused before any work with the one setting that helps."""

import pytest

from lookalike.config.sections import DatasetConfig
from lookalike.dataset.label_folders import UNLABELLED, label_of
from lookalike.dataset.source import Source
from lookalike.dataset.storage import open_dataset
from lookalike.errors import DatasetError
from lookalike.stages.download_dataset import download_dataset
from tests.unit.dataset.test_dataset_stage import image_bytes

WITHOUT_LABELS = "set dataset.labels=none (configs/photos.yaml), or run `lookalike index "


def fill(folder, *names, per_folder=2):
    """Write images of different content; a name that ends with a slash is a folder of `per_folder` of them."""
    for number, name in enumerate(names):
        for image in range(per_folder if name.endswith("/") else 1):
            path = folder / (f"{name}{image}.png" if name.endswith("/") else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_bytes(100 * number + image))
    return folder


def config_of(folder, **changes):
    return DatasetConfig(source="folder", folder=folder, **changes)


@pytest.mark.parametrize(
    ("path", "level", "label"),
    [
        ("cat/1.jpg", None, "cat"),
        ("cat/tabby/1.jpg", None, "cat"),
        ("cat/tabby/1.jpg", 1, "cat"),
        ("train/cat/1.jpg", 2, "cat"),
        ("train/cat/tabby/1.jpg", -1, "tabby"),
        ("train/cat/1.jpg", -2, "train"),
        ("1.jpg", None, UNLABELLED),
        ("1.jpg", -1, UNLABELLED),
        ("cat/1.jpg", 2, UNLABELLED),
    ],
)
def test_the_label_is_the_folder_at_the_level(path, level, label):
    assert label_of(path, DatasetConfig(label_level=level)) == label
    assert label_of(path, DatasetConfig(labels="none", label_level=level)) == ""


SHAPES = {
    "two labels": (["cat/", "dog/"], {}, None),
    "labels of one image among others": (["cat/", "dog/one.png"], {}, None),
    "digits as labels": ([f"{digit}/" for digit in range(10)], {}, None),
    "images beside the labels": (["cat/", "cover.png"], {}, None),
    "a flat folder": (
        ["1.png", "2.png"],
        {},
        f"its images lie in no folders that could be their labels; {WITHOUT_LABELS}",
    ),
    "one label": (
        ["cat/"],
        {},
        f"all 2 images are in one folder (cat), and labels need at least two; {WITHOUT_LABELS}",
    ),
    "one folder around the labels": (
        ["set/cat/", "set/dog/"],
        {},
        "set dataset.label_level=2 if the folders cat, dog are",
    ),
    "one folder around a year and months": (["all/2021/01/", "all/2021/02/"], {}, WITHOUT_LABELS),
    "splits": (
        ["train/cat/", "train/dog/", "val/cat/", "val/dog/"],
        {},
        "its outermost folders are splits and no labels (train, val); set dataset.label_level=2 if the folders cat",
    ),
    "splits in capitals": (["Training/cat/", "Test/dog/"], {}, "set dataset.label_level=2"),
    "splits without labels": (["train/", "valid/", "test/"], {}, WITHOUT_LABELS),
    "splits, read at their labels": (["train/cat/", "val/dog/"], {"label_level": 2}, None),
    "splits that are meant": (["train/", "test/"], {"label_level": 1}, None),
    "years": (
        ["2020/", "2021/", "family/"],
        {},
        f"its outermost folders are dates and no labels (2020, 2021, family); {WITHOUT_LABELS}",
    ),
    "a year and images beside it": (["2020/01/", "1.png", "2.png"], {}, WITHOUT_LABELS),
    "one folder and images beside it": (["best/", "1.png"], {}, None),
    "years and months": (["2020/01/", "2020/02/", "2021/07/"], {}, WITHOUT_LABELS),
    "days": (["2021-07-14/", "20210715/"], {}, WITHOUT_LABELS),
    "a camera's folders": (["100APPLE/", "101_0714/"], {}, WITHOUT_LABELS),
    "a camera's folders in one": (["DCIM/100APPLE/", "DCIM/101APPLE/"], {}, WITHOUT_LABELS),
    "years that are meant": (["1890/", "1900/"], {"label_level": 1}, None),
    "one image a label": (
        ["a/1.png", "b/1.png", "c/1.png"],
        {},
        f"each of the 3 labels (a, b, c) has one image alone, so none can be held out; {WITHOUT_LABELS}",
    ),
    "one image a label, in folders": (["x/a/1.png", "x/b/1.png", "y/a/2.png"], {"label_level": -1}, None),
    "all labels but one excluded": (
        ["cat/", "dog/"],
        {"exclude_labels": ("dog",)},
        "all 2 images are in one folder (cat)",
    ),
    "no images": (["cat/notes.txt", "readme"], {}, "holds no images: none of its 2 files is an image by its name"),
    "no files": ([], {}, "is empty; expected a folder of images"),
    "a single image, no labels": (
        ["1.png"],
        {"labels": "none"},
        "holds a single image, 1.png; at least two are needed",
    ),
    "a flat folder, no labels": (["1.png", "2.png"], {"labels": "none"}, None),
    "years, no labels": (["2020/", "2021/"], {"labels": "none"}, None),
    "splits, no labels": (["train/", "val/"], {"labels": "none"}, None),
}


@pytest.mark.parametrize(("names", "changes", "problem"), SHAPES.values(), ids=SHAPES)
def test_every_shape_is_built_or_refused_with_what_helps(tmp_path, names, changes, problem):
    folder = fill(tmp_path / "my photos", *names)
    folder.mkdir(exist_ok=True)
    if problem is None:
        Source(config_of(folder, **changes)).check()
        return
    with pytest.raises(DatasetError) as refused:
        Source(config_of(folder, **changes)).check()
    message = str(refused.value)
    assert message.startswith(str(folder))
    assert problem in message
    assert "\n" not in message


def test_the_command_that_helps_can_be_pasted_into_a_shell(tmp_path):
    folder = fill(tmp_path / "my photos", "1.png", "2.png")
    with pytest.raises(DatasetError, match=r"lookalike index '.*/my photos'`"):
        Source(config_of(folder)).check()


def stored(tmp_path, folder, **changes):
    (tmp_path / "artifact").mkdir()
    download_dataset(config_of(folder, **changes), tmp_path / "artifact", tmp_path / "downloads")
    return open_dataset(tmp_path / "artifact")


def test_without_labels_a_fifth_of_all_images_is_held_out(tmp_path):
    folder = fill(tmp_path / "photos", "2020/", "2021/", "flat.png", per_folder=12)
    dataset = stored(tmp_path, folder, labels="none")
    assert dataset.classes == []
    assert set(dataset.catalog["label"].to_pylist()) == {""}
    assert dataset.catalog["split"].to_pylist().count("valid") == 5


def test_copies_of_one_image_cannot_be_compared(tmp_path):
    folder = fill(tmp_path / "photos", "1.png")
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes())
    with pytest.raises(DatasetError, match="2 readable images that are all the same"):
        stored(tmp_path, folder, labels="none")


@pytest.fixture
def linked(tmp_path):
    """A folder whose label folders are links: to another place, to a place around it, and in a circle."""
    elsewhere = fill(tmp_path / "elsewhere", "cats/", "dogs/")
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "cat").symlink_to(elsewhere / "cats")
    (folder / "dog").symlink_to(elsewhere / "dogs", target_is_directory=True)
    return folder


def test_label_folders_that_are_links_are_refused_with_the_setting_that_follows_them(linked):
    with pytest.raises(
        DatasetError, match=r"2 symbolic links \(cat, dog\) that are not followed; set dataset.follow_links=true"
    ):
        Source(config_of(linked)).check()
    Source(config_of(linked, follow_links=True)).check()


def test_followed_links_give_labels_and_no_circles(linked, tmp_path):
    (linked / "cat" / "around").symlink_to(linked)
    (tmp_path / "elsewhere" / "dogs" / "cats").symlink_to(tmp_path / "elsewhere" / "cats")
    (tmp_path / "elsewhere" / "cats" / "dogs").symlink_to(tmp_path / "elsewhere" / "dogs")
    dataset = stored(tmp_path, linked, follow_links=True)
    assert dataset.classes == ["cat", "dog"]
    paths = dataset.catalog["path"].to_pylist()
    assert {"cat/0.png", "dog/0.png", "cat/dogs/1.png", "dog/cats/1.png"} <= set(paths)
    assert len(paths) == 8


SPLIT = ["train/cat/", "train/dog/", "Val/cat/", "test/dog/"]


def split_of(folder, tmp_path, **changes):
    config = config_of(folder, label_level=2, **changes)
    Source(config).check()
    (tmp_path / "dataset").mkdir()
    download_dataset(config, tmp_path / "dataset", tmp_path / "downloads")
    catalog = open_dataset(tmp_path / "dataset").catalog
    return dict(zip(catalog["path"].to_pylist(), catalog["split"].to_pylist(), strict=True))


def test_a_split_by_folders_is_kept(tmp_path):
    images = fill(tmp_path / "images", *SPLIT)
    # A copy of a training image cannot be held out.
    (images / "Val" / "cat" / "copy.png").write_bytes((images / "train" / "cat" / "0.png").read_bytes())
    found = split_of(images, tmp_path, split="folders")
    held_out = {path for path, split in found.items() if split == "valid"}
    assert held_out == {f"{folder}/{number}.png" for folder in ("Val/cat", "test/dog") for number in (0, 1)}
    assert len(found) == 9


@pytest.mark.parametrize("names", [["train/cat/", "train/dog/"], ["val/cat/", "val/dog/"], ["a/cat/", "b/dog/"]])
def test_a_split_by_folders_needs_both_sides(tmp_path, names):
    with pytest.raises(DatasetError, match=r"dataset\.split=folders needs images both inside and outside of"):
        Source(config_of(fill(tmp_path / "images", *names), label_level=2, split="folders")).check()


def test_a_split_by_folders_is_of_a_folder():
    with pytest.raises(ValueError, match="split is `folders`, which is for a folder of images, but source is"):
        DatasetConfig(split="folders")


def test_the_setting_that_keeps_a_split_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"=2 if .* labels, and dataset.split=folders to hold out the same"):
        Source(config_of(fill(tmp_path / "images", *SPLIT))).check()
