import io

import pytest
from PIL import Image

from lookalike.config import QueryConfig
from lookalike.errors import DownloadError, ImageError
from lookalike.search.sources import image_id_of, name_of, read_image_bytes

CONFIG = QueryConfig()


def test_paths_bytes_and_pictures_become_bytes(tmp_path):
    picture = Image.new("RGB", (4, 3), (9, 8, 7))
    picture.save(tmp_path / "a b é.png")
    data = (tmp_path / "a b é.png").read_bytes()
    assert read_image_bytes(str(tmp_path / "a b é.png"), CONFIG) == data
    assert read_image_bytes(tmp_path / "a b é.png", CONFIG) == data
    assert read_image_bytes(data, CONFIG) == data
    with Image.open(io.BytesIO(read_image_bytes(picture, CONFIG))) as read:
        assert list(read.get_flattened_data()) == list(picture.get_flattened_data())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("absent.png", "absent.png does not exist; expected an image file, an http"),
        ("bad\0name.png", "does not exist"),
    ],
)
def test_a_path_that_is_no_file_is_explained(source, expected):
    with pytest.raises(ImageError, match=expected):
        read_image_bytes(source, CONFIG)


def test_a_folder_is_explained(tmp_path):
    with pytest.raises(ImageError, match="is a folder; expected an image file"):
        read_image_bytes(tmp_path, CONFIG)


@pytest.mark.parametrize("url", ["ftp://host/a.png", "file:///etc/passwd", "gopher://host/"])
def test_other_schemes_are_refused_and_never_taken_for_paths(url):
    with pytest.raises((ImageError, DownloadError), match="only http and https"):
        read_image_bytes(url, CONFIG)


def test_ids_and_names():
    assert image_id_of("id:abc") == "abc"
    assert image_id_of("abc") is None
    assert image_id_of(b"id:abc") is None
    assert name_of("https://host/a.png") == "https://host/a.png"
    assert name_of(b"...") == "<image>"
