"""Damaged files at random, but the same ones on every run: each is decoded, or refused in one line.

FUZZ_ROUNDS in the environment raises the number of damaged files per seed image.
"""

import os
import resource
import sys

import numpy as np
import pytest
from PIL import Image

from lookalike.errors import ImageError
from lookalike.images.reading import open_image, verify_image
from tests import corpus
from tests.tiff_writer import tiff_of

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "250"))
# Two copies of the largest picture that is decoded, and some.
MAX_GROWTH_MIB = 1200
DEEP = np.asarray(corpus.quadrants()).astype(np.uint16) * 257
SEEDS = {
    **corpus.colour_images(),
    **corpus.grey_images(),
    "tiff 16-bit planar": tiff_of(DEEP, planar=True, compression="deflate", predictor=2),
    "tiff floating in tiles": tiff_of((DEEP / 65535).astype("f4"), tile=16, predictor=3),
    "jpeg with another profile": corpus.encode(corpus.quadrants(), "JPEG", icc_profile=corpus.swapping_profile()),
}
# One seed of each decoder and layout; the other orientations and modes differ in a few bytes only.
NAMES = [name for name in SEEDS if "orientation" not in name] + ["jpeg orientation 6", "tiff orientation 6"]


def damage(data, rng):
    """Return `data` with a random kind of damage."""
    damaged = bytearray(data)
    kind = rng.integers(6)
    where = int(rng.integers(len(data)))
    if kind == 0:
        for position in rng.integers(len(data), size=int(rng.integers(1, 20))):
            damaged[position] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del damaged[where:]
    elif kind == 2:
        damaged[where : where + int(rng.integers(1, 64))] = rng.bytes(int(rng.integers(0, 64)))
    elif kind == 3:
        # Lengths, sizes and offsets stand near the beginning.
        position = int(rng.integers(min(len(data), 120)))
        damaged[position : position + 4] = rng.choice(
            [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\x01\0"]
        )
    elif kind == 4:
        length = int(rng.integers(1, 200))
        damaged[where:where] = damaged[where : where + length]
    else:
        del damaged[where : where + int(rng.integers(1, 50))]
    return bytes(damaged)


def outcome(read, data):
    """Return what reading gave, or the message; any other exception is a failure of the test."""
    try:
        return read(data)
    except ImageError as error:
        message = str(error)
        assert message, "a refusal must give its cause"
        assert "\n" not in message
        return message


def peak_mib():
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // scale


@pytest.mark.parametrize("name", NAMES)
def test_damaged_images_are_decoded_or_refused(name):
    rng = np.random.default_rng([7, NAMES.index(name)])
    before = peak_mib()
    for _ in range(ROUNDS):
        data = damage(SEEDS[name], rng)
        opened = outcome(open_image, data)
        if isinstance(opened, Image.Image):
            assert opened.mode == "RGB"
            assert outcome(verify_image, data) == opened.size
    assert peak_mib() - before < MAX_GROWTH_MIB


def test_random_bytes_behind_every_signature_are_refused():
    rng = np.random.default_rng(3)
    signatures = {data[:16] for data in SEEDS.values()}
    for signature in sorted(signatures):
        for _ in range(10):
            outcome(open_image, signature[: int(rng.integers(2, 17))] + rng.bytes(int(rng.integers(0, 400))))
