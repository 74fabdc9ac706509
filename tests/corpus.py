"""Odd and broken images, made on the spot: every mode and format, lies, bombs and truncations.

The good ones all show the same picture, four quadrants of red, green, blue and white (or their
greys), so that a test can tell whether the colours and the orientation came out right.
"""

import io
import struct
import zlib

from PIL import Image, ImageCms

WIDTH, HEIGHT = 48, 32
QUADRANTS = {"top left": (220, 30, 30), "top right": (30, 170, 40), "bottom left": (40, 50, 200)}
CORNER = (255, 255, 255)
CENTERS = {"top left": (0.25, 0.25), "top right": (0.75, 0.25), "bottom left": (0.25, 0.75), "corner": (0.75, 0.75)}
ORIENTATION_TAG = 274

# An orientation of type text, "up!", where a number belongs.
_EXIF_IN_WORDS = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", ORIENTATION_TAG, 2, 4) + b"up!\0\0\0\0\0"


def quadrants() -> Image.Image:
    """Red and green above, blue and white below."""
    image = Image.new("RGB", (WIDTH, HEIGHT), CORNER)
    image.paste(QUADRANTS["top left"], (0, 0, WIDTH // 2, HEIGHT // 2))
    image.paste(QUADRANTS["top right"], (WIDTH // 2, 0, WIDTH, HEIGHT // 2))
    image.paste(QUADRANTS["bottom left"], (0, HEIGHT // 2, WIDTH // 2, HEIGHT))
    return image


def quadrant_colours(image: Image.Image) -> dict[str, tuple[int, int, int]]:
    """The colours in the middle of the four quadrants."""
    return {name: image.getpixel((int(x * image.width), int(y * image.height))) for name, (x, y) in CENTERS.items()}


def assert_shows(image: Image.Image, expected: dict[str, tuple[int, int, int]], tolerance: int) -> None:
    """Whether an image shows the quadrants in about the expected colours."""
    assert image.mode == "RGB"
    assert image.size == (WIDTH, HEIGHT)
    for name, colour in quadrant_colours(image).items():
        differences = [abs(found - wanted) for found, wanted in zip(colour, expected[name], strict=True)]
        assert max(differences) <= tolerance, (name, colour, expected[name])


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_transparent_corner(mode: str = "RGBA") -> Image.Image:
    """The quadrants, whose white corner is black instead, but fully transparent."""
    image = quadrants().convert("RGBA")
    image.paste((0, 0, 0, 0), (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
    return image.convert(mode)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapping_profile() -> bytes:
    """sRGB with red for blue and blue for red: whoever leaves it out of account sees the wrong colours."""
    names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    profile = bytearray(srgb_profile())
    for entry in range(132, 132 + 12 * int.from_bytes(profile[128:132]), 12):
        name = bytes(profile[entry : entry + 4])
        profile[entry : entry + 4] = names.get(name, name)
    return bytes(profile)


def exif_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = value
    return exif


_STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def oriented(orientation: int, kind: str = "JPEG") -> bytes:
    """The quadrants stored turned, with the EXIF orientation that turns them back."""
    stored = quadrants() if orientation == 1 else quadrants().transpose(_STORED_AS[orientation])
    return encode(stored, kind, exif=exif_orientation(orientation), **({"quality": 95} if kind == "JPEG" else {}))


def colour_images() -> dict[str, bytes]:
    """Whole images in colour, by name; all show the quadrants."""
    rgb, clear = quadrants(), with_transparent_corner()
    palette = rgb.quantize(16)
    images = {
        "jpeg": encode(rgb, "JPEG", quality=95),
        "jpeg with sRGB profile": encode(rgb, "JPEG", quality=95, icc_profile=srgb_profile()),
        "jpeg progressive": encode(rgb, "JPEG", quality=95, progressive=True),
        "jpeg without subsampling": encode(rgb, "JPEG", quality=95, subsampling=0),
        "jpeg cmyk with adobe marker": encode(rgb.convert("CMYK"), "JPEG", quality=95),
        "jpeg with broken exif": encode(rgb, "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40),
        "jpeg with exif that is no exif": encode(rgb, "JPEG", quality=95, exif=b"Exif\0\0rubbish" * 3),
        "jpeg with orientation in words": encode(rgb, "JPEG", quality=95, exif=_EXIF_IN_WORDS),
        "jpeg with unknown orientation": encode(rgb, "JPEG", quality=95, exif=exif_orientation(99)),
        "jpeg with broken profile": encode(rgb, "JPEG", quality=95, icc_profile=b"not a profile" * 10),
        "jpeg with rubbish behind it": encode(rgb, "JPEG", quality=95) + b"rubbish" * 100,
        "mpo of two frames": encode(rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)], quality=95),
        "png": encode(rgb, "PNG"),
        "png rgba": encode(clear, "PNG"),
        "png palette": encode(palette, "PNG"),
        "png palette with transparent colour": _png_transparent_palette(),
        "png rgb with transparent colour": encode(clear.convert("RGB"), "PNG", transparency=(0, 0, 0)),
        "png 16-bit rgb": png_16_bit(rgb),
        "png with 1.5 MB of compressed text": png_with_chunks([(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 1_500_000))]),
        "png with 1.5 MB of metadata": png_with_chunks([(b"iTXt", _compressed_xmp(1_500_000))]),
        "png with 1.5 MB of profile": png_with_chunks([(b"iCCP", b"k\0\0" + zlib.compress(b"x" * 1_500_000))]),
        "png with text behind its pixels": _with_text_at_its_end(encode(rgb, "PNG")),
        "png with a damaged text": png_with_chunks([(b"tEXt", b"k\0x")]).replace(b"k\0x", b"k\0y"),
        "png with a damaged exif": png_with_chunks([(b"eXIf", b"II*\0")]).replace(b"II*\0", b"II*\1"),
        "png interlaced header flag absent, text chunks": png_with_chunks([(b"tEXt", b"k\0" + b"x" * 50)] * 300),
        "apng": encode(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]),
        "gif": encode(palette, "GIF"),
        "gif animated": encode(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]),
        "gif transparent": encode(clear, "GIF"),
        "webp": encode(rgb, "WEBP", quality=95),
        "webp lossless rgba": encode(clear, "WEBP", lossless=True),
        "webp animated": encode(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)], quality=95),
        "avif": encode(rgb, "AVIF", quality=95),
        "avif rgba": encode(clear, "AVIF", quality=95),
        "jpeg 2000": encode(rgb, "JPEG2000"),
        "jpeg 2000 codestream": encode(rgb, "JPEG2000", no_jp2=True),
        "jpeg 2000 rgba": encode(clear, "JPEG2000"),
        "qoi": encode(rgb, "QOI"),
        "qoi rgba": encode(clear, "QOI"),
        "bmp": encode(rgb, "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "ppm": encode(rgb, "PPM"),
        "tiff lab": encode(_lab(rgb), "TIFF"),
        "tiff cmyk": encode(rgb.convert("CMYK"), "TIFF"),
        "tiff rgba": encode(clear, "TIFF"),
        "tiff palette": encode(palette, "TIFF"),
        "tiff of two frames": encode(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(180)]),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"):
        images[f"tiff {compression}"] = encode(rgb, "TIFF", compression=compression)
    for orientation in range(1, 9):
        images[f"jpeg orientation {orientation}"] = oriented(orientation)
        images[f"png orientation {orientation}"] = oriented(orientation, "PNG")
        images[f"tiff orientation {orientation}"] = oriented(orientation, "TIFF")
        images[f"webp orientation {orientation}"] = oriented(orientation, "WEBP")
    return images


def grey_images() -> dict[str, bytes]:
    """Whole images in grey, by name; all show the quadrants."""
    grey = quadrants().convert("L")
    deep = Image.frombytes("I;16", grey.size, b"".join(struct.pack("<H", value * 257) for value in grey.tobytes()))
    return {
        "jpeg grey": encode(grey, "JPEG", quality=95),
        "png grey": encode(grey, "PNG"),
        "png grey with alpha": encode(with_transparent_corner("LA"), "PNG"),
        "png grey with transparent value": encode(with_transparent_corner("LA").convert("L"), "PNG", transparency=0),
        "png 16-bit grey": encode(deep, "PNG"),
        "gif grey": encode(grey, "GIF"),
        "tiff grey": encode(grey, "TIFF"),
        "tiff 16-bit grey": encode(deep, "TIFF"),
        "tiff 32-bit grey": encode(deep.convert("I"), "TIFF"),
        "tiff floating grey": encode(grey.convert("F").point(lambda value: value * (1 / 255) + 0), "TIFF"),
        "jpeg 2000 16-bit grey": encode(deep, "JPEG2000"),
        "bmp grey": encode(grey, "BMP"),
        "pgm": encode(grey, "PPM"),
        "pgm 16-bit": encode(deep, "PPM"),
        "plain text pgm": b"P2 %d %d 255\n" % grey.size + b" ".join(b"%d" % value for value in grey.tobytes()),
    }


def tiny_images() -> dict[str, bytes]:
    """Whole images at the edges of what there is: one pixel, one row, two colours."""
    pixel, bilevel = Image.new("RGB", (1, 1), (9, 8, 7)), quadrants().convert("1")
    images = {f"one pixel {kind}": encode(pixel, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM")}
    images["one row"] = encode(Image.new("RGB", (3000, 1), (9, 8, 7)), "PNG")
    images["one column"] = encode(Image.new("RGB", (1, 3000), (9, 8, 7)), "JPEG")
    for kind in ("PNG", "TIFF", "BMP", "PPM", "GIF"):
        images[f"bilevel {kind}"] = encode(bilevel, kind)
    images["bilevel fax"] = encode(bilevel, "TIFF", compression="group4")
    return images


def whole_images() -> dict[str, bytes]:
    """All images that must be readable."""
    return {**colour_images(), **grey_images(), **tiny_images()}


def truncated_images() -> dict[str, bytes]:
    """The beginnings of whole images, cut in the middle of their pixels."""
    noise = Image.effect_noise((160, 120), 60).convert("RGB")
    cut = {}
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "QOI", "PPM"):
        data = encode(noise, kind)
        for percent in (10, 50, 90):
            cut[f"{kind} cut at {percent} %"] = data[: len(data) * percent // 100]
    progressive = encode(noise, "JPEG", progressive=True)
    # A progressive JPEG cut late still has all its rows, only coarser ones.
    cut["progressive JPEG cut at 50 %"] = progressive[: len(progressive) // 2]
    return cut


def not_images() -> dict[str, tuple[bytes, str]]:
    """Files that are no images, with what they must be called."""
    return {
        "empty": (b"", "empty"),
        "text": (b"dear diary\n" * 20, "text"),
        "text in UTF-8": (("Bär " * 200).encode(), "text"),
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        "html after a mark": (b"\xef\xbb\xbf\n <HTML><head>", "an HTML page"),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        "svg in xml": (b"<?xml version='1.0'?><svg/>", "an SVG drawing"),
        "xml": (b"<?xml version='1.0'?><rss/>", "an XML file"),
        "pdf": (b"%PDF-1.7\n", "a PDF document"),
        "zip": (b"PK\x03\x04" + b"\0" * 30, "a ZIP archive"),
        "gzip": (b"\x1f\x8b\x08" + b"\0" * 30, "a gzip archive"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
        "photoshop": (b"8BPS\0\x01" + b"\0" * 30, "a Photoshop file"),
        "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 30, "a HEIC photograph"),
        "video": (b"\0\0\0\x18ftypmp42" + b"\0" * 30, "a video"),
        "icon": (encode(quadrants(), "ICO"), "an icon file"),
        "heic of a general brand": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + b"\0" * 30, "a HEIC photograph"),
        "jpeg xl": (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 30, "a JPEG XL image"),
        "jpeg xl codestream": (b"\xff\x0a" + b"\0" * 30, "a JPEG XL image"),
        "canon raw": (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 30, "a raw photograph"),
        "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        "macos notes": (b"\0\x05\x16\x07" + b"\0" * 30, "the notes that macOS keeps"),
        "zeros": (b"\0" * 1000, "nothing but zero bytes"),
        "RIFF that is no WebP": (b"RIFF\x24\0\0\0WAVEfmt ", "of an unknown binary format"),
    }


def bombs() -> dict[str, bytes]:
    """Small files that claim, or really unpack to, far too much."""
    row = b"\0" + b"\0" * 2500
    return {
        "png of 20,000 x 20,000": png(20_000, 20_000, 1, 0, zlib.compress(row * 20_000, 9)),
        "png of 12,000 x 12,000": png(12_000, 12_000, 1, 0, zlib.compress(b"\0" * 1501 * 12_000, 9)),
        "png header of 2^31 pixels a side": png(2**31 - 1, 2**31 - 1, 8, 2, b""),
        "gif header of 65,535 x 65,535": b"GIF89a\xff\xff\xff\xff\x80\0\0"
        + b"\0" * 6
        + b",\0\0\0\0\xff\xff\xff\xff\0\x08\0;",
        "jpeg header of 65,500 x 65,500": jpeg_claiming(65_500, 65_500),
        "bmp header of 100,000 x 100,000": _patched(
            encode(quadrants(), "BMP"), 18, struct.pack("<ii", 100_000, 100_000)
        ),
        "ppm header of 100,000 x 100,000": b"P6 100000 100000 255\n" + b"\0" * 100,
        "qoi header of 2^31 pixels a side": b"qoif" + struct.pack(">IIBB", 2**31, 2**31, 3, 0) + b"\0" * 20,
        "webp of 16,383 x 16,383": _patched(encode(quadrants(), "WEBP"), 26, struct.pack("<HH", 16_383, 16_383)),
        "tiff of 100,000 x 100,000": tiff({256: 100_000, 257: 100_000, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 279: 9}),
        "tiff with a tile of 2^16 pixels a side": tiff(
            {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: 65_536, 323: 65_536, 324: 8, 325: 8}
        ),
        "png text of 200 MB": png_with_chunks([(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 200_000_000, 9))]),
        "png texts of 1 MB each": png_with_chunks([(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 1_000_000, 9))] * 100),
        "png profile of 200 MB": png_with_chunks([(b"iCCP", b"k\0\0" + zlib.compress(b"\0" * 200_000_000, 9))]),
    }


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, color_type: int, pixels: bytes, extra: bytes = b"") -> bytes:
    """A PNG file with any header over already compressed pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_16_bit(image: Image.Image) -> bytes:
    """`image`, RGB, as a PNG of 16 bits a channel, which Pillow itself does not write."""
    rows = [image.crop((0, y, image.width, y + 1)).tobytes() for y in range(image.height)]
    raw = b"".join(b"\0" + b"".join(bytes([value, 0]) for value in row) for row in rows)
    return png(image.width, image.height, 16, 2, zlib.compress(raw))


def png_with_chunks(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """The quadrants as PNG with further chunks before the pixels."""
    image = quadrants()
    rows = [b"\0" + image.crop((0, y, WIDTH, y + 1)).tobytes() for y in range(HEIGHT)]
    extra = b"".join(png_chunk(name, body) for name, body in chunks)
    return png(WIDTH, HEIGHT, 8, 2, zlib.compress(b"".join(rows)), extra)


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = encode(quadrants(), "JPEG")
    frame = data.index(b"\xff\xc0")
    return _patched(data, frame + 5, struct.pack(">HH", height, width))


def tiff(tags: dict[int, int]) -> bytes:
    """A TIFF of these tags (all of them one 32-bit number) and hardly any pixels."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 16) + b"\0" * 8 + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def _patched(data: bytes, offset: int, piece: bytes) -> bytes:
    return data[:offset] + piece + data[offset + len(piece) :]


def _compressed_xmp(size: int) -> bytes:
    return b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * size)


def _with_text_at_its_end(png_file: bytes) -> bytes:
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 1_500_000))
    return png_file[:-12] + text + png_file[-12:]


def _png_transparent_palette() -> bytes:
    palette = with_transparent_corner().convert("RGB").quantize(16)
    index = palette.getpixel((WIDTH - 1, HEIGHT - 1))
    return encode(palette, "PNG", transparency=index)


def _lab(image: Image.Image) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert converted is not None
    return converted
