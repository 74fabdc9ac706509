"""TIFF layouts that Pillow refuses or misreads: deep samples in separate planes, floating point, 32 bits, odd channels.

Pillow decompresses them if each row of samples is declared as a row of 8-bit grey. The bytes are then converted to
numbers here, and the numbers to an ordinary image.
"""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from lookalike.images.modes import to_eight_bits, value_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _CHANNELS, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 317, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _PROFILE, _DNG_VERSION = 338, 339, 34675, 50706

# None, LZW, deflate (two numbers), PackBits, LZMA, Zstandard: they pack bytes, and know nothing of samples.
_BYTE_COMPRESSIONS = frozenset({1, 5, 8, 32946, 32773, 34925, 50000})
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3
_KINDS = {1: "u", 2: "i", 3: "f"}
_DEPTHS = {"u": (16, 32), "i": (16, 32), "f": (16, 32, 64)}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_COLOR_MODES = {_WHITE_IS_ZERO: "L", _BLACK_IS_ZERO: "L", _RGB: "RGB", _CMYK: "CMYK"}
_RAW_PHOTOMETRICS = frozenset({32803, 34892})
# What Pillow reads as it is meant, if the samples are unsigned, of 16 bits, and all channels lie together.
_READ_BY_PILLOW = frozenset({(_BLACK_IS_ZERO, 1), (_RGB, 3), (_RGB, 4), (_CMYK, 4)})
_MAX_CHANNELS = 16
_MAX_UNPACKED_BYTES = 2**30


@dataclass(frozen=True)
class Layout:
    """How a TIFF file stores its samples. `dtype` is NumPy's name of their type, byte order included."""

    tags: ImageFileDirectory_v2
    width: int
    height: int
    channels: int
    dtype: str
    photometric: int

    @property
    def is_planar(self) -> bool:
        """Whether each channel is stored by itself."""
        return bool(self.tags.get(_PLANAR, 1) == 2)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return int(self.dtype[2:])

    @property
    def block_width(self) -> int:
        """Pixels that are packed as one row: those of a tile, or of the whole image."""
        return int(self.tags.get(_TILE_WIDTH, self.width))

    @property
    def padded_width(self) -> int:
        """The width with what the last tile holds beyond it."""
        return -(-self.width // self.block_width) * self.block_width

    @property
    def has_alpha(self) -> bool:
        """Whether the first channel after the colours is their opacity."""
        extra = _numbers(self.tags, _EXTRA_SAMPLES, 0)
        return self.photometric != _CMYK and self.channels > len(self.color_mode) and extra[0] in (1, 2)

    @property
    def color_mode(self) -> str:
        """Pillow's mode for the colours alone."""
        return _COLOR_MODES[self.photometric]


def decode(data: bytes, layout: Layout) -> Image.Image:
    """Return the samples as an 8-bit image with its colour profile and orientation; channels beyond alpha are left out.

    Raises nearly anything if the file is damaged, MemoryError if it is too large.
    """
    mode = layout.color_mode + "A" * layout.has_alpha
    channels = _channels(data, layout, len(mode))
    colors, alpha = channels[: len(layout.color_mode)], channels[len(layout.color_mode) :]
    # A common range, since separate ones would change the colours.
    black, white = value_range(*colors)
    if layout.photometric == _WHITE_IS_ZERO:
        black, white = white, black
    values = [to_eight_bits(channel, black, white) for channel in colors]
    values += [to_eight_bits(channel, *value_range(channel)) for channel in alpha]
    bands = [Image.fromarray(channel) for channel in values]
    image = Image.merge(mode, bands) if len(bands) > 1 else bands[0]
    exif = Image.Exif()
    exif[_ORIENTATION] = layout.tags.get(_ORIENTATION, 1)
    image.info |= {"icc_profile": layout.tags.get(_PROFILE), "exif": exif.tobytes()}
    return image


def read_tags(data: bytes) -> ImageFileDirectory_v2:
    """The tags of a TIFF file's first image; raises nearly anything if they are damaged."""
    stream = io.BytesIO(data)
    tags = ImageFileDirectory_v2(stream.read(16 if data[2:4] in (b"+\0", b"\0+") else 8))
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def is_raw_photograph(tags: ImageFileDirectory_v2) -> bool:
    """Whether a TIFF file is a camera's raw file: its first image is a preview, or what the sensor saw."""
    is_preview = int(tags.get(_SUBFILE_TYPE, 0)) & 1
    return bool(is_preview) or _DNG_VERSION in tags or tags.get(_PHOTOMETRIC) in _RAW_PHOTOMETRICS


def own_layout(data: bytes) -> Layout | None:
    """How the TIFF file `data` stores its samples, or None if it is left to Pillow."""
    tags = read_tags(data)
    bits, formats = set(_numbers(tags, _BITS, 1)), set(_numbers(tags, _SAMPLE_FORMAT, 1))
    photometric, channels = int(tags.get(_PHOTOMETRIC, -1)), int(tags.get(_CHANNELS, 1))
    kind = _KINDS.get(min(formats))
    if photometric not in _COLOR_MODES or kind is None or min(bits) not in _DEPTHS[kind]:
        return None
    if len(bits) > 1 or len(formats) > 1 or tags.get(_COMPRESSION, 1) not in _BYTE_COMPRESSIONS:
        return None
    if not len(_COLOR_MODES[photometric]) <= channels <= _MAX_CHANNELS:
        return None
    dtype = f"{'<' if data[:2] == b'II' else '>'}{kind}{min(bits) // 8}"
    layout = Layout(tags, int(tags[_WIDTH]), int(tags[_HEIGHT]), channels, dtype, photometric)
    is_read = dtype[1:] == "u2" and not layout.is_planar and (photometric, channels) in _READ_BY_PILLOW
    return None if is_read else layout


def _numbers(tags: ImageFileDirectory_v2, tag: int, default: int) -> tuple[int, ...]:
    value = tags.get(tag, default)
    return tuple(int(number) for number in value) if isinstance(value, tuple) else (int(value),)


def _channels(data: bytes, layout: Layout, count: int) -> "list[NDArray[Any]]":
    """The first `count` channels, (height, width) each."""
    if layout.is_planar:
        return [_samples(data, layout, plane, 1)[..., 0] for plane in range(count)]
    samples = _samples(data, layout, 0, layout.channels)
    return [samples[..., channel] for channel in range(count)]


def _samples(data: bytes, layout: Layout, plane: int, per_pixel: int) -> "NDArray[Any]":
    """The samples of one plane, (height, width, per_pixel), as numbers."""
    import numpy as np

    pixel_bytes = per_pixel * layout.sample_bytes
    if layout.padded_width * layout.height * pixel_bytes > _MAX_UNPACKED_BYTES:
        raise MemoryError
    packed = TiffImageFile(io.BytesIO(_as_grey_bytes(data, layout, plane, pixel_bytes)))
    rows = np.asarray(packed).reshape(layout.height, -1, layout.block_width * pixel_bytes)
    numbers = _undo_predictor(rows, layout, per_pixel)
    return numbers.reshape(layout.height, layout.padded_width, per_pixel)[:, : layout.width]


def _undo_predictor(rows: "NDArray[Any]", layout: Layout, per_pixel: int) -> "NDArray[Any]":
    """Numbers from rows of bytes (height, blocks, bytes): differences are added up within each block."""
    import numpy as np

    order, size = layout.dtype[0], layout.sample_bytes
    predictor = layout.tags.get(_PREDICTOR, 1)
    if predictor == _FLOAT_DIFFERENCES:
        # The first bytes of all samples, which are the most alike, then all second ones, and so on.
        added = np.cumsum(rows.reshape(*rows.shape[:2], -1, per_pixel), axis=2, dtype=np.uint8)
        by_byte = added.reshape(*rows.shape[:2], size, -1).swapaxes(2, 3)
        return np.ascontiguousarray(by_byte).view(f">f{size}")
    if predictor == _DIFFERENCES:
        differences = rows.view(f"{order}u{size}").reshape(*rows.shape[:2], -1, per_pixel)
        return np.cumsum(differences, axis=2, dtype=f"=u{size}").view(f"={layout.dtype[1:]}")
    return rows.view(layout.dtype)


def _as_grey_bytes(data: bytes, layout: Layout, plane: int, pixel_bytes: int) -> bytes:
    """The file with other tags: one plane of it as an image of 8-bit grey, `pixel_bytes` times as wide."""
    tags = layout.tags
    is_tiled = _TILE_WIDTH in tags
    where, sizes = (_TILE_OFFSETS, _TILE_BYTES) if is_tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    entries: dict[int, Sequence[int]] = {
        _WIDTH: (layout.padded_width * pixel_bytes,),
        _HEIGHT: (layout.height,),
        _BITS: (8,),
        _COMPRESSION: (int(tags.get(_COMPRESSION, 1)),),
        _PHOTOMETRIC: (_BLACK_IS_ZERO,),
        _CHANNELS: (1,),
    }
    for tag in (where, sizes):
        if tag in tags:
            numbers = _numbers(tags, tag, 0)
            count = len(numbers) // layout.channels if layout.is_planar else len(numbers)
            entries[tag] = numbers[plane * count : (plane + 1) * count]
    if is_tiled:
        entries |= {_TILE_WIDTH: (layout.block_width * pixel_bytes,), _TILE_HEIGHT: (int(tags[_TILE_HEIGHT]),)}
    else:
        entries[_ROWS_PER_STRIP] = (min(int(tags.get(_ROWS_PER_STRIP, layout.height)), layout.height),)
    return _with_tags(data, entries)


def _with_tags(data: bytes, entries: dict[int, Sequence[int]]) -> bytes:
    """A classic TIFF of the bytes of `data`, in the byte order it had, with `entries` (32-bit numbers) as its tags."""
    order = "<" if data[:2] == b"II" else ">"
    start = len(data) + len(data) % 2
    arrays_start = start + 2 + 12 * len(entries) + 4
    table, arrays = b"", b""
    for tag, numbers in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            arrays, packed = arrays + packed, struct.pack(f"{order}I", arrays_start + len(arrays))
        table += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    header = struct.pack(f"{order}2sHI", data[:2], 42, start)
    count = struct.pack(f"{order}H", len(entries))
    return b"".join([header, data[8:], b"\0" * (len(data) % 2), count, table, b"\0" * 4, arrays])
