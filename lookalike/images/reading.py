"""Reading one image, from a file, from bytes or from Pillow, without trusting it.

`open_image` gives pixels that are ready for a network, `convert_image` the same for an image that Pillow has opened,
and `verify_image` the size, after decoding everything. All raise `ImageError` with the cause in one line.
"""

import io
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from lookalike.errors import ImageError
from lookalike.images import png_metadata
from lookalike.images.color_profiles import MAX_PROFILE_BYTES
from lookalike.images.formats import HEAD_BYTES, READABLE_FORMATS, describe_content, image_format
from lookalike.images.modes import to_rgb
from lookalike.images.pillow_warnings import quiet_pillow

# Holds every telephone photograph up to 108 megapixels, and keeps the two copies that a conversion
# needs (4 bytes a pixel each) below one gigabyte.
MAX_PIXELS = 120_000_000
MAX_FILE_BYTES = 256 * 2**20
# Images beyond this are decoded one at a time, so that threads do not multiply their memory.
_HUGE_PIXELS = 30_000_000
_huge_image_lock = threading.Lock()

_ORIENTATION_TAG = 274
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = frozenset({5, 6, 7, 8})
_PROFILE = "icc_profile"
_SizedImage = tuple[Image.Image, tuple[int, int]]
# Decoding at this size is the cheapest that still reads every byte of a JPEG.
_VERIFY_SIZE = 1


def open_image(
    source: Path | bytes,
    *,
    max_pixels: int | None = MAX_PIXELS,
    target_size: int | None = None,
    name: str | None = None,
) -> Image.Image:
    """Return the first frame of an image as 8-bit sRGB, turned as its EXIF orientation says.

    Transparency is laid over white, 16-bit grey is scaled to 8 bits, an embedded colour profile is
    applied. With `target_size` a large image comes back smaller by 2, 4 or 8, but with both sides at
    least `target_size` long (if they were): a JPEG is decoded at that scale, which is several times
    faster for photographs. `name` is what messages call the image; by default the path, and nothing
    for bytes.

    Raises `ImageError` for anything that is not a whole, readable image of at most `max_pixels` (None: any number).
    """
    with _explained(source, name), quiet_pillow():
        image, _ = _decode(_bytes_of(source), max_pixels, target_size)
        return _upright_rgb(image, target_size)


def convert_image(
    image: Image.Image, *, max_pixels: int | None = MAX_PIXELS, target_size: int | None = None
) -> Image.Image:
    """Return an image that Pillow has opened or made, of any mode, as `open_image` returns one.

    What `image.info` says of orientation, colour profile and transparency is heeded, and the frame
    is the one that is selected. Raises `ImageError` as `open_image` does.
    """
    with _explained(b"", None), quiet_pillow():
        _check_pixels(image.size, max_pixels)
        with _one_at_a_time(image.size):
            image.load()
            return _upright_rgb(image, target_size)


def file_behind(image: Image.Image) -> bytes | None:
    """Return the bytes of the file from which a Pillow image has yet to be decoded, or None.

    Decoding them here gives what the file itself gives, to the last bit: Pillow would decode a JPEG
    at its full size, `open_image` at the scale that is needed.
    """
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None or image.tell() != 0:
        return None
    try:
        position = image.fp.tell()
        image.fp.seek(0)
        data = image.fp.read(MAX_FILE_BYTES + 1)
        image.fp.seek(position)
    except (OSError, ValueError):
        return None
    return data if image_format(data[:HEAD_BYTES]) is not None else None


def verify_image(
    source: Path | bytes, *, max_pixels: int | None = MAX_PIXELS, name: str | None = None
) -> tuple[int, int]:
    """Return (width, height) as displayed, after decoding the whole image; raises like `open_image`."""
    with _explained(source, name), quiet_pillow():
        image, size = _decode(_bytes_of(source), max_pixels, _VERIFY_SIZE)
        to_rgb(image)
        # Read after decoding, because Pillow has then already turned a TIFF.
        return _displayed(size, _orientation(image))


def read_image_file(path: Path) -> bytes:
    """Return the bytes of a file that may be an image; raises `ImageError` for folders, devices and huge files."""
    with _explained(b"", None):
        return _bytes_of(path)


def _decode(data: bytes, max_pixels: int | None, target_size: int | None) -> _SizedImage:
    """Return the decoded image and its size before scaling; of a PNG with unreadable metadata, the pixels alone."""
    try:
        return _decode_whole(data, max_pixels, target_size)
    except _Unreadable:
        raise
    except Exception:
        is_png = image_format(data[:HEAD_BYTES]) == "PNG"
        pixels = png_metadata.without_metadata(data) if is_png else data
        if len(pixels) == len(data):
            raise
        with suppress(Exception):
            image, size = _decode_whole(pixels, max_pixels, target_size)
            image.info[_PROFILE] = png_metadata.color_profile(data, MAX_PROFILE_BYTES)
            return image, size
        raise


def _decode_whole(data: bytes, max_pixels: int | None, target_size: int | None) -> _SizedImage:
    image = _open_header(data, max_pixels)
    size = image.size
    if target_size is not None:
        image.draft(None, (target_size, target_size))
    with _one_at_a_time(image.size):
        image.load()
    return image, size


def _open_header(data: bytes, max_pixels: int | None) -> Image.Image:
    """Return an image whose pixels are not decoded yet, but for the TIFF layouts that Pillow does not read."""
    kind = image_format(data[:HEAD_BYTES])
    if kind is None:
        raise _Unreadable(f"not an image: it is {describe_content(data[:HEAD_BYTES])}")
    if kind == "TIFF":
        return _tiff_image(data, max_pixels)
    return _pillow_file(data, kind, max_pixels)


def _pillow_file(data: bytes, kind: str, max_pixels: int | None) -> Image.Image:
    # The common formats first: importing all of Pillow's plugins takes longer than decoding.
    Image.preinit()
    if kind not in Image.OPEN:
        Image.init()
    # Not Image.open, which sets another limit on the number of pixels.
    factory, _ = Image.OPEN[kind]
    image = factory(io.BytesIO(data), "")
    _check_pixels(image.size, max_pixels)
    return image


def _tiff_image(data: bytes, max_pixels: int | None) -> Image.Image:
    # Only here, since few collections hold a TIFF, and this needs Pillow's whole reader of them.
    from lookalike.images import tiff_samples

    try:
        is_raw, layout = tiff_samples.is_raw_photograph(tiff_samples.read_tags(data)), tiff_samples.own_layout(data)
    except Exception:
        # Damaged tags raise nearly anything; Pillow will say what it makes of them.
        is_raw, layout = False, None
    if is_raw:
        raise _Unreadable("not a readable image: it is a raw photograph; export it as JPEG, for example")
    if layout is None:
        return _pillow_file(data, "TIFF", max_pixels)
    size = layout.width, layout.height
    _check_pixels(size, max_pixels)
    with _one_at_a_time(size):
        return tiff_samples.decode(data, layout)


def _upright_rgb(image: Image.Image, target_size: int | None) -> Image.Image:
    """A decoded image as RGB, reduced towards `target_size`, and turned."""
    profile = image.info.get(_PROFILE)
    with _one_at_a_time(image.size):
        rgb = to_rgb(image, profile if isinstance(profile, bytes) else None)
    if target_size is not None:
        rgb = _reduced(rgb, target_size)
    method = _TRANSPOSES.get(_orientation(image))
    return rgb if method is None else rgb.transpose(method)


def _reduced(image: Image.Image, target_size: int) -> Image.Image:
    """The image as a JPEG decoder scales one that need not be larger than `target_size`: by 2, 4 or 8."""
    possible = min(image.size) // target_size
    factor = next((factor for factor in (8, 4, 2) if factor <= possible), 1)
    return image.reduce(factor) if factor > 1 else image


def _displayed(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation in _SWAPS_SIDES else size


def _check_pixels(size: tuple[int, int], max_pixels: int | None) -> None:
    width, height = size
    if max_pixels is not None and width * height > max_pixels:
        raise _Unreadable(
            f"{width} x {height} pixels are too many: at most {max_pixels / 1e6:g} megapixels are decoded "
            "(dataset.max_pixels)"
        )


def _one_at_a_time(size: tuple[int, int]) -> AbstractContextManager[object]:
    return _huge_image_lock if size[0] * size[1] > _HUGE_PIXELS else nullcontext()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # Damaged EXIF raises nearly anything, and says nothing against the pixels.
        return 1


def _bytes_of(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    status = source.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _Unreadable("a folder, not an image" if stat.S_ISDIR(status.st_mode) else "not an ordinary file")
    if status.st_size > MAX_FILE_BYTES:
        raise _Unreadable(
            f"{status.st_size / 2**20:.0f} MiB are too much: at most {MAX_FILE_BYTES / 2**20:.0f} MiB are read"
        )
    return source.read_bytes()


class _Unreadable(Exception):
    """A cause that is already worded for the user."""


@contextmanager
def _explained(source: Path | bytes, name: str | None) -> Iterator[None]:
    """Turn whatever reading raises into an `ImageError` of one line."""
    try:
        yield
    except Exception as cause:
        # Pillow's decoders raise nearly every exception there is on damaged files.
        prefix = name if name is not None else "" if isinstance(source, bytes) else str(source)
        raise ImageError(f"{prefix}: {_cause_of(cause)}" if prefix else _cause_of(cause)) from cause


def _cause_of(error: Exception) -> str:
    match error:
        case _Unreadable():
            return str(error)
        case FileNotFoundError():
            return "no such file"
        case SyntaxError() | UnidentifiedImageError():
            return f"damaged: the header cannot be read (readable are {READABLE_FORMATS})"
        case MemoryError():
            return "too large for the memory of this machine"
        case OSError(strerror=str(text)):
            return f"cannot be read: {text}"
        case OSError() if "truncated" in str(error).lower():
            return "truncated: the file ends before the image does"
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"damaged: {detail}"
