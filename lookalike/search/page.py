"""The result as one self-contained HTML page: images inside, no script, nothing fetched."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lookalike.files import write_bytes_atomic
from lookalike.printable import printable
from lookalike.search.picture import open_or_none
from lookalike.search.results import QueryResult

_QUERY_SIDE = 320
_TILE_SIDE = 220
_JPEG_QUALITY = 85


def save_page(results: Sequence[QueryResult], path: Path) -> None:
    """Write the page of one or more results to `path`, whole or not at all."""
    write_bytes_atomic(path, render_page(results).encode())


def render_page(results: Sequence[QueryResult]) -> str:
    """Return the page as text; every name, label and error in it is escaped."""
    # Jinja2, for its escaping: file names and labels are whatever somebody called their files.
    from jinja2 import Environment

    template = (Path(__file__).parent / "page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_printable)
    return environment.from_string(template).render(results=[_as_values(result) for result in results])


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def _as_values(result: QueryResult) -> dict[str, Any]:
    neighbors = [
        {
            "rank": neighbor.rank,
            "caption": neighbor.caption,
            "path": neighbor.path,
            "image_id": neighbor.image_id,
            "similarity": f"{neighbor.similarity:.3f}",
            "image": _data_uri(result.dataset_root / neighbor.path, _TILE_SIDE),
        }
        for neighbor in result.neighbors
    ]
    return {**result.as_json(), "image": _data_uri(result.query_image, _QUERY_SIDE), "neighbors": neighbors}


def _data_uri(source: Path | bytes, side: int) -> str | None:
    """Return a small JPEG of the image as a data URI, or None if it cannot be read."""
    image = open_or_none(source, side)
    if image is None:
        return None
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
