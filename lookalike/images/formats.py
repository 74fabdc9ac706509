"""Detection of file formats by their first bytes: the image formats that are decoded, and names for others.

Only formats recognised here are handed to Pillow, and only to the decoder of that format. So a file never reaches a
decoder that starts other programs (EPS) or that nobody needs.
"""

import codecs
from pathlib import PurePosixPath

HEAD_BYTES = 512
_Signatures = tuple[tuple[int, tuple[bytes, ...], str], ...]

# (offset, signatures, Pillow's name of the format)
_IMAGE_SIGNATURES: _Signatures = (
    (0, (b"\xff\xd8\xff",), "JPEG"),
    (0, (b"\x89PNG\r\n\x1a\n",), "PNG"),
    (0, (b"GIF87a", b"GIF89a"), "GIF"),
    (8, (b"WEBP",), "WEBP"),
    (0, (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), "TIFF"),
    (0, (b"BM",), "BMP"),
    (0, (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), "JPEG2000"),
    (0, (b"qoif",), "QOI"),
    (0, (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), "PPM"),
)
_READABLE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".dib"}
    | {".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".qoi", ".ppm", ".pgm", ".pbm", ".pnm"}
)
_RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".raf", ".orf", ".rw2", ".pef", ".srw"}
    | {".raw", ".rwl", ".3fr", ".iiq", ".x3f", ".erf", ".mrw", ".kdc", ".dcr", ".gpr"}
)
_OTHER_IMAGE_SUFFIXES = frozenset(
    {".heic", ".heif", ".heics", ".heifs", ".hif", ".jxl", ".jxr", ".wdp", ".svg", ".svgz", ".ico", ".psd", ".psb"}
    | {".tga", ".exr", ".hdr", ".xcf", ".eps"}
)
# Suffixes of files that are meant to be images, readable here or not.
IMAGE_SUFFIXES = _READABLE_SUFFIXES | _RAW_SUFFIXES | _OTHER_IMAGE_SUFFIXES
READABLE_FORMATS = "JPEG, PNG, GIF, WebP, TIFF, BMP, AVIF, JPEG 2000, QOI and PPM"

_OTHER_SIGNATURES: _Signatures = (
    (0, (b"version https://git-lfs",), "a Git LFS pointer instead of the file (run `git lfs pull`)"),
    (0, (b"%PDF",), "a PDF document"),
    (0, (b"PK\x03\x04",), "a ZIP archive"),
    (0, (b"\x1f\x8b",), "a gzip archive"),
    (0, (b"8BPS",), "a Photoshop file"),
    (0, (b"%!PS",), "a PostScript file"),
    (0, (b"\x00\x00\x01\x00",), "an icon file"),
    (0, (b"\x00\x05\x16\x07",), "the notes that macOS keeps beside a file"),
    (0, (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"), "a JPEG XL image"),
    (0, (b"II\xbc\x01",), "a JPEG XR image"),
    (0, (b"v/1\x01",), "an OpenEXR image"),
    (0, (b"#?RADIANCE",), "a Radiance HDR image"),
    # Canon's raw files begin like a TIFF.
    (0, (b"II*\x00\x10\x00\x00\x00CR\x02", b"FUJIFILMCCD-RAW"), "a raw photograph"),
    (0, (b"IIU\x00", b"IIRO", b"IIRS", b"MMOR", b"FOVb"), "a raw photograph"),
    (4, (b"ftypcrx",), "a raw photograph"),
    (0, (b"\x1aE\xdf\xa3",), "a video"),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
# Of the general brands mif1 and msf1 too: what is not AVIF there is HEIC in practice.
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_MARKUP: _Signatures = (
    (0, (b"<!doctype html", b"<html", b"<head", b"<body"), "an HTML page"),
    (0, (b"<svg",), "an SVG drawing"),
    (0, (b"<?xml",), "an XML file"),
)


def is_named_as_image(path: str) -> bool:
    """Whether a file's name says that it is an image: by its suffix, unless the file is hidden."""
    name = PurePosixPath(path)
    return name.suffix.lower() in IMAGE_SUFFIXES and not name.name.startswith(".")


def image_format(head: bytes) -> str | None:
    """Return Pillow's name of the image format of a file by its first bytes, or None if it is no readable image."""
    if _AVIF_BRANDS & _brands(head):
        return "AVIF"
    return None if _name(head, _OTHER_SIGNATURES) else _name(head, _IMAGE_SIGNATURES)


def describe_content(head: bytes) -> str:
    """Return what a file seems to be by its first bytes, for a message: "an HTML page", "text", "empty (0 bytes)"."""
    if not head:
        return "empty (0 bytes)"
    image = image_format(head)
    if image is not None:
        return f"a {image} image"
    if not any(head):
        return "nothing but zero bytes"
    return (
        _name(head, _OTHER_SIGNATURES) or _describe_media(head) or _describe_text(head) or "of an unknown binary format"
    )


def is_html(head: bytes) -> bool:
    """Whether a file's first bytes are those of a web page."""
    return _describe_text(head) == "an HTML page"


def _name(head: bytes, signatures: _Signatures) -> str | None:
    return next((name for offset, beginnings, name in signatures if head.startswith(beginnings, offset)), None)


def _brands(head: bytes) -> frozenset[bytes]:
    """The major and the compatible brands of an ISO media file (AVIF, HEIC, MP4), none for any other file."""
    if head[4:8] != b"ftyp":
        return frozenset()
    box = head[: min(int.from_bytes(head[:4]), HEAD_BYTES)]
    return frozenset({head[8:12], *(box[start : start + 4] for start in range(16, len(box) - 3, 4))})


def _describe_media(head: bytes) -> str | None:
    brands = _brands(head)
    if not brands:
        return None
    return "a HEIC photograph" if _HEIC_BRANDS & brands else "a video"


def _describe_text(head: bytes) -> str | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    markup = _name(start, _MARKUP)
    if markup == "an XML file" and b"<svg" in start:
        return "an SVG drawing"
    return markup or ("text" if _looks_like_text(head) else None)


def _looks_like_text(head: bytes) -> bool:
    try:
        # Not bytes.decode: the last character may have been cut in two.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return min(head, default=0) >= ord("\t")
