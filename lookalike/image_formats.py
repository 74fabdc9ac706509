"""What a file holds, told from its first bytes: the image formats that are decoded, and plain names for the rest.

Only a format recognised here is handed to Pillow, and only that format's decoder sees the bytes. So
a file never reaches a decoder that starts other programs (EPS) or that nobody needs.
"""

HEAD_BYTES = 512

# (offset, signature, Pillow's name of the format)
_IMAGE_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"BM", "BMP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    (0, b"qoif", "QOI"),
    (0, b"P1", "PPM"),
    (0, b"P2", "PPM"),
    (0, b"P3", "PPM"),
    (0, b"P4", "PPM"),
    (0, b"P5", "PPM"),
    (0, b"P6", "PPM"),
)
# Suffixes of files that are meant to be images, readable here or not.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".dib"}
    | {".avif", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx", ".qoi", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".heic", ".heif", ".svg", ".ico", ".psd", ".tga"}
)
READABLE_FORMATS = "JPEG, PNG, GIF, WebP, TIFF, BMP, AVIF, JPEG 2000, QOI and PPM"

_OTHER_SIGNATURES = (
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"\x00\x00\x01\x00", "an icon file"),
    (4, b"ftyphei", "a HEIC photograph"),
    (4, b"ftypmif1", "a HEIC photograph"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
)
_MARKUP = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<head", "an HTML page"),
    (b"<body", "an HTML page"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file"),
)


def image_format(head: bytes) -> str | None:
    """Pillow's name of the image format that `head`, a file's first bytes, announces; None if it is no image."""
    for offset, signature, name in _IMAGE_SIGNATURES:
        if head.startswith(signature, offset):
            return name
    return None


def describe_content(head: bytes) -> str:
    """What a file that is no readable image seems to be, for a message: "an HTML page", "text", "empty (0 bytes)"."""
    if not head:
        return "empty (0 bytes)"
    for offset, signature, name in _OTHER_SIGNATURES:
        if head.startswith(signature, offset):
            return name
    image = image_format(head)
    if image is not None:
        return f"a {image} image"
    return _describe_text(head) or "of an unknown binary format"


def is_html(head: bytes) -> bool:
    """Whether a file's first bytes are those of a web page."""
    return _describe_text(head) == "an HTML page"


def _describe_text(head: bytes) -> str | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for opening, name in _MARKUP:
        if start.startswith(opening):
            return "an SVG drawing" if name == "an XML file" and b"<svg" in start else name
    return "text" if _looks_like_text(head) else None


def _looks_like_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    # The last character may have been cut in two.
    decodable = any(_decodes(head[: len(head) - cut]) for cut in range(4))
    return decodable and not any(byte < 9 for byte in head)


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
