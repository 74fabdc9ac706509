import contextlib
import io
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from lookalike.errors import ImageError
from lookalike.images import modes as image_modes
from lookalike.images import reading as images
from lookalike.images.pillow_warnings import quiet_pillow
from lookalike.images.reading import convert_image, file_behind, open_image, read_image_file, verify_image
from tests import corpus

COLOURS = corpus.colour_images()
GREYS = corpus.grey_images()
WHOLE = corpus.whole_images()
TRUNCATED = corpus.truncated_images()
NOT_IMAGES = corpus.not_images()


@pytest.mark.parametrize("name", COLOURS)
def test_colours_and_orientation_come_out_right(name):
    # Lab loses most: 8 bits a channel over a wide space.
    corpus.assert_shows(open_image(COLOURS[name]), {**corpus.QUADRANTS, "corner": corpus.CORNER}, 12)


@pytest.mark.parametrize("name", GREYS)
def test_greys_come_out_right(name):
    luma = corpus.quadrants().convert("L").convert("RGB")
    corpus.assert_shows(open_image(GREYS[name]), corpus.quadrant_colours(luma), 4)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_images_have_the_same_size_however_it_is_asked(name, tmp_path):
    data = WHOLE[name]
    path = tmp_path / "an image.bin"
    path.write_bytes(data)
    size = open_image(data).size
    assert open_image(path).size == size
    assert verify_image(data) == verify_image(path) == size


@pytest.mark.parametrize("name", TRUNCATED)
def test_truncated_images_are_noticed(name):
    for read in (open_image, verify_image):
        with pytest.raises(ImageError) as failure:
            read(TRUNCATED[name])
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_what_is_no_image_is_called_by_its_name(name):
    data, description = NOT_IMAGES[name]
    for read in (open_image, verify_image):
        with pytest.raises(ImageError, match=f"^not an image: it is {description}"):
            read(data)


def test_message_begins_with_the_path_or_the_given_name(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("dear diary")
    with pytest.raises(ImageError, match=r"notes\.jpg: not an image: it is text"):
        open_image(path)
    with pytest.raises(ImageError, match=r"^upload 7: not an image: it is text"):
        open_image(b"dear diary", name="upload 7")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "a folder, not an image"),
        (lambda path: path.symlink_to(path.with_name("nowhere")), "no such file"),
        (lambda path: os.mkfifo(path), "not an ordinary file"),
        (lambda _path: None, "no such file"),
    ],
)
def test_paths_that_are_no_files(tmp_path, make, message):
    make(tmp_path / "a.jpg")
    for read in (open_image, read_image_file):
        with pytest.raises(ImageError, match=message):
            read(tmp_path / "a.jpg")


def test_huge_files_are_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as stream:
        stream.truncate(images.MAX_FILE_BYTES + 1)
    with pytest.raises(ImageError, match="256 MiB are read"):
        open_image(path)


def test_pixels_are_counted_before_decoding():
    with pytest.raises(ImageError, match="48 x 32 pixels are too many"):
        open_image(corpus.encode(corpus.quadrants(), "PNG"), max_pixels=48 * 32 - 1)
    assert open_image(corpus.encode(corpus.quadrants(), "PNG"), max_pixels=48 * 32).size == (48, 32)
    # Above the number at which Pillow itself gives up.
    vast = corpus.png(20_000, 10_000, 1, 0, b"")
    assert images._open_header(vast, max_pixels=200_000_000).size == (20_000, 10_000)


_OPEN_ALL_BOMBS = """
import resource, sys
from pathlib import Path
from lookalike.errors import ImageError
from lookalike.images.reading import open_image
open_image(Path(sys.argv[1]) / "warm-up.png")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).glob("*.bomb")):
    try:
        open_image(path)
        print(path.name, "was opened")
    except ImageError as error:
        assert "\\n" not in str(error)
print("MiB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_are_refused_and_cost_little_memory(tmp_path):
    corpus.quadrants().save(tmp_path / "warm-up.png")
    for name, data in corpus.bombs().items():
        (tmp_path / f"{name}.bomb").write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", _OPEN_ALL_BOMBS, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    opened, used = run.stdout.splitlines()[:-1], int(run.stdout.split()[-1])
    # Their pixels are fine; the rest is left unpacked.
    in_metadata = {"png text of 200 MB", "png texts of 1 MB each", "png profile of 200 MB"}
    assert set(opened) == {f"{name}.bomb was opened" for name in in_metadata}
    assert used < 150


def test_target_size_scales_images_and_keeps_both_sides_long_enough():
    photograph = Image.effect_mandelbrot((1600, 1200), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    for kind in ("JPEG", "PNG"):
        data = corpus.encode(photograph, kind)
        assert open_image(data, target_size=224).size == (400, 300)
        assert open_image(data).size == (1600, 1200)
        assert verify_image(data) == (1600, 1200)
    small = corpus.encode(photograph.resize((300, 200)), "JPEG")
    assert open_image(small, target_size=224).size == (300, 200)


def test_scaled_decoding_shows_the_same_picture():
    photograph = Image.effect_mandelbrot((1600, 1200), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    data = corpus.encode(photograph, "JPEG", quality=92, exif=corpus.exif_orientation(6))
    whole = open_image(data).resize((150, 200), Image.Resampling.BOX)
    scaled = open_image(data, target_size=150).resize((150, 200), Image.Resampling.BOX)
    difference = np.abs(np.asarray(whole, dtype=int) - np.asarray(scaled, dtype=int))
    assert difference.mean() < 1.5


def test_pillow_warnings_neither_leak_nor_are_silenced_elsewhere():
    noisy = corpus.encode(
        corpus.quadrants(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + b"\x0f\x01\x02\0\xff\xff\xff\x7f" * 2
    )
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_image(noisy)
        assert caught == []
        Image.open(io.BytesIO(noisy)).getexif()
    assert caught, "this file should make Pillow itself complain"
    assert warnings.filters == before


def test_warning_filters_are_as_before_after_many_threads():
    before = list(warnings.filters)
    names = list(WHOLE)[:40]
    threads = [threading.Thread(target=lambda: [open_image(WHOLE[name]) for name in names]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_decoders_that_start_other_programs_are_never_asked(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    asked = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: asked.append(1))
    path = tmp_path / "drawing.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ImageError, match="PostScript"):
        open_image(path)
    assert asked == []


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "I;16", "F", "L"])
def test_large_images_are_converted_in_bands_like_small_ones(monkeypatch, mode):
    ramp = np.arange(60 * 40, dtype=np.float32).reshape(40, 60) * 11
    if mode in ("I;16", "F"):
        image = Image.fromarray(ramp.astype(np.uint16) if mode == "I;16" else ramp)
    else:
        image = corpus.with_transparent_corner().convert(mode)
    whole = image_modes.to_rgb(image)
    monkeypatch.setattr(image_modes, "_BAND_PIXELS", 7 * image.width + 1)
    assert image_modes.to_rgb(image).tobytes() == whole.tobytes()


def test_floating_point_grey_is_stretched_whatever_its_range():
    ramp = np.linspace(-5, 900, 256, dtype=np.float32).reshape(16, 16)
    ramp[0, 1] = np.nan
    grey = np.asarray(open_image(corpus.encode(Image.fromarray(ramp), "TIFF")))[..., 0]
    assert grey[0, 0] == 0
    assert grey[-1, -1] == 255
    assert np.all(np.diff(grey.ravel()[2:].astype(int)) >= 0)


def test_importing_images_loads_no_heavy_module():
    script = "import sys, lookalike.images.reading; print({'torch', 'numpy', 'pyarrow', 'timm'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def as_pillow(data):
    """The image as Pillow opens it, not decoded yet, or None if Pillow cannot decode it."""
    with contextlib.suppress(ValueError, SyntaxError, OSError), quiet_pillow():
        Image.open(io.BytesIO(data)).load()
        return Image.open(io.BytesIO(data))
    return None


@pytest.mark.parametrize("name", WHOLE)
def test_images_of_pillow_are_converted_as_their_files(name):
    data = WHOLE[name]
    image = as_pillow(data)
    if image is None:
        assert name.startswith("png with")  # Pillow takes offence at their metadata.
        return
    assert file_behind(image) in (data, None)
    converted = convert_image(image)
    assert converted.tobytes() == open_image(data).tobytes()
    assert file_behind(image) is None or image.is_animated
    assert convert_image(image).tobytes() == converted.tobytes()
