"""Every layout of samples that a TIFF can have shows the same picture."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from lookalike.errors import ImageError
from lookalike.images.reading import open_image, verify_image
from tests import corpus
from tests.tiff_writer import tiff_of

CASE = Path(__file__).parents[1] / "data" / "images" / "tif_rgb16_planar.tif"
QUADRANTS = np.asarray(corpus.quadrants())
GREY = np.asarray(corpus.quadrants().convert("L"))


def as_type(eight_bits, dtype):
    """The same picture in another type of samples, over its usual range."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (eight_bits / 255).astype(dtype)
    return (eight_bits.astype(np.uint32) * 257).astype(dtype)


def pixels_of(data):
    return np.asarray(open_image(data)).astype(int)


LAYOUTS = [
    (dtype, order, planar, compression, predictor, tile)
    for dtype, order, planar, (compression, predictor), tile in itertools.product(
        ("u2", "u4", "f2", "f4", "f8"),
        "<>",
        (False, True),
        (("none", 1), ("deflate", 1), ("deflate", 2), ("deflate", 3)),
        (None, 16),
    )
    if predictor != 3 or dtype.startswith("f")
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: " ".join(map(str, layout)))
def test_all_layouts_of_colour_show_the_same(layout):
    dtype, order, planar, compression, predictor, tile = layout
    samples = as_type(QUADRANTS, dtype)
    data = tiff_of(samples, order=order, planar=planar, compression=compression, predictor=predictor, tile=tile)
    assert np.abs(pixels_of(data) - QUADRANTS).max() <= 1
    assert verify_image(data) == (corpus.WIDTH, corpus.HEIGHT)


@pytest.mark.parametrize("dtype", ["u2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", "<>")
def test_all_layouts_of_grey_show_the_same(dtype, photometric, order):
    grey = GREY if photometric == 1 else 255 - GREY
    data = tiff_of(as_type(grey, dtype)[..., None], photometric=photometric, order=order)
    assert np.abs(pixels_of(data)[..., 0] - GREY).max() <= 1


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_opacity_is_laid_over_white_and_other_channels_are_left_out(planar, dtype):
    opacity = np.full((*GREY.shape, 1), 255, dtype=np.uint8)
    opacity[:8] = 0
    shown = QUADRANTS.copy()
    shown[:8] = 255
    with_alpha = np.concatenate([QUADRANTS, opacity], axis=2)
    data = tiff_of(as_type(with_alpha, dtype), planar=planar, extra=(2,))
    assert np.abs(pixels_of(data) - shown).max() <= 1
    with_infrared = np.concatenate([QUADRANTS, opacity, opacity], axis=2)
    data = tiff_of(as_type(with_infrared, dtype), planar=planar, extra=(0, 0))
    assert np.abs(pixels_of(data) - QUADRANTS).max() <= 1
    grey = np.concatenate([GREY[..., None], opacity], axis=2)
    data = tiff_of(as_type(grey, dtype), planar=planar, extra=(2,), photometric=1)
    assert np.abs(pixels_of(data)[8:, :, 0] - GREY[8:]).max() <= 1
    assert pixels_of(data)[:8].min() == 255


@pytest.mark.parametrize("planar", [False, True])
def test_deep_cmyk_shows_as_8_bit_cmyk_does(planar):
    cmyk = corpus.quadrants().convert("CMYK")
    data = tiff_of(as_type(np.asarray(cmyk), "u2"), planar=planar, photometric=5)
    assert np.abs(pixels_of(data) - np.asarray(cmyk.convert("RGB")).astype(int)).max() <= 1


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tile", [None, 16])
def test_big_tiff_and_orientation(big, tile):
    data = tiff_of(as_type(QUADRANTS, "u2"), planar=True, big=big, tile=tile, tags={274: (6,)})
    assert verify_image(data) == (corpus.HEIGHT, corpus.WIDTH)
    assert np.abs(pixels_of(data) - np.rot90(QUADRANTS, -1)).max() <= 1


def test_floats_beyond_the_usual_ranges_keep_their_colours():
    data = tiff_of(as_type(QUADRANTS, "f4") * 3 - 1, planar=True)
    assert np.abs(pixels_of(data) - np.interp(QUADRANTS, (30, 255), (0, 255))).max() <= 1


def test_the_case_that_failed():
    smooth = np.asarray(open_image(CASE).resize((64, 48))).astype(int)
    assert np.abs(np.diff(smooth, axis=0)).mean() < 12, "decoded to garbage"


def test_a_raw_photograph_is_called_by_its_name():
    for tags in ({254: (1,)}, {50706: (1,)}, {262: (32803,)}):
        with pytest.raises(ImageError, match="a raw photograph; export it as JPEG"):
            open_image(tiff_of(as_type(QUADRANTS, "u2"), tags=tags))


@pytest.mark.parametrize("cut", [30, 60, 90])
def test_a_truncated_file_is_noticed(cut):
    for planar, compression in itertools.product((False, True), ("none", "deflate")):
        data = tiff_of(as_type(QUADRANTS, "f4"), planar=planar, compression=compression)
        # The tags stand behind the pixels, so the pixels are cut out of the middle instead.
        broken = data[:8] + b"\0" * (len(data) * cut // 100)
        with pytest.raises(ImageError):
            open_image(broken)


def test_what_a_header_claims_is_not_allocated():
    data = tiff_of(as_type(QUADRANTS, "f8"), tags={256: (30_000,), 257: (3_900,)})
    with pytest.raises(ImageError, match="too large"):
        open_image(data)
