"""Reading one image, from a file or from bytes, without trusting it.

`open_image` gives pixels that are ready for a network, `probe_image` the size alone (header only),
`verify_image` the size after decoding everything. All raise `ImageError` with the cause in one line.
"""

import io
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lookalike.errors import ImageError
from lookalike.image_formats import HEAD_BYTES, READABLE_FORMATS, describe_content, image_format
from lookalike.image_modes import to_rgb

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
# Decoding at this size is the cheapest that still reads every byte of a JPEG.
_VERIFY_SIZE = 1


def open_image(
    source: Path | bytes, *, max_pixels: int = MAX_PIXELS, target_size: int | None = None, name: str | None = None
) -> Image.Image:
    """Return the first frame of an image as 8-bit RGB, turned as its EXIF orientation says.

    Transparency is laid over white and 16-bit grey is scaled to 8 bits. With `target_size` a JPEG may
    come back smaller by 2, 4 or 8, but with both sides at least `target_size` long (if they were): it is
    decoded at that scale, which is several times faster for photographs. `name` is what messages call
    the image; by default the path, and nothing for bytes.

    Raises `ImageError` for anything that is not a whole, readable image of at most `max_pixels`.
    """
    image, _ = _read(source, max_pixels, target_size, name)
    return image


def verify_image(source: Path | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> tuple[int, int]:
    """Return (width, height) as displayed, after decoding the whole image; raises like `open_image`."""
    _, size = _read(source, max_pixels, _VERIFY_SIZE, name)
    return size


def probe_image(source: Path | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> tuple[int, int]:
    """Return (width, height) as displayed, from the header alone; raises `ImageError` if that is unreadable."""
    with _explained(source, name), _quiet_pillow():
        image = _open_header(_bytes_of(source), max_pixels)
        # Pillow already swaps the sides of a rotated TIFF when it reads the header.
        swapped = image.format != "TIFF" and _orientation(image) in _SWAPS_SIDES
        return (image.height, image.width) if swapped else image.size


def read_image_file(path: Path) -> bytes:
    """Return the bytes of a file that may be an image; raises `ImageError` for folders, devices and huge files."""
    with _explained(b"", None):
        return _bytes_of(path)


def _read(
    source: Path | bytes, max_pixels: int, target_size: int | None, name: str | None
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode; return the RGB image and the displayed size of the original."""
    with _explained(source, name), _quiet_pillow():
        image = _open_header(_bytes_of(source), max_pixels)
        width, height = image.size
        if target_size is not None:
            image.draft(None, (target_size, target_size))
        with _huge_image_lock if image.width * image.height > _HUGE_PIXELS else nullcontext():
            image.load()
            rgb = to_rgb(image)
        # Read after loading, because Pillow has then already turned a TIFF.
        orientation = _orientation(image)
        return _turn(rgb, orientation), (height, width) if orientation in _SWAPS_SIDES else (width, height)


def _open_header(data: bytes, max_pixels: int) -> Image.Image:
    kind = image_format(data[:HEAD_BYTES])
    if kind is None:
        raise _Unreadable(f"not an image: it is {describe_content(data[:HEAD_BYTES])}")
    image = Image.open(io.BytesIO(data), formats=[kind])
    width, height = image.size
    if width * height > max_pixels:
        raise _Unreadable(
            f"{width} x {height} pixels are too many: at most {max_pixels / 1e6:g} megapixels are decoded"
        )
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # Damaged EXIF raises nearly anything, and says nothing against the pixels.
        return 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    method = _TRANSPOSES.get(orientation)
    return image if method is None else image.transpose(method)


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
        case Image.DecompressionBombError():
            return f"too many pixels: at most {MAX_PIXELS / 1e6:g} megapixels are decoded"
        case FileNotFoundError():
            return "no such file"
        case UnidentifiedImageError():
            return f"damaged: the header cannot be read (readable are {READABLE_FORMATS})"
        case MemoryError():
            return "too large for the memory of this machine"
        case OSError(strerror=str(text)):
            return f"cannot be read: {text}"
        case OSError() if "truncated" in str(error).lower():
            return "truncated: the file ends before the image does"
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"damaged: {detail}"


_quiet_lock = threading.Lock()
_quiet_depth = 0


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings about odd files while any thread is inside.

    `warnings.catch_warnings` is not safe with several threads: one may restore the filters that
    another one changed. So the first thread in adds one filter, and the last one out removes it.
    """
    global _quiet_depth
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            warnings.filterwarnings("ignore", module=_PILLOW_MODULES)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _remove_filter()


_PILLOW_MODULES = r"PIL(\.|$)"


def _remove_filter() -> None:
    for entry in list(warnings.filters):
        module = entry[3]
        if getattr(module, "pattern", None) == _PILLOW_MODULES:
            warnings.filters.remove(entry)  # type: ignore[attr-defined]
