"""The result as a picture: the query on top, the neighbors below with rank, label and similarity."""

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lookalike.errors import ImageError
from lookalike.files import replacing
from lookalike.images.reading import open_image
from lookalike.printable import printable
from lookalike.search.results import QueryResult

# matplotlib ships a font with Latin, Greek, Cyrillic and more; Pillow's own has little beyond ASCII.
_FONT_PATH = "mpl-data/fonts/ttf/DejaVuSans.ttf"
_MARGIN = 24
_GAP = 14
_WHITE, _INK, _FAINT, _FRAME = (255, 255, 255), (32, 33, 36), (110, 115, 122), (218, 220, 224)
_QUERY_SIDE = 260
_CAPTION_SIZE = 15
_LINE_HEIGHT = 20
_CAPTION_LINES = 2
_MINIMUM_WIDTH = 560
_HEAD_HEIGHT = _MARGIN + _QUERY_SIDE + _CAPTION_LINES * _LINE_HEIGHT + 2 * _GAP

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def save_picture(results: Sequence[QueryResult], path: Path) -> None:
    """Write the picture of one or more results to `path`, whole or not at all; PNG unless the ending says JPEG."""
    image_format = "JPEG" if path.suffix.lower() in {".jpg", ".jpeg"} else "PNG"
    picture = draw_results(results)
    with replacing(path) as temporary:
        picture.save(temporary, image_format)


def draw_results(results: Sequence[QueryResult]) -> Image.Image:
    """Return one RGB picture of one or more results, below each other; a failed query shows its error."""
    sizes = [result_size(len(result.neighbors)) for result in results]
    picture = Image.new("RGB", (max(width for width, _ in sizes), sum(height for _, height in sizes)), _WHITE)
    top = 0
    for result, (width, height) in zip(results, sizes, strict=True):
        picture.paste(_draw_result(result), ((picture.width - width) // 2, top))
        top += height
    return picture


def result_size(n_neighbors: int) -> tuple[int, int]:
    """Return width and height in pixels of the picture of one result."""
    columns, side = tile_layout(max(n_neighbors, 1))
    rows = -(-n_neighbors // columns)
    width = max(columns * (side + _GAP) - _GAP + 2 * _MARGIN, _MINIMUM_WIDTH)
    return width, _HEAD_HEIGHT + rows * _tile_height(side) + _MARGIN


def tile_layout(n: int) -> tuple[int, int]:
    """Return columns and tile side in pixels for `n` neighbors: a grid wider than high, smaller tiles for many."""
    side = 190 if n <= 12 else 150 if n <= 40 else 116
    if n <= 5:
        return n, side
    wanted = next(columns for columns in range(3, n + 1) if columns * columns >= 1.5 * n)
    rows = -(-n // wanted)
    # As many rows, evenly filled: 16 are four times four, and not three times five and one.
    return -(-n // rows), side


def _draw_result(result: QueryResult) -> Image.Image:
    columns, side = tile_layout(max(len(result.neighbors), 1))
    picture = Image.new("RGB", result_size(len(result.neighbors)), _WHITE)
    draw = ImageDraw.Draw(picture)
    _draw_query(picture, draw, result)
    left = (picture.width - (columns * (side + _GAP) - _GAP)) // 2
    for position, neighbor in enumerate(result.neighbors):
        corner = (left + position % columns * (side + _GAP), _HEAD_HEIGHT + position // columns * _tile_height(side))
        _paste(picture, draw, open_or_none(result.dataset_root / neighbor.path, side), corner, side)
        lines = (f"{neighbor.rank} · {neighbor.caption}", f"similarity {neighbor.similarity:.3f}")
        _write_lines(draw, lines, (corner[0], corner[1] + side + 4), side)
    return picture


def _tile_height(side: int) -> int:
    return side + _CAPTION_LINES * _LINE_HEIGHT + _GAP


def _draw_query(picture: Image.Image, draw: ImageDraw.ImageDraw, result: QueryResult) -> None:
    corner = ((picture.width - _QUERY_SIDE) // 2, _MARGIN)
    _paste(picture, draw, open_or_none(result.query_image, _QUERY_SIDE), corner, _QUERY_SIDE)
    name = result.query if "://" in result.query else Path(result.query).name
    note = result.error or f"{len(result.neighbors)} most similar"
    text_width = picture.width - 2 * _MARGIN
    _write_lines(draw, (f"query: {name}", note), (_MARGIN, _MARGIN + _QUERY_SIDE + 6), text_width)


def open_or_none(source: Path | bytes, side: int) -> Image.Image | None:
    """Return an image of at least `side` pixels, if it has as many, or None if it cannot be read."""
    try:
        return open_image(source, target_size=side) if source else None
    except ImageError:
        return None  # The picture shows that it is missing; the answer itself is still true.


def _paste(
    picture: Image.Image, draw: ImageDraw.ImageDraw, image: Image.Image | None, corner: tuple[int, int], side: int
) -> None:
    left, top = corner
    draw.rectangle((left - 1, top - 1, left + side, top + side), outline=_FRAME)
    if image is None:
        _write_lines(draw, ("image not available",), (left, top + side // 2 - 8), side)
        return
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    fitted = image.resize(size, Image.Resampling.LANCZOS)
    picture.paste(fitted, (left + (side - size[0]) // 2, top + (side - size[1]) // 2))


def _write_lines(draw: ImageDraw.ImageDraw, lines: Sequence[str], corner: tuple[int, int], width: int) -> None:
    font = _font()
    left, top = corner
    for number, line in enumerate(lines):
        text = fit_text(line, width, font)
        offset = (width - font.getlength(text)) / 2
        draw.text((left + offset, top + number * _LINE_HEIGHT), text, fill=_FAINT if number else _INK, font=font)


def fit_text(text: str, width: int, font: Font) -> str:
    """Return the text on one line, shortened with an ellipsis until it is at most `width` pixels wide."""
    text = printable(" ".join(text.split()))
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@cache
def _font() -> Font:
    # Found by its package's place: importing matplotlib takes over a second, and only the file is needed.
    package = importlib.util.find_spec("matplotlib")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / _FONT_PATH
        if path.is_file():
            return ImageFont.truetype(str(path), _CAPTION_SIZE)
    return ImageFont.load_default(_CAPTION_SIZE)
