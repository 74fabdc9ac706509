"""A query is the same whichever way it comes: one picture, one vector."""

import contextlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lookalike.config.sections import QueryConfig
from lookalike.errors import DownloadError, ImageError
from lookalike.images.pillow_warnings import quiet_pillow
from lookalike.search.sources import image_id_of, is_one_source, name_of, read_query
from tests import corpus
from tests.servers import LocalServer, content
from tests.tiff_writer import tiff_of

CASES = Path(__file__).parents[2] / "data" / "images"
LIMITS = {"target_size": 16, "max_pixels": 1_000_000}
DEEP = np.asarray(corpus.quadrants()).astype(np.uint16) * 257
FILES = corpus.whole_images()
FILES |= {path.name: path.read_bytes() for path in sorted(CASES.iterdir())}
FILES |= {
    "tiff floating": tiff_of((DEEP / 65535).astype("f4"), planar=True),
    "tiff 16-bit planar": tiff_of(DEEP, planar=True),
    "profile": corpus.encode(corpus.quadrants(), "JPEG", icc_profile=corpus.swapping_profile()),
}


def pixels_of(source, **limits):
    return np.asarray(read_query(source, QueryConfig(allow_private_addresses=True), **LIMITS | limits).pixels)


def pillow_decodes(data):
    with contextlib.suppress(ValueError, SyntaxError, OSError), quiet_pillow():
        Image.open(io.BytesIO(data)).load()
        return True
    return False


@pytest.fixture(scope="module")
def server():
    with LocalServer() as running:
        yield running


@pytest.mark.parametrize("name", FILES)
def test_every_way_in_gives_the_same_pixels(name, server, tmp_path):
    data = FILES[name]
    path = tmp_path / "a b é.bin"
    path.write_bytes(data)
    expected = pixels_of(data)
    server.serve("/image", content(data))
    with path.open("rb") as stream, contextlib.ExitStack() as opened, quiet_pillow():
        stream.read(5)
        sources = [str(path), path, bytearray(data), memoryview(data), stream, io.BytesIO(data), server.url("/image")]
        if pillow_decodes(data):
            sources += [opened.enter_context(Image.open(place)) for place in (path, io.BytesIO(data))]
        for source in sources:
            np.testing.assert_array_equal(pixels_of(source), expected, err_msg=repr(source))
            # Asking again gives the same: nothing is used up.
            np.testing.assert_array_equal(pixels_of(source), expected, err_msg=repr(source))


@pytest.mark.parametrize("name", [name for name in FILES if pillow_decodes(FILES[name])])
def test_decoded_images_of_pillow_give_the_pixels_of_their_files(name):
    with quiet_pillow():
        image = Image.open(io.BytesIO(FILES[name]))
        image.load()
    difference = np.abs(pixels_of(image).astype(int) - pixels_of(FILES[name]))
    if name == "tif_rgb16_planar.tif" or name.startswith("tiff 16-bit planar"):
        return  # Pillow's pixels are wrong; those of the file are not.
    # A JPEG is decoded at the scale that is needed, which rounds otherwise than averaging its pixels.
    assert difference.mean() < (3 if image.format in ("JPEG", "MPO") else 1e-9)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"],
)
def test_images_of_every_mode_show_what_they_hold(mode):
    rgb = corpus.quadrants()
    if mode == "LAB":
        image = Image.open(io.BytesIO(FILES["tiff lab"]))
    elif mode in ("I", "F", "I;16"):
        image = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
        image = image if mode == "I;16" else image.convert("I").convert(mode)
    else:
        steps = {"La": ("LA", "La"), "PA": ("PA",), "RGBa": ("RGBA", "RGBa"), "1": ("L", "1"), "P": ()}
        image = rgb.quantize(16) if mode in ("P", "PA") else rgb
        for step in steps.get(mode, (mode,)):
            image = image.convert(step)
    assert image.mode == mode
    shown = pixels_of(image, target_size=1000)
    expected = np.asarray(rgb.convert("L").convert("RGB") if mode in ("L", "LA", "La", "I", "F", "I;16") else rgb)
    if mode == "1":
        assert set(np.unique(shown)) == {0, 255}
    else:
        assert np.abs(shown[4::8, 4::8].astype(int) - expected[4::8, 4::8]).max() <= 12


def test_what_was_done_to_a_picture_of_pillow_counts():
    image = Image.open(io.BytesIO(FILES["jpeg orientation 6"]))
    turned = image.rotate(90, expand=True)
    assert not np.array_equal(pixels_of(turned), pixels_of(FILES["jpeg orientation 6"]))
    animated = Image.open(io.BytesIO(FILES["apng"]))
    animated.seek(1)
    np.testing.assert_array_equal(pixels_of(animated), pixels_of(FILES["apng"])[::-1, ::-1])


ARRAYS = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([None, 1, 3, 4]), st.integers(0, 2**32 - 1))


@given(ARRAYS)
def test_arrays_are_pixels(parts):
    height, width, channels, seed = parts
    shape = (height, width) if channels is None else (height, width, channels)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    mode = {None: "L", 1: "L", 3: "RGB", 4: "RGBA"}[channels]
    expected = pixels_of(Image.frombytes(mode, (width, height), values.tobytes()))
    variants = [values, np.asfortranarray(values), values[::-1][::-1]]
    variants += [(values / 255).astype(kind) for kind in ("f2", "f4", "f8") if kind != "f2" or values.min() >= 0]
    for variant in variants:
        np.testing.assert_array_equal(pixels_of(variant), expected)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 20, 21), np.uint8),
        np.zeros((20, 21, 2), np.uint8),
        np.zeros((20,), np.uint8),
        np.zeros((0, 20, 3), np.uint8),
        np.zeros((2, 20, 20, 3), np.uint8),
        np.zeros((20, 20, 3), np.int64),
        np.full((20, 20, 3), 1.5),
        np.full((20, 20, 3), -0.5),
        np.full((20, 20, 3), np.nan),
        np.full((20, 20), "a"),
        np.full((20, 20), None),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_other_arrays_are_explained(array):
    with pytest.raises(ImageError, match=r"^an array must be \(height, width\), or .* of floats from 0 to 1; got "):
        pixels_of(array)


class Failing(io.RawIOBase):
    def read(self, size=-1):
        raise RuntimeError("the device\nis gone")


BAD = {
    "absent": ("absent.png", "absent.png does not exist; expected an image file, an http"),
    "long name": ("n" * 300, "cannot be read: File name too long; expected an image file"),
    "long path": ("n/" * 3000, "cannot be read: File name too long"),
    "zero byte": ("bad\0name.png", "does not exist"),
    "no folder": (__file__ + "/a.png", "does not exist"),
    "empty": ("", "is a folder"),
    "folder": (Path(__file__).parent, "is a folder; expected an image file"),
    "device": ("/dev/null", "not an ordinary file"),
    "empty bytes": (b"", "empty"),
    "text": (io.StringIO("text"), "gives str instead of bytes; open it with mode 'rb'"),
    "failing file": (Failing(), "cannot be read: the device is gone"),
    "closed file": (io.BytesIO, "closed file"),
    "number": (
        5,
        "expected a path, a URL, bytes, a file object, a Pillow image or a NumPy array, got an object of type int",
    ),
    "nothing": (None, "NoneType"),
    "list": ([], "list"),
    "too many pixels": (Image.new("1", (1001, 1000)), "at most 1 megapixels"),
    "no pixels": (Image.new("RGB", (0, 5)), "."),
    "no url": ("http://", "."),
    "no host": ("http://[/a.png", "."),
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_is_wrong_with_a_source_is_one_line(name):
    source, expected = BAD[name]
    if source is io.BytesIO:
        source = io.BytesIO()
        source.close()
    with pytest.raises((ImageError, DownloadError), match=expected) as failure:
        pixels_of(source)
    assert "\n" not in str(failure.value)


def test_what_rights_forbid_is_explained(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(FILES["png"])

    def forbid(*_, **__):
        raise PermissionError(13, os.strerror(13))

    # Tests may run as a user who may read everything.
    for name in ("stat", "read_bytes"):
        with monkeypatch.context() as context:
            context.setattr(Path, name, forbid)
            with pytest.raises(ImageError, match="Permission denied"):
                pixels_of(tmp_path / "a.png")


@pytest.mark.parametrize("url", ["ftp://host/a.png", "file:///etc/passwd", "gopher://host/"])
def test_other_schemes_are_refused_and_never_taken_for_paths(url):
    with pytest.raises((ImageError, DownloadError), match="only http and https"):
        pixels_of(url)


def test_the_file_that_shows_a_query_is_the_one_that_came():
    png = FILES["png"]
    assert read_query(png, QueryConfig(), **LIMITS).file == png
    assert read_query(Image.open(io.BytesIO(png)), QueryConfig(), **LIMITS).file == png
    shown = read_query(np.zeros((3000, 2000), np.uint8), QueryConfig(), target_size=800, max_pixels=10**7).file
    assert Image.open(io.BytesIO(shown)).size == (427, 640)


def test_ids_names_and_single_sources():
    assert image_id_of("id:abc") == "abc"
    assert image_id_of("abc") is None
    assert image_id_of(b"id:abc") is None
    assert name_of("https://host/a.png") == "https://host/a.png"
    assert name_of(b"...") == "<image>"
    assert all(map(is_one_source, ["a", b"a", Path("a"), io.BytesIO(), Image.new("L", (1, 1)), np.zeros((2, 2, 3))]))
    assert not any(map(is_one_source, [["a"], (), {"a"}, np.zeros((1, 2, 2, 3)), iter(["a"])]))
