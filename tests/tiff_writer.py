"""TIFF files of any layout of samples, many of which Pillow cannot write."""

import struct
import zlib

import numpy as np

_COMPRESSIONS = {"none": 1, "deflate": 8}
_FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff_of(
    samples: np.ndarray,
    *,
    order: str = "<",
    planar: bool = False,
    compression: str = "none",
    predictor: int = 1,
    tile: int | None = None,
    rows_per_strip: int = 5,
    photometric: int | None = None,
    extra: tuple[int, ...] = (),
    tags: dict[int, tuple[int, ...] | bytes] | None = None,
    big: bool = False,
) -> bytes:
    """Return `samples` (height, width, channels) as a TIFF file; `big` makes it a BigTIFF."""
    height, width, channels = samples.shape
    planes = [samples[..., channel : channel + 1] for channel in range(channels)] if planar else [samples]
    blocks = [
        _packed(block, order, compression, predictor)
        for plane in planes
        for block in (_tiles(plane, tile) if tile else _strips(plane, rows_per_strip))
    ]
    header_size = 16 if big else 8
    offsets = tuple(header_size + sum(map(len, blocks[:number])) for number in range(len(blocks)))
    sizes = tuple(map(len, blocks))
    entries = {
        256: (width,),
        257: (height,),
        258: (samples.dtype.itemsize * 8,) * channels,
        259: (_COMPRESSIONS[compression],),
        262: (photometric if photometric is not None else 2 if channels >= 3 else 1,),
        277: (channels,),
        284: (2 if planar else 1,),
        317: (predictor,),
        339: (_FORMATS[samples.dtype.kind],) * channels,
    }
    entries |= {322: (tile,), 323: (tile,), 324: offsets, 325: sizes} if tile else {}
    entries |= {} if tile else {273: offsets, 278: (rows_per_strip,), 279: sizes}
    entries |= {338: extra} if extra else {}
    return _file(order, big, b"".join(blocks), entries | (tags or {}))


def _strips(plane: np.ndarray, rows: int) -> list[np.ndarray]:
    return [plane[top : top + rows] for top in range(0, len(plane), rows)]


def _tiles(plane: np.ndarray, side: int) -> list[np.ndarray]:
    height, width = plane.shape[:2]
    padded = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    return [
        padded[top : top + side, left : left + side] for top in range(0, height, side) for left in range(0, width, side)
    ]


def _packed(block: np.ndarray, order: str, compression: str, predictor: int) -> bytes:
    size, channels = block.dtype.itemsize, block.shape[2]
    raw = block.astype(f"{order}{block.dtype.kind}{size}").tobytes()
    if predictor == 2:
        numbers = block.view(f"u{size}")
        differences = np.concatenate([numbers[:, :1], np.diff(numbers, axis=1)], axis=1)
        raw = differences.astype(f"{order}u{size}").tobytes()
    if predictor == 3:
        by_byte = np.frombuffer(block.astype(f">f{size}").tobytes(), np.uint8).reshape(len(block), -1, size)
        row = by_byte.swapaxes(1, 2).reshape(len(block), -1, channels)
        raw = np.concatenate([row[:, :1], np.diff(row, axis=1)], axis=1).tobytes()
    return zlib.compress(raw) if compression == "deflate" else raw


def _file(order: str, big: bool, pixels: bytes, entries: dict[int, tuple[int, ...] | bytes]) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    number, count, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    pixels += b"\0" * (len(pixels) % 2)
    start = (16 if big else 8) + len(pixels)
    after = start + struct.calcsize(f"{order}{count}") + entry_size * len(entries) + struct.calcsize(f"{order}{number}")
    header = mark + (struct.pack(f"{order}HHHQ", 43, 8, 0, start) if big else struct.pack(f"{order}HI", 42, start))
    table, arrays = struct.pack(f"{order}{count}", len(entries)), b""
    for tag, values in sorted(entries.items()):
        kind, packed = (7, values) if isinstance(values, bytes) else (4, struct.pack(f"{order}{len(values)}I", *values))
        if len(packed) > struct.calcsize(number):
            arrays, packed = arrays + packed, struct.pack(f"{order}{number}", after + len(arrays))
        table += struct.pack(f"{order}HH{number}", tag, kind, len(values)) + packed.ljust(
            struct.calcsize(number), b"\0"
        )
    return header + pixels + table + struct.pack(f"{order}{number}", 0) + arrays
