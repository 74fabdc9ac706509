"""What surrounds the pixels: colour profiles are applied, and no metadata cost an image."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lookalike.images import color_profiles, png_metadata
from lookalike.images.reading import open_image, verify_image
from tests import corpus
from tests.tiff_writer import tiff_of

CASES = Path(__file__).parents[1] / "data" / "images"


@pytest.mark.parametrize("name", ["png_big_itxt.png", "png_big_ztxt.png", "avif_mif1.avif", "cmyk.jpg"])
def test_the_cases_that_were_refused_are_read(name):
    assert verify_image(CASES / name) == open_image(CASES / name).size == (256, 192)


def test_colours_are_what_the_profile_says():
    swapped = open_image(CASES / "jpg_swapped_icc.jpg")
    with Image.open(CASES / "jpg_swapped_icc.jpg") as stored:
        red, green, blue = stored.convert("RGB").split()
    expected = np.asarray(Image.merge("RGB", (blue, green, red))).astype(int)
    assert np.abs(np.asarray(swapped) - expected).mean() < 2


PROFILED = {
    "JPEG": ("RGB", {"quality": 95}),
    "PNG": ("RGB", {}),
    "WEBP": ("RGB", {"quality": 95}),
    "AVIF": ("RGB", {"quality": 95}),
    "TIFF": ("RGB", {}),
    "PNG RGBA": ("RGBA", {}),
    "PNG P": ("P", {}),
    "TIFF RGBA": ("RGBA", {}),
}


@pytest.mark.parametrize("name", PROFILED)
def test_profiles_are_applied_in_every_format_and_mode(name):
    mode, options = PROFILED[name]
    red, green, blue = corpus.quadrants().split()
    stored = Image.merge("RGB", (blue, green, red))
    image = stored.quantize(16) if mode == "P" else stored.convert(mode)
    data = corpus.encode(image, name.split()[0], icc_profile=corpus.swapping_profile(), **options)
    corpus.assert_shows(open_image(data), {**corpus.QUADRANTS, "corner": corpus.CORNER}, 12)
    assert open_image(data, target_size=8).getpixel((1, 1))[0] > 200


def test_deep_samples_have_profiles_too():
    samples = np.asarray(corpus.quadrants())[..., ::-1].astype(np.uint16) * 257
    data = tiff_of(samples, planar=True, tags={34675: corpus.swapping_profile()})
    corpus.assert_shows(open_image(data), {**corpus.QUADRANTS, "corner": corpus.CORNER}, 3)


def gamma_profile(gamma):
    """A grey profile of a given gamma, in the smallest form there is."""
    curve = b"curv" + b"\0" * 4 + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ " + b"\0" * 4 + struct.pack(">3i", 63190, 65536, 54061)
    tags = struct.pack(">I4sII4sII", 2, b"kTRC", 156, len(curve), b"wtpt", 156 + len(curve), len(white))
    body = tags + curve + white
    header = struct.pack(">I4sI4s4s4s", 128 + len(body), b"", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + body


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_profiles_are_applied(mode):
    grey = Image.new("L", (8, 8), 128)
    image = Image.fromarray(np.full((8, 8), 128 * 257, dtype=np.uint16)) if mode == "I;16" else grey.convert(mode)
    shown = open_image(corpus.encode(image, "PNG", icc_profile=gamma_profile(1.0))).getpixel((4, 4))
    # Half the light is 188 in sRGB.
    assert shown == pytest.approx((188,) * 3, abs=2)


@pytest.mark.parametrize(
    "profile",
    {
        "rubbish": b"no profile",
        "empty": b"",
        "of another space": gamma_profile(1.0),
        "cut": corpus.swapping_profile()[:200],
        "without its tags": corpus.swapping_profile()[:128] + b"\0" * 400,
        "too large": corpus.swapping_profile() + b"\0" * 5_000_000,
    }.items(),
    ids=lambda item: item[0],
)
def test_a_profile_that_cannot_be_used_costs_nothing(profile):
    plain = corpus.encode(corpus.quadrants(), "TIFF")
    data = corpus.encode(corpus.quadrants(), "TIFF", icc_profile=profile[1])
    assert open_image(data).tobytes() == open_image(plain).tobytes()


def test_an_srgb_profile_changes_no_pixel():
    plain = corpus.encode(corpus.quadrants(), "JPEG", quality=95)
    data = corpus.encode(corpus.quadrants(), "JPEG", quality=95, icc_profile=corpus.srgb_profile())
    assert open_image(data).tobytes() == open_image(plain).tobytes()


def test_one_profile_serves_many_threads():
    data = corpus.encode(
        Image.effect_noise((300, 200), 90).convert("RGB"), "PNG", icc_profile=corpus.swapping_profile()
    )
    color_profiles._transform.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: open_image(data).tobytes(), range(64)))
    assert set(found) == {open_image(data).tobytes()}


def test_a_png_keeps_its_large_profile():
    # Zeros behind a profile are no part of it, but have to be unpacked.
    profile = corpus.swapping_profile() + b"\0" * 2_000_000
    data = corpus.png_with_chunks([(b"iCCP", b"k\0\0" + zlib.compress(profile))])
    assert open_image(data).getpixel((2, 2)) == pytest.approx(corpus.QUADRANTS["top left"][::-1], abs=2)


METADATA = st.lists(
    st.tuples(
        st.sampled_from(
            [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"sBIT"]
        ),
        st.binary(max_size=60) | st.binary(max_size=30).map(lambda data: b"key\0\0" + zlib.compress(data)),
    ),
    max_size=4,
)


@given(METADATA, st.integers(0, 255))
def test_no_metadata_of_a_png_costs_the_image(chunks, flipped):
    data = bytearray(corpus.png_with_chunks(chunks))
    # One byte behind the header and before the pixels is damaged, wherever it falls.
    room = range(33, data.index(b"IDAT") - 4)
    if room:
        position = room[flipped % len(room)]
        is_length = any(start <= position < start + 8 for start, _ in png_metadata._chunks(bytes(data)))
        data[position] ^= 0 if is_length else 1
    image = open_image(bytes(data))
    # An orientation is heeded where it is one.
    assert sorted(image.size) == sorted((corpus.WIDTH, corpus.HEIGHT))
