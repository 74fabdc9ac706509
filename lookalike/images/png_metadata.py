"""PNG files without their metadata: what Pillow refuses an image for is not always in its pixels."""

import zlib
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTH_NAME_CRC = 12
# What the first frame's pixels, their transparency and their orientation depend on.
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT", b"eXIf"})


def without_metadata(data: bytes) -> bytes:
    """The PNG file `data` with only those whole chunks that decide its pixels; a cut one at the end stays."""
    kept = [_SIGNATURE]
    end = len(_SIGNATURE)
    for start, end in _chunks(data):
        name = data[start + 4 : start + 8]
        # Decoders can do without a chunk whose name begins with a small letter.
        is_needed = name[:1].isupper() or _is_intact(data, start, end)
        if name in _PIXEL_CHUNKS and is_needed:
            kept.append(data[start:end])
    return b"".join([*kept, data[end:]])


def color_profile(data: bytes, max_bytes: int) -> bytes | None:
    """The ICC profile of the PNG file `data`, or None if it has none, or one that is damaged or above `max_bytes`."""
    for start, end in _chunks(data):
        if data[start + 4 : start + 8] == b"iCCP":
            _, _, packed = data[start + 8 : end - 4].partition(b"\0")
            return _unpacked(packed[1:], max_bytes)
    return None


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each whole chunk begins and ends."""
    start = len(_SIGNATURE)
    while start + _LENGTH_NAME_CRC <= len(data):
        end = start + _LENGTH_NAME_CRC + int.from_bytes(data[start : start + 4])
        if end > len(data):
            return
        yield start, end
        start = end


def _is_intact(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])


def _unpacked(packed: bytes, max_bytes: int) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, max_bytes)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None
