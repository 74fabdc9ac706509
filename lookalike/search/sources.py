"""Where a query image comes from: a path, an http(s) URL, `id:<image_id>`, bytes, or a Pillow image."""

import io
import re
from pathlib import Path

from PIL import Image

from lookalike.config import QueryConfig
from lookalike.errors import ImageError
from lookalike.files import user_path
from lookalike.images import read_image_file

ImageSource = str | Path | bytes | Image.Image

_ID_PREFIX = "id:"
_URL_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://")


def image_id_of(source: ImageSource) -> str | None:
    """The image_id of an `id:...` query, or None for every other source."""
    if isinstance(source, str) and source.startswith(_ID_PREFIX):
        return source.removeprefix(_ID_PREFIX)
    return None


def name_of(source: ImageSource) -> str:
    """How a source is named in results and messages."""
    return str(source) if isinstance(source, str | Path) else "<image>"


def read_image_bytes(source: ImageSource, config: QueryConfig) -> bytes:
    """The encoded bytes of a path, a URL, bytes or a Pillow image.

    Raises ImageError for a path that cannot be read, and DownloadError or ImageError for a URL.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, Image.Image):
        return _encode(source)
    if isinstance(source, str) and _URL_SCHEME.match(source):
        # Loading the network libraries takes longer than most queries, which name a file.
        from lookalike.fetch.image import fetch_image_bytes

        return fetch_image_bytes(source, config)
    return _read_file(user_path(source))


def _encode(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ImageError(f"{path} {found}; expected an image file, an http(s) URL, or id:<image_id>")
    return read_image_file(path)
