"""Query images: one function turns every kind of source into RGB pixels.

A source is a path, an http(s) URL, encoded bytes, a file object, a Pillow image or a NumPy array;
`id:<image_id>` names an image of the collection, whose vector is stored.
"""

import io
import re
import stat
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lookalike.config.sections import QueryConfig
from lookalike.errors import ImageError, LookalikeError
from lookalike.files import user_path
from lookalike.images.reading import MAX_FILE_BYTES, convert_image, file_behind, open_image, read_image_file


class BinaryFile(Protocol):
    """A binary file object."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes."""


ImageSource = str | PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Image.Image | NDArray[Any]

_ID_PREFIX = "id:"
_URL_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://")
_EXPECTED = "expected an image file, an http(s) URL, or id:<image_id>"
# Pixels of a query that came without a file are shown at this size.
_SHOWN_SIDE = 640


@dataclass(frozen=True)
class QueryImage:
    """A query image: its RGB pixels, and an image file to show it with (the original, or a small PNG)."""

    pixels: Image.Image
    file: bytes


def image_id_of(source: object) -> str | None:
    """Return the image_id of an `id:...` query, or None for any other source."""
    if isinstance(source, str) and source.startswith(_ID_PREFIX):
        return source.removeprefix(_ID_PREFIX)
    return None


def name_of(source: object) -> str:
    """Return the name of a source in results and messages."""
    return str(source) if isinstance(source, str | PathLike) else "<image>"


def is_one_source(source: object) -> bool:
    """Whether an object is a single image, not a collection of images."""
    if isinstance(source, np.ndarray):
        return source.ndim < 4
    kinds = (str, PathLike, bytes, bytearray, memoryview, Image.Image)
    return isinstance(source, kinds) or hasattr(source, "read")


def read_query(source: ImageSource, config: QueryConfig, *, target_size: int, max_pixels: int) -> QueryImage:
    """Return the RGB pixels of a source, read as the images of a collection are: see `open_image` for the sizes.

    A file gives the same pixels whether it is given as path, URL, bytes, file object, or Pillow image that is not
    decoded yet. The pixels of a decoded one and of an array are used as they are; see `_from_array`.

    Raises DownloadError for a URL that cannot be fetched, and ImageError for anything else that is wrong.
    """
    try:
        image = _as_pillow(source)
        file = _read_file(source, config) if image is None else file_behind(image)
        if file is not None:
            return QueryImage(open_image(file, target_size=target_size, max_pixels=max_pixels), file)
        assert image is not None
        pixels = convert_image(image, target_size=target_size, max_pixels=max_pixels)
        return QueryImage(pixels, _small_png(pixels))
    except LookalikeError:
        raise
    except Exception as error:
        # A file object's own errors, for example: whatever one source does, the other queries go on.
        raise ImageError(f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error


def _as_pillow(source: ImageSource) -> Image.Image | None:
    if isinstance(source, np.ndarray):
        return _from_array(source)
    return source if isinstance(source, Image.Image) else None


def _from_array(array: NDArray[Any]) -> Image.Image:
    """Return a Pillow image of an array (height, width[, channels]) with 1 (grey), 3 (RGB) or 4 (RGBA) channels."""
    has_shape = (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))) and array.size > 0
    values = array
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        values = np.rint(array * 255).astype(np.uint8)
    if not has_shape or values.dtype != np.uint8:
        span = f", from {array.min():g} to {array.max():g}" if array.size and array.dtype.kind in "iuf" else ""
        raise ImageError(
            "an array must be (height, width), or (height, width, 1, 3 or 4), of type uint8 or of floats from 0 to 1; "
            f"got {array.dtype} {array.shape}{span}"
        )
    return Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[2:] == (1,) else values))


def _read_file(source: Any, config: QueryConfig) -> bytes:
    """Return the encoded bytes of a path, a URL, bytes or a file object."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str) and _URL_SCHEME.match(source):
        # Loading the network libraries takes longer than most queries, which name a file.
        from lookalike.fetch.image import fetch_image_bytes

        return fetch_image_bytes(source, config)
    if isinstance(source, str | PathLike):
        return _read_path(user_path(Path(source)))
    if hasattr(source, "read"):
        return _read_stream(source)
    raise ImageError(
        "expected a path, a URL, bytes, a file object, a Pillow image or a NumPy array, got an object of type "
        f"{type(source).__name__}"
    )


def _read_path(path: Path) -> bytes:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        # ValueError: a zero byte, which no name can hold.
        raise ImageError(f"{path} does not exist; {_EXPECTED}") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}; {_EXPECTED}") from error
    if is_folder:
        raise ImageError(f"{path} is a folder; {_EXPECTED}")
    return read_image_file(path)


def _read_stream(stream: BinaryFile) -> bytes:
    # From its beginning, as Pillow does: a stream that was just written, or asked before, stands at its end.
    seek = getattr(stream, "seek", None)
    if seek is not None and getattr(stream, "seekable", lambda: True)():
        seek(0)
    data = stream.read(MAX_FILE_BYTES + 1)
    if not isinstance(data, bytes):
        raise ImageError(f"the file object gives {type(data).__name__} instead of bytes; open it with mode 'rb'")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"the file object holds more than {MAX_FILE_BYTES / 2**20:.0f} MiB, the limit")
    return data


def _small_png(pixels: Image.Image) -> bytes:
    shown = pixels.copy()
    shown.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    stream = io.BytesIO()
    shown.save(stream, "PNG")
    return stream.getvalue()
