import hashlib

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from lookalike.config.sections import DatasetConfig
from lookalike.dataset.synthetic.compose import DRAWINGS, draw_picture
from lookalike.dataset.synthetic.generate import synthetic_labels, write_synthetic_images
from lookalike.images.reading import open_image


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.*"))
    }


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "images"
    write_synthetic_images(folder, n_labels=12, images_per_label=4, seed=0)
    return folder


def test_every_label_has_its_folder_and_number_of_images(small_set):
    assert sorted(path.name for path in small_set.iterdir()) == sorted(synthetic_labels(12))
    assert all(len(list(path.iterdir())) == 4 for path in small_set.iterdir())


def test_all_images_are_readable_and_differ(small_set):
    found = digests(small_set)
    assert len(set(found.values())) == len(found) == 48
    sizes = {open_image(small_set / path).size for path in found}
    assert len(sizes) >= 4
    assert all(min(size) >= 176 and max(size) <= 300 for size in sizes)


def test_same_seed_gives_the_same_bytes_and_a_larger_set_contains_the_smaller(small_set, tmp_path):
    write_synthetic_images(tmp_path / "again", n_labels=5, images_per_label=3, seed=0)
    assert digests(tmp_path / "again").items() <= digests(small_set).items()


def test_another_seed_gives_other_images(small_set, tmp_path):
    write_synthetic_images(tmp_path / "other", n_labels=2, images_per_label=4, seed=1)
    assert not set(digests(tmp_path / "other").values()) & set(digests(small_set).values())


def test_files_are_of_every_kind(tmp_path):
    write_synthetic_images(tmp_path / "images", n_labels=2, images_per_label=80, seed=0)
    kinds = set()
    for path in (tmp_path / "images").rglob("*.*"):
        with Image.open(path) as image:
            kinds.add((image.format, image.mode))
    assert kinds == {("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P")}


@pytest.mark.parametrize("label", DRAWINGS)
def test_object_is_on_the_picture_and_varies(label):
    layers = [draw_picture(label, np.random.default_rng([5, number]), transparent=True) for number in range(6)]
    covered = [np.asarray(layer.getchannel("A")).mean() / 255 for layer in layers]
    assert min(covered) > 0.008
    assert max(covered) < 0.9
    assert np.ptp(covered) > 0.01


@pytest.mark.parametrize("n_labels", [0, 13])
def test_impossible_number_of_labels_is_refused(tmp_path, n_labels):
    with pytest.raises(ValueError, match="n_labels must be from 1 to 12"):
        write_synthetic_images(tmp_path / "images", n_labels, 2, 0)


def test_the_configuration_allows_as_many_labels_as_there_are_drawings():
    assert DatasetConfig(synthetic_labels=len(DRAWINGS)).synthetic_labels == len(DRAWINGS)
    with pytest.raises(ValidationError):
        DatasetConfig(synthetic_labels=len(DRAWINGS) + 1)
